// What a verification says about a file: findings, and for each signature who, when and under which chain.

import type { Instant } from "../core/instant.ts";
import type { HashName } from "../der/algorithms.ts";
import type { Certificate } from "../der/x509.ts";
import type { Revocation } from "./chain.ts";
import type { Opus } from "./authenticode.ts";
import type { Facts } from "../core/errors.ts";
import type { ElfExpectation } from "./elf/manifest.ts";
import { hasError, type Finding } from "./errors.ts";
import type { TimestampReport } from "./timestamp.ts";

export type VerifyPolicy = {
  /** Roots that may vouch for publishers, and for time-stamp authorities unless `timestampRoots` is given. */
  readonly roots: readonly Certificate[];
  readonly timestampRoots?: readonly Certificate[];
  readonly now: Instant;
  readonly revocation?: Revocation;
  /** A signature without a believed time stamp is refused. */
  readonly requireTimestamp?: boolean;
  /** What is only suspicious is refused as well: a wrong checksum, unknown unsigned data. */
  readonly strict?: boolean;
  /** ELF: what the file has to be. */
  readonly expect?: ElfExpectation;
  /** Certificates of signers that a signature does not bring along (the kernel's form). */
  readonly certificates?: readonly Certificate[];
  /** UEFI images may carry several signatures side by side; each has to hold. */
  readonly efi?: boolean;
};

export type SignatureReport = {
  /** `signature`, `nested signature 1`, ... */
  readonly place: string;
  readonly valid: boolean;
  /** Leaf first; empty if the signer's certificate is not there. */
  readonly path: readonly Certificate[];
  /** The signature's digest, and its key's kind in words such as `RSA 3072`. */
  readonly hash: HashName;
  readonly key: string;
  readonly opus: Opus;
  /** When it was made, if a time stamp proves it. */
  readonly signedAt: Instant | null;
  readonly timestamps: readonly TimestampReport[];
  readonly findings: readonly Finding[];
};

export type FileReport = {
  readonly format: string;
  /** False: nothing here claims to be a signature. */
  readonly signed: boolean;
  /** True only if a caller may act on it. */
  readonly valid: boolean;
  readonly signatures: readonly SignatureReport[];
  /** About the file as a whole. */
  readonly findings: readonly Finding[];
  /** What the signature says about the file: product, version, release, ... */
  readonly about?: Facts;
};

/**
 * Findings that say "not trusted" rather than "not intact". A time stamp that is out of order takes the proof of its time from its own
 * signature, which then is not valid; about the bytes of the file it says nothing.
 */
export function isTrustFinding(finding: Finding): boolean {
  return (
    finding.code.startsWith("chain/") ||
    finding.code.startsWith("cms/weak-") ||
    finding.code === "signature/no-timestamp" ||
    finding.code === "signature/timestamp-invalid" ||
    finding.code === "content/untrusted"
  );
}

/**
 * The verdict: the file is in order, every signature on it is intact, and at least one of them is valid in full. So an old
 * SHA-1 signature beside a good one harms nothing and decides nothing, and a broken one is never overlooked.
 */
export function verdict(findings: readonly Finding[], signatures: readonly SignatureReport[]): boolean {
  const intact = (report: SignatureReport): boolean =>
    report.findings.every((finding) => finding.level !== "error" || isTrustFinding(finding));
  return !hasError(findings) && signatures.every(intact) && signatures.some((report) => report.valid);
}
