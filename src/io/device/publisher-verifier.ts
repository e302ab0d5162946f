// The artifact's own signature, independent of TUF, read from the file that will be installed.

import type { VerifyPublisher } from "../../agent/ports.ts";
import { verifyPublisher, verifyPublisherBeside } from "../../artifact/publisher.ts";
import { fromUtf8 } from "../../core/bytes.ts";
import { parseCertificatesPem } from "../../der/x509.ts";
import { openSource } from "../source/file.ts";

/** Errors: `artifact/*`, `der/*`, `disk/*`. */
export const systemPublisherVerifier: VerifyPublisher = async (file, pin, roots, now) => {
  const source = await openSource(file.path);
  try {
    const authorities = parseCertificatesPem(fromUtf8(roots));
    if (file.signature !== null) {
      await verifyPublisherBeside(source, file.signature, pin, now, authorities);
      return;
    }
    const { product, version, platform } = file;
    const expect = { product, version, ...(platform === null ? {} : { platform }) };
    await verifyPublisher(source, file.name, pin, now, authorities, undefined, expect);
  } finally {
    await source.close();
  }
};
