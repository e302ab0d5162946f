// Believing an Authenticode signature: the decision for one signature, and the unfolding of nested ones.

import { equalBytes } from "../core/bytes.ts";
import { formatInstant, type Instant } from "../core/instant.ts";
import type { HashName } from "../der/algorithms.ts";
import { DerError } from "../der/errors.ts";
import * as oids from "../der/oids.ts";
import { content } from "../der/reader.ts";
import { publicKeyOfCertificate, type Certificate } from "../der/x509.ts";
import {
  LIFETIME_SIGNING,
  nestedSignatures,
  readIndirectData,
  readOpus,
  readSequenceNumber,
  SPC_INDIRECT_DATA,
  SPC_NESTED_SIGNATURE,
  type IndirectData,
  type Opus,
} from "./authenticode.ts";
import { checkChain } from "./chain.ts";
import { digest } from "./cms-build.ts";
import { guarded, parseSignedData, unsignedValues, type SignedData, type SignerInfo } from "./cms.ts";
import { checkSigner } from "./cms-verify.ts";
import { ArtifactError, Findings, hasError } from "./errors.ts";
import type { SignatureReport, VerifyPolicy } from "./report.ts";
import {
  checkLegacyCountersignature,
  checkTimestampToken,
  MICROSOFT_RFC3161,
  type TimestampReport,
} from "./timestamp.ts";

/** Every one of them costs a search for a chain; the most seen in the field is two. */
const NESTED_LIMIT = 8;
const STAMPS_LIMIT = 4;
/** Unsigned data above this is no remark of a tool but a payload. */
const UNSIGNED_LIMIT = 64 * 1024;

/** A signature as read; nothing in it is believed yet. */
export type OpenedSignature = {
  readonly place: string;
  readonly signed: SignedData;
  readonly signer: SignerInfo;
  readonly indirect: IndirectData;
  readonly findings: Findings;
};

/** Reads a signature and those nested in it. Errors: `artifact/bad-signature`, `artifact/too-large`. */
export function openSignatures(cms: Uint8Array, place = "signature"): readonly OpenedSignature[] {
  const first = open(cms, place);
  const nested = nestedSignatures(first.signer);
  if (nested.length > NESTED_LIMIT)
    throw new ArtifactError(
      "artifact/bad-signature",
      `The signature holds ${nested.length} others, more than ${NESTED_LIMIT}.`,
      {},
    );
  const rest = nested.map((der, i) => open(der, `nested signature ${i + 1}`));
  for (const inner of rest) {
    if (nestedSignatures(inner.signer).length > 0)
      inner.findings.error(
        "signature/nested-too-deep",
        "A nested signature holds further ones, which no tool would look at.",
      );
  }
  return [first, ...rest];
}

function open(cms: Uint8Array, place: string): OpenedSignature {
  const findings = new Findings();
  const signed = parseSignedData(cms);
  findings.list.push(...signed.findings);
  const [signer] = signed.signers;
  // Authenticode_PE, "SignerInfo": one signer; further signatures are nested.
  if (signer === undefined || signed.signers.length > 1)
    throw new ArtifactError(
      "artifact/bad-signature",
      `The signature has ${signed.signers.length} signers where Authenticode has one.`,
      { signers: signed.signers.length },
    );
  if (signed.contentType !== SPC_INDIRECT_DATA || signed.content === null) {
    throw new ArtifactError(
      "artifact/bad-signature",
      `The signature is over ${signed.contentType}, not over the digest of a program.`,
      { contentType: signed.contentType },
    );
  }
  const indirect = guarded(() => readIndirectData(signed.content!));
  if (place !== "signature" && guarded(() => readSequenceNumber(signer)) === null)
    findings.note("signature/unnumbered", "The nested signature has no number.");
  return { place, signed, signer, indirect, findings };
}

/** The digests of the image that these signatures are to be compared with. */
export function neededDigests(opened: readonly OpenedSignature[]): ReadonlySet<HashName> {
  return new Set(opened.map(({ indirect }) => indirect.hash));
}

/** What the indirect data says about the kind of file: what is written into it here, and what genuine files of this format have instead. */
export type IndirectType = { readonly own: string; readonly foreign?: readonly string[] };

