// Why a report was refused.

import { REFUSED, UpkeepError, type Traits } from "../core/errors.ts";

export type ReportErrorCode = "report/wrong-device" | "report/incoherent" | "report/too-large";
export const REPORT_ERRORS = {
  "report/wrong-device": REFUSED,
  "report/incoherent": REFUSED,
  "report/too-large": REFUSED,
} satisfies Traits<ReportErrorCode>;

export class ReportError extends UpkeepError<ReportErrorCode> {
  protected override get traits(): Traits<ReportErrorCode> {
    return REPORT_ERRORS;
  }
}
