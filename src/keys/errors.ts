// Why a key was refused.

import { FAILED, REFUSED, USAGE, UpkeepError, type Traits } from "../core/errors.ts";

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
export const KEY_ERRORS = {
  "key/malformed": REFUSED,
  "key/unknown-scheme": REFUSED,
  "key/mismatch": REFUSED,
  "key/weak": REFUSED,
  "key/bad-passphrase": REFUSED,
  "key/passphrase-needed": USAGE,
  "key/readable-by-others": REFUSED,
  "key/not-found": FAILED,
  "key/ambiguous": REFUSED,
  "key/exists": FAILED,
  "key/cannot-sign": REFUSED,
} satisfies Traits<KeyErrorCode>;

export class KeyError extends UpkeepError<KeyErrorCode> {
  protected override get traits(): Traits<KeyErrorCode> {
    return KEY_ERRORS;
  }
}
