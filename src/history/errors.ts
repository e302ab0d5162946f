// Why the local log of a device cannot be believed.

import { UpkeepError, type Traits } from "../core/errors.ts";

export type HistoryErrorCode = "history/corrupt";
export const HISTORY_ERRORS = {
  "history/corrupt": {
    nature: "refused",
    exit: "verify-failed",
    hint: "The reports that the server has carry the same ids; the part that is whole can still be read.",
  },
} satisfies Traits<HistoryErrorCode>;

export class HistoryError extends UpkeepError<HistoryErrorCode> {
  protected override get traits(): Traits<HistoryErrorCode> {
    return HISTORY_ERRORS;
  }
}
