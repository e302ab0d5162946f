// Whether a detached CMS covers the bytes of a file, and who made it: decided here, for ELF trailers and `.sig` files alike.

import { createVerify } from "node:crypto";
import { equalBytes } from "../core/bytes.ts";
import { formatInstant, type Instant } from "../core/instant.ts";
import { isStrongHash, type HashName } from "../der/algorithms.ts";
import { DerError } from "../der/errors.ts";
import { formatName } from "../der/names.ts";
import * as oids from "../der/oids.ts";
import { children, Fields, readOctets, type Der } from "../der/reader.ts";
import { SEQUENCE } from "../der/tags.ts";
import { publicKeyOfCertificate, type Certificate } from "../der/x509.ts";
import { checkChain, type Revocation } from "./chain.ts";
import {
  certificatesNamedBy,
  signedAttribute,
  signerIdText,
  unsignedValues,
  type SignedData,
  type SignerInfo,
} from "./cms.ts";
import { digest } from "./cms-build.ts";
import { checkSigner } from "./cms-verify.ts";
import type { ContentDigests } from "./content-digest.ts";
import { keyText } from "./authenticode-verify.ts";
import { ArtifactError, Findings, type Finding } from "./errors.ts";
import type { SignatureReport } from "./report.ts";
import { pieces, type ByteSource } from "./source.ts";
import { checkTimestampToken, type TimestampReport } from "./timestamp.ts";

export type ContentPolicy = {
  readonly roots: readonly Certificate[];
  /** Roots of time-stamp authorities; the same as `roots` unless given. */
  readonly timestampRoots?: readonly Certificate[];
  readonly now: Instant;
  readonly revocation?: Revocation;
  /** A signature without a believed time stamp is refused. */
  readonly requireTimestamp?: boolean;
  /** What is only suspicious is refused as well. */
  readonly strict?: boolean;
};

export type SignerReport = {
  readonly certificate: Certificate | null;
  readonly name: string | null;
  readonly hash: HashName;
  /** Signer first. */
  readonly path: readonly Certificate[];
  /** What a time stamp proves; null without one. */
  readonly timestamp: TimestampReport | null;
  /** The signature fits the content, whoever made it. */
  readonly intact: boolean;
  /** Intact, and by somebody whom the policy trusts. */
  readonly believed: boolean;
  readonly findings: readonly Finding[];
};

export type ContentReport = {
  readonly signers: readonly SignerReport[];
  /** Every signature fits the content and at least one is by somebody whom the policy trusts. */
  readonly believed: boolean;
  readonly findings: readonly Finding[];
};

/**
 * Checks every signer. The content is given by its digests; with `plain` the digests are not looked at
 * and the signature has to be one over the bytes themselves (the kernel's form).
 * What is wrong is in the findings; the only errors are those of reading the file.
 */
export async function verifyContent(
  signed: SignedData,
  digests: ContentDigests,
  policy: ContentPolicy,
  plain?: {
    readonly source: ByteSource;
    readonly size: number;
    readonly certificates: readonly Certificate[];
  },
): Promise<ContentReport> {
  const overall = new Findings();
  overall.list.push(...signed.findings);
  // Content inside would be signed instead of the file beside it.
  if (signed.content !== null) {
    overall.error(
      "content/not-detached",
      "The signature carries its own content; it does not cover this file.",
    );
  }
  if (signed.contentType !== oids.data) {
    overall.error(
      "content/wrong-type",
      `The signature is over the type ${signed.contentType}, not over a file.`,
    );
  }
  if (signed.signers.length === 0) overall.error("content/no-signer", "The signature has no signer.");
  const signers: SignerReport[] = [];
  for (const signer of signed.signers) {
    signers.push(
      plain === undefined
        ? checkOne(signed, signer, digests, policy)
        : await checkPlain(signer, plain.source, plain.size, plain.certificates, policy),
    );
  }
  if (signers.some((signer) => !signer.intact)) {
    overall.error("content/bad-signer", "Not every signature in it fits the file.");
  }
  if (signers.length > 0 && !signers.some((signer) => signer.believed)) {
    overall.error("content/untrusted", "None of its signatures is by a trusted signer.");
  }
  return { signers, believed: !overall.failed, findings: overall.list };
}

function checkOne(
  signed: SignedData,
  signer: SignerInfo,
  digests: ContentDigests,
  policy: ContentPolicy,
): SignerReport {
  const findings = new Findings();
  const { certificate } = checkSigner(signed, signer, digests.of, findings);
  if (certificate !== null) guard(findings, () => checkBinding(signer, certificate, findings));
  const intact = certificate !== null && !findings.failed;
  return judge(signed.certificates, signer, certificate, intact, policy, findings);
}

/** Time stamp, chain, and the sum of it. */
function judge(
  bag: readonly Certificate[],
  signer: SignerInfo,
  certificate: Certificate | null,
  intact: boolean,
  policy: ContentPolicy,
  findings: Findings,
): SignerReport {
  const timestamp = checkStamp(signer, bag, policy, findings);
  if (policy.requireTimestamp === true && timestamp?.believed !== true) {
    findings.error("signature/no-timestamp", "No trusted timestamp says when the signature was made.");
  }
  checkUnsigned(signer, policy, findings);
  const at = timestamp?.believed === true && timestamp.time !== null ? timestamp.time : policy.now;
  let path: readonly Certificate[] = [];
  if (certificate !== null) {
    const chain = checkChain({
      leaf: certificate,
      bag,
      roots: policy.roots,
      purpose: "codeSigning",
      at,
      ...(policy.revocation === undefined ? {} : { revocation: policy.revocation }),
    });
    path = chain.path;
    findings.list.push(...chain.findings);
  }
  return {
    certificate,
    name: certificate === null ? null : formatName(certificate.subject),
    hash: signer.digest,
    path,
    timestamp,
    intact,
    believed: intact && !findings.failed,
    findings: findings.list,
  };
}

