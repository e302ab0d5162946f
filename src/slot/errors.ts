// Why something was not installed, or what was found wrong with what is.

import { FAILED, REFUSED, UpkeepError, type Traits } from "../core/errors.ts";

export type SlotErrorCode =
  | "slot/bad-archive"
  | "slot/unsafe-entry"
  | "slot/too-large"
  | "slot/wrong-bytes"
  | "slot/damaged"
  | "slot/data-not-kept"
  | "slot/command-taken"
  | "slot/commands-exposed"
  | "slot/journal-corrupt"
  | "slot/journal-full"
  | "slot/state-corrupt"
  | "slot/link-unknown"
  | "slot/entry-missing";
export const SLOT_ERRORS = {
  "slot/bad-archive": REFUSED,
  "slot/unsafe-entry": REFUSED,
  "slot/too-large": REFUSED,
  "slot/wrong-bytes": REFUSED,
  "slot/damaged": { nature: "failed", exit: "refused" },
  "slot/data-not-kept": { nature: "transient", exit: "failed" },
  "slot/command-taken": { nature: "transient", exit: "failed" },
  "slot/commands-exposed": { nature: "transient", exit: "failed" },
  "slot/journal-corrupt": FAILED,
  "slot/journal-full": FAILED,
  "slot/state-corrupt": FAILED,
  "slot/link-unknown": FAILED,
  "slot/entry-missing": REFUSED,
} satisfies Traits<SlotErrorCode>;

export class SlotError extends UpkeepError<SlotErrorCode> {
  protected override get traits(): Traits<SlotErrorCode> {
    return SLOT_ERRORS;
  }
}
