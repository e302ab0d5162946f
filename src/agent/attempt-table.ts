// The state table of one update attempt: pure transitions, effects as values.
//
//   downloading ─▶ verifying ─▶ staging ─▶ activating ─▶ probation ─▶ committed ─▶ done
//        │             │           │            │            │
//        ├─▶ waiting   ▼           ▼            └─▶ rolling-back ─▶ rolled-back ─▶ done
//        └───────▶ refused / failed ─▶ done         ╰─▶ postponed ─▶ waiting
//
// Until `activating` nothing that runs was touched. `committed` is a one-way door: what fails after it is not a failure of the update.

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
  | "postponed"
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
  | "look-at-program"
  | "note-staged"
  | "await-turn"
  | "reserve-snapshot"
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
  downloading: ["reserve-space", "fetch"],
  verifying: ["check-bytes", "check-publisher", "note-verified"],
  staging: ["stage", "look-at-program", "note-staged", "await-turn", "reserve-snapshot"],
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

/** Codes by which the world was in the way. Everything else that arrives before activation is a refusal or a failure. */
const TRANSIENT =
  /^(?:mirror\/(?:unreachable|slow|too-short|aborted|not-found|refused|bad-answer)|disk\/(?:full|io|read-only)|agent\/(?:no-space|stopping|repair-waits)|process\/(?:cannot-start|no-port|port-taken|will-not-stop)|server\/.*|repository\/(?:expired|locked))$/;
const REFUSALS =
  /^(?:mirror\/(?:wrong-content|too-long)|repository\/.*|slot\/(?:bad-archive|unsafe-entry|too-large|wrong-bytes|entry-missing)|agent\/(?:wrong-bytes|no-verifier|wrong-release|refused)|artifact\/.*|der\/.*|dsse\/.*|release\/.*|schema\/.*|json\/.*|process\/wrong-program)$/;

/** What this machine does to any release: its disk, its room, its permissions, its ports. */
const LOCAL =
  /^(?:disk\/.*|slot\/(?:damaged|link-unknown|snapshot-.*)|agent\/no-space|process\/(?:cannot-start|no-port|port-taken|will-not-stop))$/;

/** Whether only somebody who looks after this machine can mend it. */
export function isLocalTrouble(code: string): boolean {
  return LOCAL.test(code);
}

/**
 * Whether an attempt that went wrong after its switch was decided says nothing about the release: then it is taken back, waits, and is
 * tried again. Only what is the release's own fault ends it, and is skipped from then on.
 */
export function isDevicesFault(code: string): boolean {
  return isLocalTrouble(code) || outcomeOf(code) === "transient";
}

export function outcomeOf(code: string): Exclude<Outcome, "ok"> {
  if (TRANSIENT.test(code)) return "transient";
  return REFUSALS.test(code) ? "refused" : "failed";
}
