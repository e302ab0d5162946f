// One attempt as its journal tells it: how far it is, and what the next step may rely on.

import type { BeginEvent, EndEvent, JournalEvent, Step } from "./journal-event.ts";
import type { JournalRecord } from "./journal.ts";

export type Attempt = {
  readonly begin: BeginEvent;
  readonly step: Step;
  readonly verified: { readonly bytes: number; readonly source: VerifiedSource } | null;
  readonly staged: boolean;
  readonly activating: boolean;
  /** Bytes of the data snapshot, null if none was taken. */
  readonly snapshot: number | null;
  /** How often the new version was started. */
  readonly starts: number;
  readonly rollingBack: { readonly code: string; readonly reason: string } | null;
  readonly restored: boolean;
  readonly end: EndEvent | null;
  readonly reported: boolean;
};
export type VerifiedSource = Extract<JournalEvent, { event: "verified" }>["source"];

/** All attempts in order. An event that names another attempt than the last begun one is ignored: it cannot happen in a good journal. */
export function attemptsOf(events: readonly JournalEvent[]): readonly Attempt[] {
  const out: Attempt[] = [];
  for (const event of events) {
    if (event.event === "begin") out.push(begun(event));
    else {
      const last = out.at(-1);
      if (last !== undefined && last.begin.attempt === event.attempt)
        out[out.length - 1] = advance(last, event);
    }
  }
  return out;
}

export function lastAttempt(events: readonly JournalEvent[]): Attempt | null {
  return attemptsOf(events).at(-1) ?? null;
}

function begun(begin: BeginEvent): Attempt {
  return {
    begin,
    step: "chosen",
    verified: null,
    staged: false,
    activating: false,
    snapshot: null,
    starts: 0,
    rollingBack: null,
    restored: false,
    end: null,
    reported: false,
  };
}

function advance(attempt: Attempt, event: Exclude<JournalEvent, BeginEvent>): Attempt {
  switch (event.event) {
    case "verified":
      return { ...attempt, step: "verifying", verified: { bytes: event.bytes, source: event.source } };
    case "staged":
      return { ...attempt, step: "staging", staged: true };
    case "activating":
      return { ...attempt, step: "activating", activating: true };
    case "snapshot":
      return { ...attempt, snapshot: event.bytes };
    case "starting":
      return { ...attempt, step: "probation", starts: event.number };
    case "paused":
      return { ...attempt, starts: 0 };
    case "rolling-back":
      return { ...attempt, step: "rolling-back", rollingBack: { code: event.code, reason: event.reason } };
    case "restored":
      return { ...attempt, restored: true };
    case "end":
      return { ...attempt, end: event };
    case "reported":
      return { ...attempt, reported: true };
  }
}

/** What a long journal keeps: the records of the last ended attempt and of anything after it. */
export function recentRecords(records: readonly JournalRecord[]): readonly JournalRecord[] {
  const begins = records.flatMap((record, i) => (record.event.event === "begin" ? [i] : []));
  return records.slice(begins.at(-3) ?? 0);
}
