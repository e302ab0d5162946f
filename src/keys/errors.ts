// Why a key was refused.

import { UpkeepError } from "../core/errors.ts";

export type KeyErrorCode =
  | "key/malformed"
  | "key/unknown-scheme"
  | "key/mismatch"
  | "key/weak"
  | "key/bad-passphrase"
  | "key/passphrase-needed"
  | "key/readable-by-others"
  | "key/not-found"
  | "key/ambiguous"
  | "key/exists"
  | "key/cannot-sign";
export class KeyError extends UpkeepError<KeyErrorCode> {}
