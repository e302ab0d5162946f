// The states of a rollout and what leads from one to another, as a table.

import { FleetError } from "../errors.ts";
import type { RolloutState } from "../rollout-record.ts";

/*
 *   planned ──start──▶ scheduled ──due──▶ running ──finish──▶ done
 *      │  └──────────────start────────────▲ │ ▲ │               │
 *      │                       pause ┌─────┘ │ └─────┐ halt     │ recall
 *      │                             ▼ resume│resume ▼          ▼
 *      └─────── abort ──▶ aborted ◀─ paused ─┴─ halted ──recall──▶ recalled
 */

export type RolloutEvent =
  | "approve"
  | "start"
  | "schedule"
  | "due"
  | "advance"
  | "finish"
  | "pause"
  | "halt"
  | "resume"
  | "abort"
  | "recall";

type Row = { readonly [E in RolloutEvent]?: RolloutState };

/** What is not in the table is refused. */
export const ROLLOUT_TABLE: { readonly [S in RolloutState]: Row } = {
  planned: {
    approve: "planned",
    start: "running",
    schedule: "scheduled",
    abort: "aborted",
    recall: "recalled",
  },
  scheduled: { start: "running", due: "running", abort: "aborted", recall: "recalled" },
  running: {
    advance: "running",
    finish: "done",
    pause: "paused",
    halt: "halted",
    abort: "aborted",
    recall: "recalled",
  },
  paused: { resume: "running", abort: "aborted", recall: "recalled" },
  halted: { resume: "running", abort: "aborted", recall: "recalled" },
  done: { recall: "recalled" },
  aborted: { recall: "recalled" },
  recalled: {},
};

/** Error: `fleet/rollout-state` when the event is nothing for this state. */
export function nextState(id: string, state: RolloutState, event: RolloutEvent): RolloutState {
  const next = ROLLOUT_TABLE[state][event];
  if (next !== undefined) return next;
  const may = Object.keys(ROLLOUT_TABLE[state]);
  throw new FleetError(
    "fleet/rollout-state",
    `The rollout ${id} is ${state}, so it cannot ${event}.`,
    { rollout: id, state, event, may },
    {
      hint: `\`upkeep fleet rollout show ${id}\` shows where it stands.`,
    },
  );
}
