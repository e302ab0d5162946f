// X.509 certificates, read strictly (RFC 5280).

import { hash, type KeyObject } from "node:crypto";
import { equalBytes, toHex } from "../core/bytes.ts";
import type { Instant } from "../core/instant.ts";
import {
  readPublicKey,
  readSignatureAlgorithm,
  verifySignature,
  type SignatureAlgorithm,
} from "./algorithms.ts";
import { DerError } from "./errors.ts";
import { readExtensions, type Extensions } from "./extensions.ts";
import { readName, type Name } from "./names.ts";
import { pemBlocks, toPem } from "./pem.ts";
import {
  encoded,
  Fields,
  parseDer,
  readBitOctets,
  readIntegerBytes,
  readSmallInteger,
  readTime,
  type Der,
} from "./reader.ts";
import { context, INTEGER } from "./tags.ts";

/** Larger certificates are refused; the largest seen in code signing have 3 KB. */
export const CERTIFICATE_LIMIT = 64 * 1024;

export type Certificate = {
  readonly der: Uint8Array;
  /** What the issuer's signature covers. */
  readonly tbs: Uint8Array;
  readonly version: number;
  /** Content octets of the INTEGER, as encoded. */
  readonly serial: Uint8Array;
  readonly issuer: Name;
  readonly subject: Name;
  readonly notBefore: Instant;
  /** The last instant at which it is valid (RFC 5280 4.1.2.5: inclusive). */
  readonly notAfter: Instant;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly extensions: Extensions;
  readonly signatureAlgorithm: SignatureAlgorithm;
  readonly signature: Uint8Array;
};

/** Errors: `der/bad-certificate`, with what the reader said as cause. */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > CERTIFICATE_LIMIT) throw bad(`it has ${der.length} bytes, more than ${CERTIFICATE_LIMIT}`);
  try {
    return readCertificate(parseDer(der));
  } catch (cause) {
    if (cause instanceof DerError && cause.code !== "der/bad-certificate") throw bad(cause.message, cause);
    throw cause;
  }
}

/** All certificates of a PEM text, in its order. Errors: `der/bad-pem`, `der/bad-certificate`. */
export function parseCertificatesPem(text: string): readonly Certificate[] {
  return pemBlocks(text, "CERTIFICATE").map(parseCertificate);
}

export function certificatePem(certificate: Certificate): string {
  return toPem("CERTIFICATE", certificate.der);
}

function readCertificate(whole: Der): Certificate {
  const outer = new Fields(whole);
  const tbs = outer.take();
  const outerAlgorithm = outer.take();
  const signature = readBitOctets(outer.take());
  outer.done();

  const fields = new Fields(tbs);
  const versionField = fields.optionalExplicit(0);
  const version = versionField === null ? 1 : readSmallInteger(versionField) + 1;
  const serial = readIntegerBytes(fields.take(INTEGER));
  const innerAlgorithm = fields.take();
  const issuer = readName(fields.take());
  const validity = new Fields(fields.take());
  const notBefore = readTime(validity.take());
  const notAfter = readTime(validity.take());
  validity.done();
  const subject = readName(fields.take());
  const spki = encoded(fields.take());
  fields.optional(context(1));
  fields.optional(context(2));
  const extensionsField = fields.optionalExplicit(3);
  fields.done();

  if (version !== 1 && version !== 3) throw bad(`it is of version ${version}`);
  if (version === 1 && extensionsField !== null) throw bad("it has extensions though it is of version 1");
  // RFC 5280 4.1.1.2: what is signed names the algorithm that signs it.
  if (!equalBytes(encoded(outerAlgorithm), encoded(innerAlgorithm)))
    throw bad("it names two different signature algorithms");
  if (notAfter < notBefore) throw bad("it ends before it begins");
  return {
    der: encoded(whole),
    tbs: encoded(tbs),
    version,
    serial,
    issuer,
    subject,
    notBefore,
    notAfter,
    spki,
    extensions: readExtensions(extensionsField),
    signatureAlgorithm: readSignatureAlgorithm(outerAlgorithm),
    signature,
  };
}

/** Errors: `der/unsupported` and `der/malformed`, see `readPublicKey`. */
export function publicKeyOfCertificate(certificate: Certificate): KeyObject {
  return readPublicKey(certificate.spki);
}

/** True if the key of `issuer` made the signature on `certificate`. Says nothing of names, validity or constraints. */
export function isSignedBy(certificate: Certificate, issuer: Certificate): boolean {
  let key: KeyObject;
  try {
    key = publicKeyOfCertificate(issuer);
  } catch {
    return false;
  }
  return verifySignature(key, certificate.signatureAlgorithm, certificate.tbs, certificate.signature);
}

export function isSelfIssued(certificate: Certificate): boolean {
  return equalBytes(certificate.issuer.der, certificate.subject.der);
}

/** Lower-case hex, as shown by other tools: without the sign octet. */
export function serialHex(certificate: Certificate): string {
  const { serial } = certificate;
  return toHex(serial.length > 1 && serial[0] === 0 ? serial.subarray(1) : serial);
}

/** Lower-case hex digest of the whole certificate. SHA-1 serves to look one up by the name other tools give it, never to trust it. */
export function fingerprint(certificate: Certificate, algorithm: "sha256" | "sha1" = "sha256"): string {
  return hash(algorithm, certificate.der, "hex");
}

/** RFC 7469 section 2.4: lower-case hex SHA-256 of the SubjectPublicKeyInfo. */
export function spkiPin(certificate: Certificate): string {
  return hash("sha256", certificate.spki, "hex");
}

function bad(what: string, cause?: unknown): DerError {
  return new DerError(
    "der/bad-certificate",
    `The certificate cannot be used: ${what}`.replace(/\.?$/, "."),
    {},
    { cause },
  );
}
