// One attempt as its journal tells it: how far it is, and what the next step may rely on.

import type { BeginEvent, BytesBy, EndEvent, JournalEvent, SlotCheckEvent, Step } from "./journal-event.ts";
import type { JournalRecord } from "./journal.ts";
import { sameSlot, type SlotId } from "./layout.ts";

export type Attempt = {
  readonly begin: BeginEvent;
  readonly step: Step;
  readonly verified: {
    readonly bytes: number;
    readonly source: VerifiedSource;
    readonly by?: BytesBy;
    readonly detour?: string;
  } | null;
  readonly staged: boolean;
  /** SHA-256 of the record of the slot that was staged, null if it is not known. */
  readonly record: string | null;
  /** Why the switch waits, as it was written down last; null if it never did. */
  readonly ready: { readonly rule: string; readonly reason: string; readonly until: string | null } | null;
  /** How often that was written down. */
  readonly waits: number;
  readonly activating: boolean;
  /** Bytes of the data snapshot, null if none was taken. */
  readonly snapshot: number | null;
  /** How often the new version was started. */
  readonly starts: number;
  readonly rollingBack: {
    readonly code: string;
    readonly reason: string;
    /** The attempt goes on later: only this machine was in its way. */
    readonly postpone: boolean;
  } | null;
  readonly restored: boolean;
  /** How often it was taken back to before its switch, to be tried again. */
  readonly postponed: number;
  readonly end: EndEvent | null;
  readonly reported: boolean;
};
export type VerifiedSource = Extract<JournalEvent, { event: "verified" }>["source"];

function verifiedOf({
  bytes,
  source,
  by,
  detour,
}: Extract<JournalEvent, { event: "verified" }>): NonNullable<Attempt["verified"]> {
  return {
    bytes,
    source,
    ...(by === undefined ? {} : { by }),
    ...(detour === undefined ? {} : { detour }),
  };
}

/** All attempts in order. An event that names another attempt than the last begun one is ignored: it cannot happen in a good journal. */
export function attemptsOf(events: readonly JournalEvent[]): readonly Attempt[] {
  const out: Attempt[] = [];
  for (const event of events) {
    if (event.event === "begin") out.push(begun(event));
    else if (event.event !== "slot-check") {
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

/** What the last check of the slot found wrong, null if nothing: a slot that was put there since is another matter. */
export function damageOf(events: readonly JournalEvent[], slot: SlotId): SlotCheckEvent | null {
  const made = new Set<string>();
  for (const event of events.toReversed()) {
    if (event.event === "slot-check" && sameSlot(event.slot, slot))
      return event.found === "damaged" ? event : null;
    // Staged anew under the same name: what was found before is over.
    if (event.event === "staged") made.add(event.attempt);
    if (event.event === "begin" && sameSlot(event.to, slot) && made.has(event.attempt)) return null;
  }
  return null;
}

/**
 * True once the attempt's new slot has taken the place of the old one for good. A repair whose program did not come through its
 * probation has, too: its bytes are those that were good here, and the slot it replaced is never started again.
 */
export function hasReplaced({ begin, activating, rollingBack, end }: Attempt): boolean {
  if (end === null) return false;
  return (
    end.end === "committed" ||
    (begin.damage === "repair" && end.end === "failed" && activating && rollingBack === null)
  );
}

function begun(begin: BeginEvent): Attempt {
  return {
    begin,
    step: "chosen",
    verified: null,
    staged: false,
    record: null,
    ready: null,
    waits: 0,
    activating: false,
    snapshot: null,
    starts: 0,
    rollingBack: null,
    restored: false,
    postponed: 0,
    end: null,
    reported: false,
  };
}

function advance(attempt: Attempt, event: Exclude<JournalEvent, BeginEvent | SlotCheckEvent>): Attempt {
  switch (event.event) {
    case "verified":
      return { ...attempt, step: "verifying", verified: verifiedOf(event) };
    case "staged":
      return { ...attempt, step: "staging", staged: true, record: event.record ?? null };
    case "ready": {
      const { rule, reason, until } = event;
      return { ...attempt, ready: { rule, reason, until }, waits: attempt.waits + 1 };
    }
    case "activating":
      return { ...attempt, step: "activating", activating: true };
    case "snapshot":
      return { ...attempt, snapshot: event.bytes };
    case "starting":
      return { ...attempt, step: "probation", starts: event.number };
    case "paused":
      return { ...attempt, starts: 0 };
    case "rolling-back":
      return {
        ...attempt,
        step: "rolling-back",
        rollingBack: { code: event.code, reason: event.reason, postpone: event.postpone === true },
      };
    case "postponed":
      return {
        ...attempt,
        step: "staging",
        activating: false,
        snapshot: null,
        starts: 0,
        rollingBack: null,
        restored: false,
        postponed: attempt.postponed + 1,
      };
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