/** The trust decision about one signature, as a list. Never throws. */
export function judgeSignature(
  opened: OpenedSignature,
  imageDigest: Uint8Array | null,
  indirectType: IndirectType,
  policy: VerifyPolicy,
): SignatureReport {
  const { signed, signer, indirect, findings } = opened;
  checkIndirectData(indirect, signer, indirectType, findings);
  checkImageDigest(indirect, imageDigest, findings);
  const covered = content(signed.content!);
  const { certificate } = checkSigner(signed, signer, (hash) => digest(hash, covered), findings);
  const timestamps = checkTimestamps(signed, signer, policy, findings);
  checkUnsigned(signed, signer, policy, findings);
  const signedAt = provenTime(timestamps);
  const path = certificate === null ? [] : checkSignerChain(certificate, signed, signedAt, policy, findings);
  if (signedAt === null && policy.requireTimestamp === true)
    findings.error("signature/no-timestamp", "No trusted timestamp says when the signature was made.");
  else if (signedAt === null)
    findings.note(
      "signature/no-timestamp",
      "Without a trusted timestamp the signature is valid only as long as its certificate.",
    );
  return {
    place: opened.place,
    valid: !hasError(findings.list),
    path,
    hash: indirect.hash,
    key: certificate === null ? "unknown" : keyText(certificate),
    opus: opusOf(signer, findings),
    signedAt,
    timestamps,
    findings: findings.list,
  };
}

function checkIndirectData(
  indirect: IndirectData,
  signer: SignerInfo,
  indirectType: IndirectType,
  findings: Findings,
): void {
  if (indirectType.foreign?.includes(indirect.type) === true)
    findings.note("signature/foreign-kind", `The signature names its kind of file as ${indirect.type}.`);
  else if (indirect.type !== indirectType.own)
    findings.error("signature/wrong-kind", `The signature is for another kind of file (${indirect.type}).`, {
      type: indirect.type,
    });
  // Authenticode_PE, "messageDigest": the same algorithm in DigestInfo and SignerInfo.
  if (indirect.hash !== signer.digest)
    findings.error(
      "cms/digest-mismatch",
      `The file's digest is ${indirect.hash}, the signature's ${signer.digest}.`,
    );
}

function checkImageDigest(indirect: IndirectData, imageDigest: Uint8Array | null, findings: Findings): void {
  if (imageDigest === null || !equalBytes(indirect.digest, imageDigest)) {
    findings.error(
      "signature/file-changed",
      "The file is not the one that was signed: it was changed after signing, or the signature was taken from another file.",
    );
  }
}

function checkTimestamps(
  signed: SignedData,
  signer: SignerInfo,
  policy: VerifyPolicy,
  findings: Findings,
): readonly TimestampReport[] {
  const stampPolicy = {
    roots: policy.timestampRoots ?? policy.roots,
    now: policy.now,
    ...(policy.revocation === undefined ? {} : { revocation: policy.revocation }),
  };
  const count = [MICROSOFT_RFC3161, oids.timeStampToken, oids.counterSignature].flatMap((name) =>
    unsignedValues(signer, name),
  ).length;
  if (count > STAMPS_LIMIT)
    findings.error("signature/too-many-timestamps", `The signature has ${count} timestamps.`, { count });
  const reports = [
    ...[...unsignedValues(signer, MICROSOFT_RFC3161), ...unsignedValues(signer, oids.timeStampToken)]
      .slice(0, STAMPS_LIMIT)
      .map((value) => checkTimestampToken(value, signer.signature, signed.certificates, stampPolicy)),
    ...unsignedValues(signer, oids.counterSignature)
      .slice(0, STAMPS_LIMIT)
      .map((value) => checkLegacyCountersignature(value, signer.signature, signed.certificates, stampPolicy)),
  ];
  for (const report of reports.filter((each) => !each.believed)) {
    const errors = report.findings.filter((finding) => finding.level === "error");
    const why = errors.map((finding) => finding.message).join(" ");
    // A stamp of an unknown or outdated authority proves nothing; one that is wrong in itself is a forgery or damage.
    if (errors.every((finding) => UNPROVEN.has(finding.code)))
      findings.warning("signature/timestamp-unproven", `The timestamp proves nothing: ${why}`);
    else findings.error("signature/timestamp-invalid", `The timestamp is not in order: ${why}`);
  }
  return reports;
}

