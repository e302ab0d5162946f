// What a kept report says beside its columns: read from the signed envelope, which was verified when it came.

import { firstErrorLine } from "../process/last-words.ts";
import type { StoredReport } from "./records.ts";

export type ReportDetails = {
  readonly bytes: number | null;
  readonly source: string | null;
  /** Milliseconds. */
  readonly duration: number | null;
  /** The first line of the program's output that speaks of an error, if the device found one. */
  readonly firstError: string | null;
};

const NOTHING: ReportDetails = { bytes: null, source: null, duration: null, firstError: null };

/** All null for a report that is no attempt. */
export function reportDetails({ envelope }: Pick<StoredReport, "envelope">): ReportDetails {
  let payload: { readonly [name: string]: unknown };
  try {
    const { payload: base64 } = JSON.parse(envelope) as { readonly payload: string };
    payload = JSON.parse(Buffer.from(base64, "base64").toString("utf8")) as typeof payload;
  } catch {
    return NOTHING;
  }
  if (payload["kind"] !== "attempt") return NOTHING;
  const { bytes, source, duration, firstError } = payload;
  return {
    bytes: typeof bytes === "number" ? bytes : null,
    source: typeof source === "string" ? source : null,
    duration: typeof duration === "number" ? duration : null,
    firstError: typeof firstError === "string" ? firstError : null,
  };
}

const LINE = 200;

/**
 * The line by which people tell one failure from another: the first error that the device found, or that the reason quotes, else the
 * beginning of the reason. One line, and short: it is the device's own words.
 */
export function errorLine(firstError: string | null, reason: string | null): string | null {
  const quoted = /; its first error: ([^\n]*?)(?:; the end of its output: |$)/.exec(reason ?? "")?.[1];
  const end = /; the end of its output: ([\s\S]*)$/.exec(reason ?? "")?.[1];
  const line = firstError ?? quoted ?? (end === undefined ? null : firstErrorLine(end)) ?? reason;
  return line === null ? null : line.replace(/\s+/g, " ").trim().slice(0, LINE);
}
