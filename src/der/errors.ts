// Why bytes were refused as DER, or as something that is written in it.

import { UpkeepError } from "../core/errors.ts";

export type DerErrorCode =
  | "der/malformed"
  | "der/not-canonical"
  | "der/too-deep"
  | "der/unexpected"
  | "der/bad-pem"
  | "der/bad-certificate"
  | "der/bad-request"
  | "der/bad-revocation-list"
  | "der/bad-signature"
  | "der/unsupported"
  | "der/bad-value";
export class DerError extends UpkeepError<DerErrorCode> {}
