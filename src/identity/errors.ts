// Why an identity was refused.

import { FAILED, REFUSED, USAGE, UpkeepError, type Traits } from "../core/errors.ts";

export type IdentityErrorCode =
  | "identity/authority-lost"
  | "identity/bad-token"
  | "identity/bad-request"
  | "identity/bad-certificate"
  | "identity/wrong-clock"
  | "identity/wrong-server"
  | "identity/wrong-authority"
  | "identity/unknown-certificate"
  | "identity/bad-bundle"
  | "identity/old-bundle"
  | "identity/bad-move"
  | "identity/unknown-authority";
export const IDENTITY_ERRORS = {
  "identity/authority-lost": FAILED,
  "identity/bad-token": REFUSED,
  "identity/bad-request": REFUSED,
  "identity/bad-certificate": REFUSED,
  "identity/wrong-clock": REFUSED,
  "identity/wrong-server": REFUSED,
  "identity/wrong-authority": REFUSED,
  "identity/unknown-certificate": REFUSED,
  "identity/bad-bundle": REFUSED,
  "identity/old-bundle": REFUSED,
  "identity/bad-move": USAGE,
  "identity/unknown-authority": USAGE,
} satisfies Traits<IdentityErrorCode>;

export class IdentityError extends UpkeepError<IdentityErrorCode> {
  protected override get traits(): Traits<IdentityErrorCode> {
    return IDENTITY_ERRORS;
  }
}
