// What a kept report says beside its columns: read from the signed envelope, which was verified when it came.

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
