// Why a report was refused.

import { UpkeepError } from "../core/errors.ts";

export type ReportErrorCode = "report/wrong-device" | "report/incoherent" | "report/too-large";
export class ReportError extends UpkeepError<ReportErrorCode> {}
