// Why an identity was refused.

import { UpkeepError } from "../core/errors.ts";

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
export class IdentityError extends UpkeepError<IdentityErrorCode> {}
