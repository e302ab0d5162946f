// Wall 2 on this disk: the artifact's own signature, read from the file that will be installed.

import type { VerifyPublisher } from "../agent/ports.ts";
import { verifyPublisher } from "../artifact/publisher.ts";
import { fromUtf8 } from "../core/bytes.ts";
import { parseCertificatesPem } from "../der/x509.ts";
import { openSource } from "./file-source.ts";

/** Errors: `artifact/*`, `der/*`, `disk/*`. */
export const systemPublisherVerifier: VerifyPublisher = async ({ path, name }, pin, roots, now) => {
  const source = await openSource(path);
  try {
    await verifyPublisher(source, name, pin, now, parseCertificatesPem(fromUtf8(roots)));
  } finally {
    await source.close();
  }
};
