// Why the signing service refused, and what it could not do.

import { FAILED, PENDING, REFUSED, UNREACHABLE, USAGE, UpkeepError, type Traits } from "../core/errors.ts";

export type SigningErrorCode =
  | "signing/bad-note"
  | "signing/bad-proof"
  | "signing/log-damaged"
  | "signing/log-closed"
  | "signing/receipt-mismatch"
  | "signing/bad-request"
  | "signing/bad-approval"
  | "signing/bad-config"
  | "signing/bad-frame"
  | "signing/over-budget"
  | "signing/denied"
  | "signing/refused"
  | "signing/pending"
  | "signing/expired"
  | "signing/busy"
  | "signing/key-failed"
  | "signing/internal"
  | "signing/key-unavailable"
  | "signing/bad-reply"
  | "signing/old-signer"
  | "signing/wrong-peer"
  | "signing/unreachable"
  | "signing/outcome-unknown"
  | "signing/locked"
  | "signing/bad-share"
  | "signing/bad-ticket"
  | "signing/not-found"
  | "signing/exists"
  | "signing/timestamp-failed"
  | "signing/bad-backup"
  | "signing/not-accepted"
  | "signing/no-sandbox"
  | "signing/log-file"
  | "signing/store-unavailable"
  | "signing/store-refused"
  | "signing/store-lost";
export const SIGNING_ERRORS = {
  "signing/bad-note": REFUSED,
  "signing/bad-proof": REFUSED,
  "signing/log-damaged": REFUSED,
  "signing/log-closed": REFUSED,
  "signing/receipt-mismatch": REFUSED,
  "signing/bad-request": REFUSED,
  "signing/bad-approval": REFUSED,
  "signing/bad-config": USAGE,
  "signing/bad-frame": REFUSED,
  "signing/over-budget": { nature: "transient", exit: "refused" },
  "signing/denied": REFUSED,
  "signing/refused": REFUSED,
  "signing/pending": PENDING,
  "signing/expired": REFUSED,
  "signing/busy": PENDING,
  "signing/key-failed": REFUSED,
  "signing/internal": FAILED,
  "signing/key-unavailable": { nature: "transient", exit: "refused" },
  "signing/bad-reply": REFUSED,
  "signing/old-signer": REFUSED,
  "signing/wrong-peer": REFUSED,
  "signing/unreachable": UNREACHABLE,
  "signing/outcome-unknown": UNREACHABLE,
  "signing/locked": REFUSED,
  "signing/bad-share": REFUSED,
  "signing/bad-ticket": REFUSED,
  "signing/not-found": FAILED,
  "signing/exists": FAILED,
  "signing/timestamp-failed": UNREACHABLE,
  "signing/bad-backup": REFUSED,
  "signing/not-accepted": REFUSED,
  "signing/no-sandbox": REFUSED,
  "signing/log-file": REFUSED,
  "signing/store-unavailable": UNREACHABLE,
  "signing/store-refused": REFUSED,
  "signing/store-lost": REFUSED,
} satisfies Traits<SigningErrorCode>;

export class SigningError extends UpkeepError<SigningErrorCode> {
  protected override get traits(): Traits<SigningErrorCode> {
    return SIGNING_ERRORS;
  }
}
