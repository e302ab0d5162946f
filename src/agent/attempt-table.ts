// The state table of one update attempt: pure transitions, effects as values.
//
//   downloading ─▶ verifying ─▶ staging ─▶ ready ─▶ activating ─▶ probation ─▶ committed ─▶ done
//        │             │           │         │          │            │
//        ├─▶ waiting   ▼           ▼         ├─▶ waiting └─▶ rolling-back ─▶ rolled-back ─▶ done
//        └───────▶ refused / failed ─▶ done  ▼               ╰─▶ postponed ─▶ waiting
//
// Until `activating` nothing that runs was touched. In `ready` all is at hand, and the rules of `manners` say when it goes on. `committed` is a one-way door: what fails after it is not a failure of the update.

import { DiskError, type DiskErrorCode } from "../core/disk.ts";
import { UpkeepError, type Nature } from "../core/errors.ts";
import type { Instant } from "../core/instant.ts";
import type { ProcessErrorCode } from "../process/errors.ts";
import type { SlotErrorCode } from "../slot/errors.ts";
import type { AgentErrorCode } from "./errors.ts";

/** `waiting` and `done` are ends of one run; a waiting attempt is still open and goes on at the next check. */
export type AttemptState =
  | "downloading"
  | "verifying"
  | "staging"
  | "ready"
  | "activating"
  | "probation"
  | "committed"
  | "rolling-back"
  | "rolled-back"
  | "postponed"
  | "refused"
  | "failed"
  | "superseded"
  | "waiting"
  | "done";

/** Steps that the outside takes. Each may be repeated: after a kill the same state is entered again. */
export type Effect =
  | "await-fetch"
  | "reserve-space"
  | "fetch"
  | "check-bytes"
  | "check-publisher"
  | "note-verified"
  | "stage"
  | "look-at-program"
  | "note-staged"
  | "await-turn"
  | "prepare-snapshot"
  | "look-at-old"
  | "note-activating"
  | "stop"
  | "snapshot"
  | "switch-forward"
  | "start-and-watch-new"
  | "note-rolling-back"
  | "restore"
  | "switch-back"
  | "start-and-watch-old"
  | "note-postponed"
  | "note-end"
  | "remember"
  | "report"
  | "collect";

const END: readonly Effect[] = ["note-end", "remember", "report", "collect"];

/** What entering a state does, in this order (the numbers are those of spec/journal.md). */
export const EFFECTS: { readonly [S in AttemptState]: readonly Effect[] } = {
  downloading: ["await-fetch", "reserve-space", "fetch"],
  verifying: ["check-bytes", "check-publisher", "note-verified"],
  staging: ["stage", "look-at-program", "note-staged"],
  ready: ["await-turn", "prepare-snapshot"],
  activating: ["look-at-old", "note-activating", "stop", "snapshot", "switch-forward"],
  probation: ["start-and-watch-new"],
  committed: END,
  "rolling-back": ["note-rolling-back", "stop", "restore", "switch-back", "start-and-watch-old"],
  postponed: ["note-postponed"],
  "rolled-back": END,
  refused: END,
  failed: END,
  superseded: END,
  waiting: [],
  done: [],
};

/**
 * How entering a state went. `refused`: what arrived cannot be trusted or cannot be installed. `transient`: the world was in the way
 * (network, space, disk); the same may work later. `failed`: anything else. `stuck`: an effect that must not be given up did not work.
 */
export type Outcome = "ok" | "refused" | "transient" | "failed";

/** Why an attempt left its path, if it did. */
export type Trouble = {
  readonly code: string;
  readonly reason: string;
  /** When it ends by itself, if that is known. */
  readonly until?: Instant | null;
};

type Row = { readonly [O in Outcome]: AttemptState | "stuck" };

/*                      ok             refused         transient       failed        */
const TABLE: { readonly [S in Exclude<AttemptState, "waiting" | "done">]: Row } = {
  downloading: row("verifying", "refused", "waiting", "failed"),
  verifying: row("staging", "refused", "waiting", "failed"),
  staging: row("ready", "refused", "waiting", "failed"),
  ready: row("activating", "refused", "waiting", "failed"),
  activating: row("probation", "rolling-back", "rolling-back", "rolling-back"),
  probation: row("committed", "rolling-back", "rolling-back", "rolling-back"),
  committed: row("done", "stuck", "stuck", "stuck"),
  "rolling-back": row("rolled-back", "stuck", "stuck", "stuck"),
  postponed: row("waiting", "stuck", "stuck", "stuck"),
  "rolled-back": row("done", "stuck", "stuck", "stuck"),
  refused: row("done", "stuck", "stuck", "stuck"),
  failed: row("done", "stuck", "stuck", "stuck"),
  superseded: row("done", "stuck", "stuck", "stuck"),
};