function checkStamp(
  signer: SignerInfo,
  bag: readonly Certificate[],
  policy: ContentPolicy,
  findings: Findings,
): TimestampReport | null {
  const tokens = unsignedValues(signer, oids.timeStampToken);
  if (tokens.length === 0) return null;
  if (tokens.length > 1) {
    findings.error(
      "content/several-timestamps",
      "A signature has several timestamps; which one counts is open.",
    );
    return null;
  }
  const report = checkTimestampToken(tokens[0]!, signer.signature, bag, {
    roots: policy.timestampRoots ?? policy.roots,
    now: policy.now,
    ...(policy.revocation === undefined ? {} : { revocation: policy.revocation }),
  });
  if (!report.believed) {
    // A time stamp that proves nothing is no reason to refuse what is valid without it.
    const why = report.findings
      .filter((finding) => finding.level === "error")
      .map((finding) => finding.message);
    findings.warning("content/timestamp-not-believed", `The timestamp proves nothing: ${why.join(" ")}`);
  } else if (report.time !== null) {
    findings.note("content/timestamp", `The signature existed on ${formatInstant(report.time)}.`);
  }
  return report;
}

/** Unsigned attributes can carry anything without breaking a signature. */
function checkUnsigned(signer: SignerInfo, policy: ContentPolicy, findings: Findings): void {
  const strange = signer.unsignedAttributes.filter((one) => one.oid !== oids.timeStampToken);
  if (strange.length === 0) return;
  const bytes = strange.reduce((sum, one) => sum + one.der.length, 0);
  const message = `${bytes} bytes beside the signature are covered by nothing (${strange.map((one) => one.oid).join(", ")}): a program must not rely on them.`;
  if (policy.strict === true) findings.error("signature/unsigned-data", message, { bytes });
  else findings.warning("signature/unsigned-data", message, { bytes });
}

/** RFC 5035 section 5: the certificate is the one that was meant, not another one for the same key. Absent in signatures of other tools. */
function checkBinding(signer: SignerInfo, certificate: Certificate, findings: Findings): void {
  const value = signedAttribute(signer, oids.signingCertificateV2);
  if (value === null) return;
  if (!names(value, certificate)) {
    findings.error(
      "content/wrong-certificate",
      "The signature names another certificate than the one that comes with it: somebody exchanged it.",
    );
  }
}

function names(value: Der, certificate: Certificate): boolean {
  const first = children(new Fields(value).take(SEQUENCE))[0];
  if (first === undefined) return false;
  const fields = new Fields(first);
  // Another digest than the default would be spelled out here; nobody writes one.
  if (fields.nextTag === SEQUENCE) return false;
  return equalBytes(readOctets(fields.take()), digest("sha256", certificate.der));
}

/** The kernel's form: no attributes; the certificate is not in it and has to be known. */
async function checkPlain(
  signer: SignerInfo,
  source: ByteSource,
  size: number,
  certificates: readonly Certificate[],
  policy: ContentPolicy,
): Promise<SignerReport> {
  const findings = new Findings();
  const [certificate = null, ...others] = certificatesNamedBy(signer, certificates);
  if (certificate === null || others.length > 0) {
    findings.error(
      "content/certificate-missing",
      `The signer's certificate (${signerIdText(signer)}) is not in the signature and not among those given.`,
    );
  } else if (!(await fits(signer, certificate, source, size, findings))) {
    findings.error(
      "content/bad-signature",
      "The signature does not fit the file: either the file was changed, or it was made with another key.",
    );
  }
  return judge(certificates, signer, certificate, !findings.failed, policy, findings);
}

async function fits(
  signer: SignerInfo,
  certificate: Certificate,
  source: ByteSource,
  size: number,
  findings: Findings,
): Promise<boolean> {
  if (!isStrongHash(signer.digest)) {
    findings.error(
      "content/weak-digest",
      `The signature rests on ${signer.digest.toUpperCase()}, which can be forged.`,
    );
  }
  const { kind, hash } = signer.signatureAlgorithm;
  if ((kind !== "rsa" && kind !== "ecdsa") || (hash !== null && hash !== signer.digest)) return false;
  const verify = createVerify(signer.digest);
  for await (const piece of pieces(source, 0, size)) verify.update(piece);
  try {
    const key = publicKeyOfCertificate(certificate);
    if (key.asymmetricKeyType !== (kind === "rsa" ? "rsa" : "ec")) return false;
    return verify.verify({ key, dsaEncoding: "der" }, signer.signature);
  } catch {
    return false;
  }
}

function guard(findings: Findings, action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof DerError) && !(error instanceof ArtifactError)) throw error;
    findings.error("cms/malformed", error.message);
  }
}

/** The signers in the form that every format reports them in. */
export function signatureReports(report: ContentReport): readonly SignatureReport[] {
  return report.signers.map((signer, i) => ({
    place: report.signers.length === 1 ? "signature" : `signer ${i + 1}`,
    valid: signer.believed,
    path: signer.path,
    hash: signer.hash,
    key: signer.certificate === null ? "unknown" : keyText(signer.certificate),
    opus: {},
    signedAt: signer.timestamp?.believed === true ? signer.timestamp.time : null,
    timestamps: signer.timestamp === null ? [] : [signer.timestamp],
    findings: signer.findings,
  }));
}
