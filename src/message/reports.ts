// Delivery of signed reports: a batch goes up, one verdict per report comes back.

import { growing, needing, programSchema } from "../core/growth.ts";
import { sha256Schema, z } from "../core/schema.ts";
import { base64Schema, codeSchema, textSchema } from "./common.ts";

/** Bytes of one report's envelope. */
export const REPORT_LIMIT = 48 * 1024;
export const MAX_REPORTS = 16;
export const REPORTS_LIMIT = 1024 * 1024 + 4096;

export const reportsRequestSchema = growing({
  ...needing,
  /** DSSE envelopes of kind `report`, base64, oldest first. */
  reports: z.array(base64Schema(REPORT_LIMIT)).check(z.minLength(1), z.maxLength(MAX_REPORTS)),
});
export type ReportsRequest = z.infer<typeof reportsRequestSchema>;

/**
 * One verdict per report, in the order of the request; `sha256` is that of the envelope sent.
 * `accepted` and `duplicate` let the device forget the report; `refused` with `final` as well, since sending it again cannot help.
 */
export const reportResultSchema = z.union([
  z.strictObject({ sha256: sha256Schema, result: z.enum(["accepted", "duplicate"]) }),
  z.strictObject({
    sha256: sha256Schema,
    result: z.literal("refused"),
    final: z.boolean(),
    code: codeSchema,
    message: textSchema(500),
  }),
]);
export type ReportResult = z.infer<typeof reportResultSchema>;

export const reportsAnswerSchema = growing({
  ...needing,
  server: z.exactOptional(programSchema),
  results: z.array(reportResultSchema).check(z.minLength(1), z.maxLength(MAX_REPORTS)),
});
export type ReportsAnswer = z.infer<typeof reportsAnswerSchema>;
