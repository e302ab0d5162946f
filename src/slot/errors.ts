// Why something was not installed, or what was found wrong with what is.

import { UpkeepError } from "../core/errors.ts";

export type SlotErrorCode =
  | "slot/bad-archive"
  | "slot/unsafe-entry"
  | "slot/too-large"
  | "slot/wrong-bytes"
  | "slot/damaged"
  | "slot/data-not-kept"
  | "slot/journal-corrupt"
  | "slot/journal-full"
  | "slot/state-corrupt"
  | "slot/link-unknown"
  | "slot/entry-missing";
export class SlotError extends UpkeepError<SlotErrorCode> {}