const UNPROVEN: ReadonlySet<string> = new Set([
  "chain/untrusted",
  "chain/weak-digest",
  "chain/weak-key",
  "cms/weak-digest",
  "cms/weak-key",
  "timestamp/weak-digest",
  "chain/revocation-unknown",
  "chain/revocation-stale",
]);

function provenTime(timestamps: readonly TimestampReport[]): Instant | null {
  const times = timestamps.filter((report) => report.believed).map((report) => report.time!);
  return times.length === 0 ? null : Math.min(...times);
}

function checkSignerChain(
  leaf: Certificate,
  signed: SignedData,
  signedAt: Instant | null,
  policy: VerifyPolicy,
  findings: Findings,
): readonly Certificate[] {
  // Authenticode_PE, "lifetime signing": a time stamp does not carry such a signature beyond its certificate.
  const lifetime = leaf.extensions.extKeyUsage?.purposes.includes(LIFETIME_SIGNING) === true;
  if (lifetime && policy.now > leaf.notAfter) {
    findings.error(
      "chain/lifetime-signing",
      `The certificate says that its signatures end with it, and it ended on ${formatInstant(leaf.notAfter)}.`,
    );
  }
  const chain = checkChain({
    leaf,
    bag: signed.certificates,
    roots: policy.roots,
    purpose: "codeSigning",
    at: signedAt ?? policy.now,
    ...(policy.revocation === undefined ? {} : { revocation: policy.revocation }),
  });
  findings.list.push(...chain.findings);
  const unused = signed.certificates.length - chain.path.length;
  if (unused > 16)
    findings.warning(
      "cms/many-certificates",
      `${unused} certificates beside the signature have nothing to do with it.`,
      { unused },
    );
  return chain.path;
}

const KNOWN_UNSIGNED: ReadonlySet<string> = new Set([
  MICROSOFT_RFC3161,
  oids.timeStampToken,
  oids.counterSignature,
  SPC_NESTED_SIGNATURE,
]);

/** Unsigned attributes can carry anything without breaking a signature: said aloud, and capped. */
function checkUnsigned(
  signed: SignedData,
  signer: SignerInfo,
  policy: VerifyPolicy,
  findings: Findings,
): void {
  const strange = signer.unsignedAttributes.filter((attribute) => !KNOWN_UNSIGNED.has(attribute.oid));
  const bytes =
    strange.reduce((sum, attribute) => sum + attribute.der.length, 0) +
    signed.otherCertificates.reduce((sum, der) => sum + der.length, 0) +
    signed.crls.reduce((sum, der) => sum + der.length, 0);
  if (bytes === 0) return;
  const kinds = strange.map((attribute) => attribute.oid).join(", ");
  const message = `${bytes} bytes beside the signature are covered by nothing${kinds === "" ? "" : ` (${kinds})`}: a program must not rely on them.`;
  if (bytes > UNSIGNED_LIMIT || policy.strict === true)
    findings.error("signature/unsigned-data", message, { bytes });
  else findings.warning("signature/unsigned-data", message, { bytes });
}

function opusOf(signer: SignerInfo, findings: Findings): Opus {
  try {
    return readOpus(signer);
  } catch (error) {
    if (!(error instanceof DerError) && !(error instanceof ArtifactError)) throw error;
    findings.warning("signature/opus", "What the publisher says about the program cannot be read.");
    return {};
  }
}

/** `RSA 3072`, `EC prime256v1`, ... */
export function keyText(certificate: Certificate): string {
  try {
    const key = publicKeyOfCertificate(certificate);
    const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {};
    if (modulusLength !== undefined) return `RSA ${modulusLength}`;
    return namedCurve === undefined ? (key.asymmetricKeyType ?? "unknown") : `EC ${namedCurve}`;
  } catch {
    return "unreadable";
  }
}
