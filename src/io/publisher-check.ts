// The second wall at work on a file of this disk: the publisher that a release pins must have signed the file itself.

import { verifyPublisher, type Publisher } from "../artifact/publisher.ts";
import { ArtifactError } from "../artifact/errors.ts";
import type { VerifyPublisher } from "../agent/ports.ts";
import { fromUtf8 } from "../core/bytes.ts";
import type { Clock } from "../core/clock.ts";
import { parseCertificatesPem, type Certificate } from "../der/x509.ts";
import type { PublisherPin } from "../release/manifest.ts";
import { withFileSource } from "./file-source.ts";

/** The agent's check of wall 2. */
export function publisherVerifier(clock: Clock): VerifyPublisher {
  return async ({ path, fileName, pin, authorities }) => {
    await checkPublisherOf(path, fileName, pin, publisherAuthorities(authorities), clock);
  };
}

/** Errors: those of `verifyPublisher`, and the disk's. */
export function checkPublisherOf(
  path: string,
  fileName: string,
  pin: PublisherPin,
  authorities: readonly Certificate[],
  clock: Clock,
): Promise<Publisher> {
  return withFileSource(path, (source) => verifyPublisher(source, fileName, pin, clock.now(), authorities));
}

/** The content of trust/publishers.pem. Errors: `der/*`, `artifact/bad-certificate` when it holds none. */
export function publisherAuthorities(pem: Uint8Array): readonly Certificate[] {
  const authorities = parseCertificatesPem(fromUtf8(pem));
  if (authorities.length === 0) {
    throw new ArtifactError(
      "artifact/bad-certificate",
      "The list of publishers' authorities (trust/publishers.pem) holds no certificate.",
      {},
    );
  }
  return authorities;
}
