// Time stamps: RFC 3161 tokens and the older Authenticode countersignatures, read and believed, or not.

import { equalBytes, toHex } from "../core/bytes.ts";
import { formatInstant, MINUTE, type Instant } from "../core/instant.ts";
import { isStrongHash, readHashIdentifier, type HashName } from "../der/algorithms.ts";
import { DerError } from "../der/errors.ts";
import { formatName } from "../der/names.ts";
import * as oids from "../der/oids.ts";
import {
  children,
  Fields,
  parseDer,
  readIntegerBytes,
  readOctets,
  readOid,
  readSmallInteger,
  readTime,
  type Der,
} from "../der/reader.ts";
import { BOOLEAN, contextOf, GENERALIZED_TIME, INTEGER, OCTET_STRING, SEQUENCE } from "../der/tags.ts";
import type { Certificate } from "../der/x509.ts";
import { checkChain, type Revocation } from "./chain.ts";
import {
  guarded,
  readSignedDataIn,
  readSignerInfo,
  signedAttribute,
  type SignedData,
  type SignerInfo,
} from "./cms.ts";
import { digest } from "./cms-build.ts";
import { checkSigner, type Latitude } from "./cms-verify.ts";
import { ArtifactError, Findings, hasError, type Finding } from "./errors.ts";

/** The attribute in which Authenticode keeps a token (wintrust.h: szOID_RFC3161_counterSign). */
export const MICROSOFT_RFC3161 = "1.3.6.1.4.1.311.3.3.1";

export type TstInfo = {
  readonly policy: string;
  readonly hash: HashName;
  readonly imprint: Uint8Array;
  readonly serial: string;
  readonly genTime: Instant;
  /** Content octets of the INTEGER. */
  readonly nonce: Uint8Array | null;
};

/** RFC 3161 2.4.2. Errors: `artifact/bad-timestamp`. */
export function readTstInfo(token: SignedData): TstInfo {
  if (token.contentType !== oids.tstInfo || token.content === null)
    throw badToken(`it holds ${token.contentType}, not a TSTInfo`);
  try {
    const fields = new Fields(parseDer(readOctets(token.content)));
    if (readSmallInteger(fields.take(INTEGER)) !== 1) throw badToken("its TSTInfo is not of version 1");
    const policy = readOid(fields.take());
    const imprintFields = new Fields(fields.take(SEQUENCE));
    const hash = readHashIdentifier(imprintFields.take());
    const imprint = readOctets(imprintFields.take(OCTET_STRING));
    imprintFields.done();
    const serial = toHex(readIntegerBytes(fields.take(INTEGER)));
    const genTime = readTime(fields.take(GENERALIZED_TIME));
    fields.optional(SEQUENCE);
    fields.optional(BOOLEAN);
    const nonce = fields.optional(INTEGER);
    fields.optional(contextOf(0));
    fields.optional(contextOf(1));
    fields.done();
    return { policy, hash, imprint, serial, genTime, nonce: nonce === null ? null : readIntegerBytes(nonce) };
  } catch (cause) {
    if (cause instanceof DerError) throw badToken(cause.message, cause);
    throw cause;
  }
}

export type TimestampReport = {
  readonly kind: "rfc3161" | "legacy";
  /** What it says; null if it cannot be read. */
  readonly time: Instant | null;
  /** Whether `time` is proven. */
  readonly believed: boolean;
  /** The digest over the stamped signature value. */
  readonly hash: HashName | null;
  readonly authority: string | null;
  /** Authority first. */
  readonly path: readonly Certificate[];
  readonly findings: readonly Finding[];
};

export type TimestampPolicy = {
  readonly roots: readonly Certificate[];
  readonly now: Instant;
  readonly revocation?: Revocation;
};

/** Checks a token over `stamped`, the signature value of the signer it belongs to. Never throws. */
export function checkTimestampToken(
  value: Der,
  stamped: Uint8Array,
  bag: readonly Certificate[],
  policy: TimestampPolicy,
): TimestampReport {
  const findings = new Findings();
  try {
    const token = readSignedDataIn(value);
    return checkToken(token, stamped, [...token.certificates, ...bag], policy, findings);
  } catch (error) {
    return unreadable("rfc3161", error, findings);
  }
}

/** The trust decision about a token, as a list. */
function checkToken(
  token: SignedData,
  stamped: Uint8Array,
  bag: readonly Certificate[],
  policy: TimestampPolicy,
  findings: Findings,
): TimestampReport {
  const info = readTstInfo(token);
  // RFC 3161 2.4.2: the signature of the authority and no other.
  const [signer, ...others] = token.signers;
  if (signer === undefined || others.length > 0) throw badToken(`it has ${token.signers.length} signers`);
  const content = readOctets(token.content!);
  const { certificate } = checkSigner(token, signer, (hash) => digest(hash, content), findings, bag, {
    bareDigest: true,
  });
  if (certificate !== null) checkSigningCertificate(signer, certificate, findings);
  checkImprint(info, stamped, findings);
  checkNotAhead(info.genTime, policy.now, findings);
  const path = checkAuthority(certificate, bag, info.genTime, policy, findings);
  return report("rfc3161", info.genTime, info.hash, certificate, path, findings);
}

