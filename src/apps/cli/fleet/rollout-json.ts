// A rollout and its devices as --json shows them.

import { formatInstant } from "../../../core/instant.ts";
import type { Json } from "../../../core/json.ts";
import { phaseText } from "../../../fleet/rollout/plan.ts";
import { windowText } from "../../../fleet/rollout/window.ts";
import type { Rollout } from "../../../fleet/rollout-record.ts";

export function rolloutJson(rollout: Rollout): { readonly [name: string]: Json } {
  const { id, product, version, manifestSha256, state, groups, rules, approvals, author, halt } = rollout;
  return {
    rollout: id,
    product,
    version,
    manifestSha256,
    state,
    groups: [...groups],
    phase: rollout.phase + 1,
    phases: rollout.phases.map(phaseText),
    windows: rollout.windows.map(windowText),
    rules: { ...rules },
    approvals,
    approvedBy: rollout.approvedBy.map(({ actor, at }) => ({ actor, at: formatInstant(at) })),
    author,
    created: formatInstant(rollout.created),
    startAt: instantOrNull(rollout.startAt),
    started: instantOrNull(rollout.started),
    phaseSince: instantOrNull(rollout.phaseSince),
    deadline: instantOrNull(rollout.deadline),
    ended: instantOrNull(rollout.ended),
    halt: halt === null ? null : { ...halt },
  };
}

export function instantOrNull(at: number | null): string | null {
  return at === null ? null : formatInstant(at);
}
