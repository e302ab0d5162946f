// Why the signing service refused, and what it could not do.

import { UpkeepError } from "../core/errors.ts";

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
  | "signing/log-file";
export class SigningError extends UpkeepError<SigningErrorCode> {}
