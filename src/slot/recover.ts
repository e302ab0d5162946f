// After a start: facts in, what to do out. The whole of crash recovery as one table without side effects.

import { hasReplaced, type Attempt } from "./attempt.ts";
import type { SlotId } from "./layout.ts";

/** Where `current` points, seen from the last attempt. */
export type LinkPlace = "from" | "to" | "other";

export type RecoveryFacts = {
  readonly attempt: Attempt | null;
  readonly link: LinkPlace;
  /** Whether the slot that the attempt goes to is whole on disk. */
  readonly toSlot: boolean;
  readonly maxStarts: number;
};

/**
 * - `run`: nothing is open; run what was committed last.
 * - `await`: an attempt is open but touched nothing; run the old version, the next check goes on with it or ends it.
 * - `activate`: the switch was decided; do it (again).
 * - `start`: the switch is done; start the new version once more and watch it.
 * - `roll-back`: decide to go back, with this code and reason.
 * - `finish-roll-back`: going back was decided; do all of it (again).
 * - `give-up`: end a repair as failed; its slot stays, for the one it replaced is damaged.
 * `relink` says that `current` must first be set to the old version, because it points where no step can have put it.
 */
export type Recovery =
  | { readonly do: "run"; readonly relink: boolean }
  | { readonly do: "await"; readonly relink: boolean }
  | { readonly do: "activate" }
  | { readonly do: "start" }
  | { readonly do: "roll-back"; readonly code: string; readonly reason: string }
  | { readonly do: "finish-roll-back" }
  | { readonly do: "give-up"; readonly code: string; readonly reason: string };

type Phase = "none" | "open" | "activating" | "rolling-back" | "committed" | "ended";

export function phaseOf(attempt: Attempt | null): Phase {
  if (attempt === null) return "none";
  if (attempt.end !== null) return hasReplaced(attempt) ? "committed" : "ended";
  if (attempt.rollingBack !== null) return "rolling-back";
  return attempt.activating ? "activating" : "open";
}

type Row = (facts: RecoveryFacts) => Recovery;
const run: Row = () => ({ do: "run", relink: false });
const runRelinked: Row = () => ({ do: "run", relink: true });
const wait: Row = () => ({ do: "await", relink: false });
const waitRelinked: Row = () => ({ do: "await", relink: true });
const goOn: Row = () => ({ do: "finish-roll-back" });
const forward: Row = ({ toSlot }) => (toSlot ? { do: "activate" } : lost);
const startAgain: Row = ({ attempt, maxStarts, toSlot }) => {
  if (!toSlot) return lost;
  if (attempt!.starts < maxStarts) return { do: "start" };
  const repair = attempt!.begin.damage === "repair";
  return {
    do: repair ? "give-up" : "roll-back",
    code: "process/crash-loop",
    reason: `The new version was started ${attempt!.starts} times and never came through its probation.`,
  };
};
const strayed: Row = () => ({
  do: "roll-back",
  code: "slot/link-unknown",
  reason: "The pointer to the running version points to neither the old nor the new version.",
});
const lost: Recovery = {
  do: "roll-back",
  code: "slot/damaged",
  reason: "The slot of the new version is no longer whole.",
};

/*                 current = from     current = to       current elsewhere
   none            run it             (does not occur)   run it, set it
   open            wait               set it, wait       set it, wait
   activating      switch again       start again        go back
   rolling-back    go on              go on              go on
   committed       set it, run        run                set it, run
   ended           run                set it, run        set it, run

   A repair goes the same ways: its old and its new slot hold the same version in two places, so that every row tells them apart.
   "Run", "wait" and "go back" never start a damaged slot (agent/slot-guard.ts): they leave it pointed at and stopped. In "start
   again" a repair gives up instead of going back, and one that failed after its switch is in the row "committed": its slot stays. */
const TABLE: { readonly [P in Phase]: { readonly [L in LinkPlace]: Row } } = {
  none: { from: run, to: run, other: runRelinked },
  open: { from: wait, to: waitRelinked, other: waitRelinked },
  activating: { from: forward, to: startAgain, other: strayed },
  "rolling-back": { from: goOn, to: goOn, other: goOn },
  committed: { from: runRelinked, to: run, other: runRelinked },
  ended: { from: run, to: runRelinked, other: runRelinked },
};

export function recover(facts: RecoveryFacts): Recovery {
  return TABLE[phaseOf(facts.attempt)][facts.link](facts);
}

/** What `current` must hold when no attempt is open: the end of the last attempt decides, else what the state remembers. */
export function rightfulSlot(attempt: Attempt | null, committed: SlotId | null): SlotId | null {
  if (attempt === null) return committed;
  if (hasReplaced(attempt)) return attempt.begin.to;
  return attempt.begin.from;
}
