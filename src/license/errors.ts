// Why a license, a lease or a wish about them was refused.

import { FAILED, PENDING, REFUSED, TRANSIENT, USAGE, UpkeepError, type Traits } from "../core/errors.ts";

export type LicenseErrorCode =
  | "license/incoherent"
  | "license/wrong-product"
  | "license/wrong-license"
  | "license/older"
  | "license/exceeds"
  | "license/key-mismatch"
  | "license/not-for-this-device"
  | "license/wrong-nonce"
  | "license/bad-challenge"
  | "license/unknown"
  | "license/no-lease-key"
  | "license/revoked"
  | "license/expired"
  | "license/no-seat"
  | "license/seat-held"
  | "license/transfer-limit"
  | "license/trial-used"
  | "license/storage"
  | "license/not-entitled"
  | "license/unsigned"
  | "license/bad-webhook"
  | "license/bad-input"
  | "license/later"
  | "license/none";
export const LICENSE_ERRORS = {
  "license/incoherent": REFUSED,
  "license/wrong-product": REFUSED,
  "license/wrong-license": REFUSED,
  "license/older": REFUSED,
  "license/exceeds": REFUSED,
  "license/key-mismatch": REFUSED,
  "license/not-for-this-device": REFUSED,
  "license/wrong-nonce": REFUSED,
  "license/bad-challenge": REFUSED,
  "license/unknown": FAILED,
  "license/no-lease-key": FAILED,
  "license/revoked": REFUSED,
  "license/expired": REFUSED,
  "license/no-seat": {
    ...REFUSED,
    hint: "Give a device's seat back there (`upkeep agent license release`), or buy more seats.",
  },
  "license/seat-held": REFUSED,
  "license/transfer-limit": REFUSED,
  "license/trial-used": REFUSED,
  "license/storage": REFUSED,
  "license/not-entitled": {
    ...REFUSED,
    hint: "Renew the license, or stay at the version that it covers; security releases always come.",
  },
  "license/unsigned": PENDING,
  "license/bad-webhook": REFUSED,
  "license/bad-input": USAGE,
  "license/later": TRANSIENT,
  "license/none": FAILED,
} satisfies Traits<LicenseErrorCode>;

export class LicenseError extends UpkeepError<LicenseErrorCode> {
  protected override get traits(): Traits<LicenseErrorCode> {
    return LICENSE_ERRORS;
  }
}
