// A time stamp that was just made: what has to hold before anybody embeds it, or takes it from somebody who did.

import { formatInstant, MINUTE, type Instant } from "../core/instant.ts";
import type { Der } from "../der/reader.ts";
import type { Certificate } from "../der/x509.ts";
import { readSignedDataIn } from "./cms.ts";
import { ArtifactError } from "./errors.ts";
import { checkTimestampToken, readTstInfo, type TstInfo } from "./timestamp.ts";

/** How far an authority's clock may be from ours when it is asked just now. */
export const FRESH_WINDOW: number = 10 * MINUTE;

export type FreshPolicy = {
  /** The authority's chain has to end here; null: in whatever root, which is then judged when the file is verified. */
  readonly roots: readonly Certificate[] | null;
  readonly now: Instant;
  /** Milliseconds that the stamp's time may lie before `now`; without it any age is good. */
  readonly window?: number;
  /** RFC 3161 3.2.1: object identifiers of policies, one of which the stamp has to be under. */
  readonly policies?: readonly string[];
};

/**
 * The trust decision about a new token over `stamped` (a signature value), as a list: RFC 3161 2.2 asks a client for it.
 * Errors: `artifact/bad-timestamp`, `artifact/bad-signature`.
 */
export function checkFreshTimestamp(value: Der, stamped: Uint8Array, policy: FreshPolicy): TstInfo {
  const info = readTstInfo(readSignedDataIn(value));
  checkPolicy(info, policy);
  checkAge(info, policy);
  // Imprint, the authority's signature, its certificate and sole purpose, its chain at the stamp's time: as `verify` does it.
  const report = checkTimestampToken(value, stamped, [], { roots: policy.roots ?? [], now: policy.now });
  const errors = report.findings.filter(
    ({ level, code }) =>
      NEVER_WRITTEN.has(code) ||
      (level === "error" && !(policy.roots === null && code === "chain/untrusted")),
  );
  if (errors.length > 0) throw refused(errors.map((finding) => finding.message).join(" "));
  return info;
}

/** Read in what others wrote, and not put into anything new: such an authority does not keep to RFC 3161. */
const NEVER_WRITTEN: ReadonlySet<string> = new Set(["chain/usage-not-critical", "cms/bare-digest"]);

function checkPolicy(info: TstInfo, { policies }: FreshPolicy): void {
  if (policies !== undefined && !policies.includes(info.policy))
    throw refused(`the authority stamped under the policy ${info.policy}, which is not one that is accepted`);
}

function checkAge(info: TstInfo, { now, window }: FreshPolicy): void {
  if (window !== undefined && info.genTime < now - window)
    throw refused(
      `the timestamp says ${formatInstant(info.genTime)}, which is ${Math.round((now - info.genTime) / MINUTE)} minutes ago: either it is an old one, or a clock is wrong`,
    );
}

function refused(what: string): ArtifactError {
  return new ArtifactError("artifact/bad-timestamp", what, {});
}
