// Where a program of the signing service writes its log lines: settings that signer and gateway share.

import { z } from "../../core/schema.ts";
import { lineSchema } from "../audit/entry.ts";

export const logFileSettings = {
  /** Absolute path; without it lines go to standard error. */
  "log-file": z.optional(lineSchema.check(z.regex(/^(?:\/|[A-Za-z]:[\\/])/, "expected an absolute path"))),
  /** The file is set aside when it would grow beyond this. */
  "log-max-bytes": z._default(
    z.int().check(z.minimum(64 * 1024), z.maximum(16 * 1024 * 1024 * 1024)),
    16 * 1024 * 1024,
  ),
  /** How many files that were set aside are kept, as FILE.1 (the newest), FILE.2, ... */
  "log-keep": z._default(z.int().check(z.minimum(1), z.maximum(1000)), 8),
} as const;

export type LogFileSettings = {
  readonly "log-file"?: string | undefined;
  readonly "log-max-bytes": number;
  readonly "log-keep": number;
};