// RFC 3161 2.4.1, 2.4.2: the token is about this signature and no other.
function checkImprint(info: TstInfo, stamped: Uint8Array, findings: Findings): void {
  if (!isStrongHash(info.hash))
    findings.error(
      "timestamp/weak-digest",
      `The timestamp rests on ${info.hash.toUpperCase()}, which can be forged.`,
    );
  if (!equalBytes(digest(info.hash, stamped), info.imprint))
    findings.error(
      "timestamp/imprint-mismatch",
      "The timestamp was made for another signature and put here.",
    );
}

function checkNotAhead(time: Instant, now: Instant, findings: Findings): void {
  if (time > now + 10 * MINUTE)
    findings.error(
      "timestamp/in-the-future",
      `The timestamp says ${formatInstant(time)}, which is still to come: either the authority's clock or this one is wrong.`,
    );
}

// RFC 3161 2.4.2 and RFC 5816: the token names the certificate it is to be checked with.
function checkSigningCertificate(signer: SignerInfo, certificate: Certificate, findings: Findings): void {
  const [v1, v2] = [
    signedAttribute(signer, oids.signingCertificate),
    signedAttribute(signer, oids.signingCertificateV2),
  ];
  if (v1 === null && v2 === null) {
    findings.error(
      "timestamp/unbound",
      "The timestamp does not say which certificate it is to be checked with.",
    );
    return;
  }
  for (const [value, version] of [
    [v1, 1],
    [v2, 2],
  ] as const) {
    if (value !== null && !namesCertificate(value, version, certificate))
      findings.error(
        "timestamp/wrong-certificate",
        "The timestamp names another certificate than the one that fits its signer.",
      );
  }
}

function namesCertificate(value: Der, version: 1 | 2, certificate: Certificate): boolean {
  // SigningCertificate ::= SEQUENCE { certs SEQUENCE OF ESSCertID, policies OPTIONAL }; the first one is the signer's.
  const first = children(new Fields(value).take(SEQUENCE))[0];
  if (first === undefined) return false;
  const fields = new Fields(first);
  const hash: HashName =
    version === 1 ? "sha1" : fields.nextTag === SEQUENCE ? readHashIdentifier(fields.take()) : "sha256";
  return equalBytes(readOctets(fields.take()), digest(hash, certificate.der));
}

/** The authority's chain is judged at the time that the stamp says: tokens outlive their certificates. */
function checkAuthority(
  certificate: Certificate | null,
  bag: readonly Certificate[],
  at: Instant,
  policy: TimestampPolicy,
  findings: Findings,
): readonly Certificate[] {
  if (certificate === null) return [];
  const chain = checkChain({
    leaf: certificate,
    bag,
    roots: policy.roots,
    purpose: "timeStamping",
    at,
    ...(policy.revocation === undefined ? {} : { revocation: policy.revocation }),
  });
  findings.list.push(...chain.findings);
  return chain.path;
}

/**
 * Checks an Authenticode countersignature (attribute 1.2.840.113549.1.9.6): a SignerInfo over the signature value,
 * whose certificates are in the main signature. Never throws.
 */
export function checkLegacyCountersignature(
  value: Der,
  stamped: Uint8Array,
  bag: readonly Certificate[],
  policy: TimestampPolicy,
): TimestampReport {
  const findings = new Findings();
  try {
    const signer = guarded(() => readSignerInfo(value, findings));
    const around = countersigned(signer);
    const { certificate } = checkSigner(
      around,
      signer,
      (hash) => digest(hash, stamped),
      findings,
      bag,
      LEGACY_LATITUDE,
    );
    const timeValue = signedAttribute(signer, oids.signingTime);
    if (timeValue === null) throw badToken("it does not say its time");
    const time = guarded(() => readTime(timeValue));
    checkNotAhead(time, policy.now, findings);
    const path = checkAuthority(certificate, bag, time, policy, findings);
    return report("legacy", time, signer.digest, certificate, path, findings);
  } catch (error) {
    return unreadable("legacy", error, findings);
  }
}

/**
 * Certum's countersignatures (MeshCentral's programs have them) name the type of a token; Symantec's G4 authority wrote the bare digest.
 * Neither lets another signature in: messageDigest has to be that of the very signature value that is stamped.
 */
const LEGACY_LATITUDE: Latitude = { contentTypes: [oids.tstInfo], bareDigest: true };

/** The SignedData that a countersignature stands for: its content is the signature value, of the type data. */
function countersigned(signer: SignerInfo): SignedData {
  return {
    version: 1,
    digests: [signer.digest],
    contentType: oids.data,
    content: null,
    certificates: [],
    otherCertificates: [],
    crls: [],
    signers: [signer],
    der: signer.der,
    findings: [],
  };
}

function report(
  kind: TimestampReport["kind"],
  time: Instant,
  hash: HashName,
  certificate: Certificate | null,
  path: readonly Certificate[],
  findings: Findings,
): TimestampReport {
  const authority = certificate === null ? null : formatName(certificate.subject);
  return { kind, time, believed: !hasError(findings.list), hash, authority, path, findings: findings.list };
}

function unreadable(kind: TimestampReport["kind"], error: unknown, findings: Findings): TimestampReport {
  if (!(error instanceof ArtifactError) && !(error instanceof DerError)) throw error;
  findings.error("timestamp/malformed", error.message);
  return {
    kind,
    time: null,
    believed: false,
    hash: null,
    authority: null,
    path: [],
    findings: findings.list,
  };
}

function badToken(what: string, cause?: unknown): ArtifactError {
  return new ArtifactError(
    "artifact/bad-timestamp",
    `The timestamp cannot be used: ${what}`.replace(/\.?$/, "."),
    {},
    { cause },
  );
}
