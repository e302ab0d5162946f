// Why bytes were refused as DER, or as something that is written in it.

import { REFUSED, UpkeepError, type Traits } from "../core/errors.ts";

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
export const DER_ERRORS = {
  "der/malformed": REFUSED,
  "der/not-canonical": REFUSED,
  "der/too-deep": REFUSED,
  "der/unexpected": REFUSED,
  "der/bad-pem": REFUSED,
  "der/bad-certificate": REFUSED,
  "der/bad-request": REFUSED,
  "der/bad-revocation-list": REFUSED,
  "der/bad-signature": REFUSED,
  "der/unsupported": REFUSED,
  "der/bad-value": REFUSED,
} satisfies Traits<DerErrorCode>;

export class DerError extends UpkeepError<DerErrorCode> {
  protected override get traits(): Traits<DerErrorCode> {
    return DER_ERRORS;
  }
}
