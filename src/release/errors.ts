// Why a release, a channel or a list of trusted keys was refused.

import { REFUSED, USAGE, UpkeepError, type Traits } from "../core/errors.ts";

export type ReleaseErrorCode =
  | "release/bad-archive"
  | "release/bad-attestation"
  | "release/bad-name"
  | "release/bad-platform"
  | "release/wrong-document"
  | "release/ambiguous-artifacts"
  | "release/bad-command"
  | "release/bad-hand-over"
  | "release/bad-kind"
  | "release/bad-keys"
  | "release/empty"
  | "release/no-key"
  | "release/digest-mismatch"
  /** What installs or watches a version ends by it: its publisher took it back. */
  | "release/recalled";
export const RELEASE_ERRORS = {
  "release/bad-archive": USAGE,
  "release/bad-attestation": REFUSED,
  "release/bad-name": USAGE,
  "release/bad-platform": USAGE,
  "release/wrong-document": REFUSED,
  "release/ambiguous-artifacts": REFUSED,
  "release/bad-command": REFUSED,
  "release/bad-hand-over": REFUSED,
  "release/bad-kind": REFUSED,
  "release/bad-keys": REFUSED,
  "release/empty": USAGE,
  "release/no-key": REFUSED,
  "release/digest-mismatch": REFUSED,
  "release/recalled": REFUSED,
} satisfies Traits<ReleaseErrorCode>;

export class ReleaseError extends UpkeepError<ReleaseErrorCode> {
  protected override get traits(): Traits<ReleaseErrorCode> {
    return RELEASE_ERRORS;
  }
}
