// Why a release, a channel or a list of trusted keys was refused.

import { UpkeepError } from "../core/errors.ts";

export type ReleaseErrorCode =
  | "release/bad-archive"
  | "release/bad-attestation"
  | "release/bad-name"
  | "release/bad-platform"
  | "release/wrong-document"
  | "release/ambiguous-artifacts"
  | "release/bad-command"
  | "release/bad-keys"
  | "release/empty"
  | "release/no-key"
  | "release/digest-mismatch";
export class ReleaseError extends UpkeepError<ReleaseErrorCode> {}
