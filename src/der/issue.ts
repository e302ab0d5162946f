// Issuing: builds a certificate for a public key, self-signed or under an issuer.

import { hash } from "node:crypto";
import { SECOND, type Instant } from "../core/instant.ts";
import { signatureIdentifier, type X509Scheme, type X509Signer } from "./algorithms.ts";
import { DerError } from "./errors.ts";
import {
  writeAltNames,
  writeBasicConstraints,
  writeExtension,
  writeKeyUsage,
  type AltName,
  type KeyUsage,
} from "./extensions.ts";
import type { Name } from "./names.ts";
import * as oids from "./oids.ts";
import { children, content, expectTag, parseDer, readBitOctets } from "./reader.ts";
import { SEQUENCE } from "./tags.ts";
import { bitOctets, element, explicit, integer, octets, oid, sequence, time, unsigned } from "./writer.ts";
import { context } from "./tags.ts";
import { parseCertificate, type Certificate } from "./x509.ts";

export type CertificateRequestValues = {
  /** Magnitude, 1 to 20 octets, unpredictable (CA/B Forum 7.1: at least 64 random bits). Zero is refused. */
  readonly serial: Uint8Array;
  /** Without `certificate` the result is issued under `subject` itself: a root. `scheme` chooses among an RSA key's schemes. */
  readonly issuer: {
    readonly certificate?: Certificate;
    readonly signer: X509Signer;
    readonly scheme?: X509Scheme;
  };
  readonly subject: Name;
  /** SubjectPublicKeyInfo, DER. */
  readonly spki: Uint8Array;
  readonly notBefore: Instant;
  readonly notAfter: Instant;
  /** True, or how many further authorities may follow below. */
  readonly ca?: boolean | { readonly pathLength: number };
  /** Dotted decimal, see `oids.ts`. */
  readonly eku?: readonly string[];
  /** RFC 3161 2.3: a time-stamp authority's has to be critical. */
  readonly ekuCritical?: boolean;
  readonly keyUsage?: readonly KeyUsage[];
  readonly sans?: readonly AltName[];
  /** Further extensions, encoded by `writeExtension`. */
  readonly extensions?: readonly Uint8Array[];
};

/**
 * Key usage defaults to keyCertSign + cRLSign for an authority, digitalSignature for others.
 * Errors: `der/bad-value`, `der/unsupported`, and the signer's.
 */
export async function buildCertificate(values: CertificateRequestValues): Promise<Certificate> {
  const { issuer, subject, serial } = values;
  if (serial.length > 20 || serial.every((byte) => byte === 0))
    throw new DerError("der/bad-value", "A serial number has 1 to 20 octets and is not zero.", {
      octets: serial.length,
    });
  if (values.notAfter < values.notBefore)
    throw new DerError("der/bad-value", "A certificate cannot end before it begins.", {});
  const scheme = issuer.scheme ?? (issuer.signer.publicKey.scheme as X509Scheme);
  const algorithm = signatureIdentifier(scheme);
  const issuerName = issuer.certificate?.subject ?? subject;
  const issuerKeyId =
    issuer.certificate?.extensions.subjectKeyIdentifier ??
    keyIdentifier(issuer.certificate?.spki ?? issuer.signer.publicKey.spki);
  const ca = values.ca ?? false;
  const usage = values.keyUsage ?? (ca === false ? ["digitalSignature"] : ["keyCertSign", "cRLSign"]);
  const extensions = [
    writeExtension(
      oids.basicConstraints,
      true,
      writeBasicConstraints(ca !== false, typeof ca === "object" ? ca.pathLength : undefined),
    ),
    writeExtension(oids.keyUsage, true, writeKeyUsage(usage)),
    ...(values.eku === undefined
      ? []
      : [writeExtension(oids.extKeyUsage, values.ekuCritical ?? false, sequence(...values.eku.map(oid)))]),
    writeExtension(oids.subjectKeyIdentifier, false, octets(keyIdentifier(values.spki))),
    writeExtension(oids.authorityKeyIdentifier, false, sequence(element(context(0), issuerKeyId))),
    // RFC 5280 4.2.1.6: critical if the subject is empty.
    ...(values.sans === undefined || values.sans.length === 0
      ? []
      : [writeExtension(oids.subjectAltName, subject.attributes.length === 0, writeAltNames(values.sans))]),
    ...(values.extensions ?? []),
  ];
  const tbs = sequence(
    explicit(0, integer(2)),
    unsigned(serial),
    algorithm,
    issuerName.der,
    sequence(time(wholeSecond(values.notBefore)), time(wholeSecond(values.notAfter))),
    subject.der,
    values.spki,
    explicit(3, sequence(...extensions)),
  );
  const signature = await issuer.signer.sign(tbs, scheme);
  return parseCertificate(sequence(tbs, algorithm, bitOctets(signature)));
}

/** RFC 7093 section 2 method 1: the leftmost 160 bits of the SHA-256 of the key's bits. */
export function keyIdentifier(spki: Uint8Array): Uint8Array {
  const [, key] = children(expectTag(parseDer(spki), SEQUENCE));
  if (key === undefined)
    throw new DerError("der/bad-value", "The public key is not a SubjectPublicKeyInfo.", {
      octets: content(parseDer(spki)).length,
    });
  return new Uint8Array(hash("sha256", readBitOctets(key), "buffer")).subarray(0, 20);
}

function wholeSecond(instant: Instant): Instant {
  return Math.floor(instant / SECOND) * SECOND;
}
