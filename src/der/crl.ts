// Certificate revocation lists (RFC 5280 section 5), read strictly; complete lists only.

import { toHex } from "../core/bytes.ts";
import type { Instant } from "../core/instant.ts";
import { readSignatureAlgorithm, verifySignature } from "./algorithms.ts";
import { DerError } from "./errors.ts";
import { readExtension, type Extension } from "./extensions.ts";
import { readName, sameName, type Name } from "./names.ts";
import * as oids from "./oids.ts";
import {
  children,
  encoded,
  Fields,
  parseDer,
  readBitOctets,
  readIntegerBytes,
  readSmallInteger,
  readTime,
  type Der,
} from "./reader.ts";
import { ENUMERATED, GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME } from "./tags.ts";
import { publicKeyOfCertificate, type Certificate } from "./x509.ts";

/** Public authorities' lists reach a few megabytes. */
export const CRL_LIMIT = 32 * 1024 * 1024;

export type Revocation = {
  readonly at: Instant;
  /** RFC 5280 5.3.1; null if not said. 1 is keyCompromise. */
  readonly reason: number | null;
};

export type RevocationList = {
  readonly issuer: Name;
  readonly thisUpdate: Instant;
  readonly nextUpdate: Instant | null;
  /** By the serial number's content octets, lower-case hex. */
  readonly revoked: ReadonlyMap<string, Revocation>;
  /** True if the key of this certificate made it, and the names fit. */
  isSignedBy(issuer: Certificate): boolean;
};

/** Errors: `der/bad-revocation-list`; also for delta, indirect and partitioned lists, whose silence about a certificate means nothing. */
export function parseRevocationList(der: Uint8Array): RevocationList {
  if (der.length > CRL_LIMIT) throw bad(`it has more than ${CRL_LIMIT} bytes`);
  try {
    return readList(parseDer(der));
  } catch (cause) {
    if (cause instanceof DerError && cause.code !== "der/bad-revocation-list")
      throw bad(cause.message, cause);
    throw cause;
  }
}

function readList(whole: Der): RevocationList {
  const outer = new Fields(whole);
  const tbs = outer.take();
  const algorithm = readSignatureAlgorithm(outer.take());
  const signature = readBitOctets(outer.take());
  outer.done();

  const fields = new Fields(tbs);
  if (fields.nextTag === INTEGER) readSmallInteger(fields.take());
  fields.take(SEQUENCE);
  const issuer = readName(fields.take());
  const thisUpdate = readTime(fields.take());
  const nextUpdate =
    fields.nextTag === UTC_TIME || fields.nextTag === GENERALIZED_TIME ? readTime(fields.take()) : null;
  const revoked = new Map<string, Revocation>();
  const entries = fields.optional(SEQUENCE);
  for (const entry of entries === null ? [] : children(entries)) {
    const [serial, revocation] = readEntry(entry);
    revoked.set(serial, revocation);
  }
  const extensions = fields.optionalExplicit(0);
  fields.done();
  for (const extension of extensions === null ? [] : children(extensions).map(readExtension))
    refusePartial(extension);

  return {
    issuer,
    thisUpdate,
    nextUpdate,
    revoked,
    isSignedBy: (certificate) => {
      if (!sameName(certificate.subject, issuer)) return false;
      const usage = certificate.extensions.keyUsage;
      // RFC 5280 6.3.3 (f): the issuer's key has to be allowed to sign lists.
      if (usage !== null && !usage.has("cRLSign")) return false;
      try {
        return verifySignature(publicKeyOfCertificate(certificate), algorithm, encoded(tbs), signature);
      } catch {
        return false;
      }
    },
  };
}

function readEntry(entry: Der): readonly [string, Revocation] {
  const fields = new Fields(entry);
  const serial = toHex(readIntegerBytes(fields.take()));
  const at = readTime(fields.take());
  let reason: number | null = null;
  const extensions = fields.optional(SEQUENCE);
  fields.done();
  for (const extension of extensions === null ? [] : children(extensions).map(readExtension)) {
    if (extension.oid === oids.reasonCode) reason = readSmallInteger(parseDer(extension.value), ENUMERATED);
    // An entry of another issuer would be one; RFC 5280 5.3: an unknown critical one makes the list unusable.
    else if (extension.critical) throw bad(`an entry has the critical extension ${extension.oid}`);
  }
  return [serial, { at, reason }];
}

function refusePartial(extension: Extension): void {
  if (extension.oid === oids.deltaCRLIndicator || extension.critical)
    throw bad(`it has the extension ${extension.oid}, which makes it cover a part only`);
}

function bad(what: string, cause?: unknown): DerError {
  return new DerError(
    "der/bad-revocation-list",
    `The revocation list cannot be used: ${what}`.replace(/\.?$/, "."),
    {},
    { cause },
  );
}
