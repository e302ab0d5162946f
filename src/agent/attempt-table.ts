// The state table of one update attempt: pure transitions, effects as values.
//
//   downloading ─▶ verifying ─▶ staging ─▶ activating ─▶ probation ─▶ committed ─▶ done
//        │             │           │            │            │
//        ├─▶ waiting   ▼           ▼            └─▶ rolling-back ─▶ rolled-back ─▶ done
//        └───────▶ refused / failed ─▶ done
//
// Until `activating` nothing that runs was touched. `committed` is a one-way door: what fails after it is not a failure of the update.

import { UpkeepError, type Nature } from "../core/errors.ts";

/** `waiting` and `done` are ends of one run; a waiting attempt is still open and goes on at the next check. */
export type AttemptState =
  | "downloading"
  | "verifying"
  | "staging"
  | "activating"
  | "probation"
  | "committed"
  | "rolling-back"
  | "rolled-back"
  | "refused"
  | "failed"
  | "superseded"
  | "waiting"
  | "done";

/** Steps that the outside takes. Each may be repeated: after a kill the same state is entered again. */
export type Effect =
  | "reserve-space"
  | "fetch"
  | "check-bytes"
  | "check-publisher"
  | "note-verified"
  | "stage"
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
  | "note-end"
  | "remember"
  | "report"
  | "collect";

const END: readonly Effect[] = ["note-end", "remember", "report", "collect"];

/** What entering a state does, in this order (the numbers are those of spec/journal.md). */
export const EFFECTS: { readonly [S in AttemptState]: readonly Effect[] } = {
  downloading: ["reserve-space", "fetch"],
  verifying: ["check-bytes", "check-publisher", "note-verified"],
  staging: ["stage", "note-staged", "await-turn", "prepare-snapshot"],
  activating: ["look-at-old", "note-activating", "stop", "snapshot", "switch-forward"],
  probation: ["start-and-watch-new"],
  committed: END,
  "rolling-back": ["note-rolling-back", "stop", "restore", "switch-back", "start-and-watch-old"],
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
export type Trouble = { readonly code: string; readonly reason: string };

type Row = { readonly [O in Outcome]: AttemptState | "stuck" };

/*                      ok             refused         transient       failed        */
const TABLE: { readonly [S in Exclude<AttemptState, "waiting" | "done">]: Row } = {
  downloading: row("verifying", "refused", "waiting", "failed"),
  verifying: row("staging", "refused", "waiting", "failed"),
  staging: row("activating", "refused", "waiting", "failed"),
  activating: row("probation", "rolling-back", "rolling-back", "rolling-back"),
  probation: row("committed", "rolling-back", "rolling-back", "rolling-back"),
  committed: row("done", "stuck", "stuck", "stuck"),
  "rolling-back": row("rolled-back", "stuck", "stuck", "stuck"),
  "rolled-back": row("done", "stuck", "stuck", "stuck"),
  refused: row("done", "stuck", "stuck", "stuck"),
  failed: row("done", "stuck", "stuck", "stuck"),
  superseded: row("done", "stuck", "stuck", "stuck"),
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

/** `stuck` means: stop here, keep something running, and let recovery decide from the facts. */
export function transition(
  state: Exclude<AttemptState, "waiting" | "done">,
  outcome: Outcome,
  repair = false,
): AttemptState | "stuck" {
  return ((repair ? REPAIR[state] : undefined) ?? TABLE[state])[outcome];
}

/** What a step's error means for the attempt. What waits for others is waited for like a place that does not answer. */
const OUTCOMES: { readonly [N in Nature]: Exclude<Outcome, "ok"> } = {
  usage: "refused",
  refused: "refused",
  pending: "transient",
  transient: "transient",
  failed: "failed",
};

/** Anything but an error of ours is a defect, and no word about the release. */
export function outcomeOf(error: unknown): Exclude<Outcome, "ok"> {
  return error instanceof UpkeepError ? OUTCOMES[error.nature] : "failed";
}