/** After the way back of an attempt that this machine could not carry out: it stays open, and is tried again. */
const POSTPONED: { readonly [S in keyof typeof TABLE]?: Row } = {
  "rolling-back": row("postponed", "stuck", "stuck", "stuck"),
};

/** The same of a way to an older version: nobody tries it again by himself, but nothing is held against that version. */
const GIVEN_UP: { readonly [S in keyof typeof TABLE]?: Row } = {
  "rolling-back": row("failed", "stuck", "stuck", "stuck"),
};

/** A repair has nothing to go back to once it has switched: the slot it replaces is damaged. Its own stays, well or not. */
const REPAIR: { readonly [S in keyof typeof TABLE]?: Row } = {
  probation: row("committed", "failed", "failed", "failed"),
};

function row(
  ok: AttemptState,
  refused: AttemptState | "stuck",
  transient: AttemptState | "stuck",
  failed: AttemptState | "stuck",
): Row {
  return { ok, refused, transient, failed };
}

/** What makes an attempt go other ways than the table's. */
export type Turn = "repair" | "postponed" | "given-up";
const TURNS: { readonly [T in Turn]: { readonly [S in keyof typeof TABLE]?: Row } } = {
  repair: REPAIR,
  postponed: POSTPONED,
  "given-up": GIVEN_UP,
};

/** `stuck` means: stop here, keep something running, and let recovery decide from the facts. */
export function transition(
  state: Exclude<AttemptState, "waiting" | "done">,
  outcome: Outcome,
  turns: readonly Turn[] = [],
): AttemptState | "stuck" {
  const rows = turns.map((turn) => TURNS[turn][state]).filter((found) => found !== undefined);
  return (rows[0] ?? TABLE[state])[outcome];
}

/** What a step's error means for the attempt. What waits for others is waited for like a place that does not answer. */
const OUTCOMES: { readonly [N in Nature]: Exclude<Outcome, "ok"> } = {
  usage: "refused",
  refused: "refused",
  pending: "transient",
  transient: "transient",
  failed: "failed",
};

/** What only somebody who looks after this machine can mend: its room, its permissions, its ports. */
const LOCAL: ReadonlySet<string> = new Set<DiskErrorCode | SlotErrorCode | AgentErrorCode | ProcessErrorCode>(
  [
    "disk/full",
    "disk/io",
    "disk/read-only",
    "slot/command-taken",
    "slot/commands-exposed",
    "slot/data-not-kept",
    "agent/no-space",
    "process/cannot-start",
    "process/handler-waits",
    "process/no-handler",
    "process/no-port",
    "process/no-socket",
    "process/no-user",
    "process/port-taken",
    "process/will-not-stop",
  ],
);

/** Whether people have to hear of it that something waits for this. */
export function needsSomebody(code: string): boolean {
  return LOCAL.has(code);
}

/** What recovery finds of a slot or pointer that this machine's disk, or somebody on it, has changed. */
const CHANGED_HERE: ReadonlySet<string> = new Set<SlotErrorCode>(["slot/damaged", "slot/link-unknown"]);

/**
 * Whether an attempt that went wrong after its switch was decided says nothing about the release: then it is taken back, waits, and is
 * tried again. Only what is the release's own fault ends it, and is skipped from then on.
 */
export function isDevicesFault(error: unknown): boolean {
  if (error instanceof DiskError) return true;
  if (!(error instanceof UpkeepError)) return false;
  return CHANGED_HERE.has(error.code) || outcomeOf(error) === "transient";
}

/** The same of what recovery found, by its code. */
export function wasChangedHere(code: string): boolean {
  return CHANGED_HERE.has(code);
}

/** Anything but an error of ours is a defect, and no word about the release. */
export function outcomeOf(error: unknown): Exclude<Outcome, "ok"> {
  return error instanceof UpkeepError ? OUTCOMES[error.nature] : "failed";
}
