// What the verbs of `fleet rollout` do that lead a rollout from one state to the next.

import type { Instant } from "../../../core/instant.ts";
import {
  abortRollout,
  advanceRollout,
  approveRollout,
  pauseRollout,
  resumeRollout,
  startRollout,
} from "../../../fleet/rollout/change.ts";
import { MOST_APPROVALS, setApprovals } from "../../../fleet/rollout/approvals.ts";
import { phaseText } from "../../../fleet/rollout/plan.ts";
import type { Rollout } from "../../../fleet/rollout-record.ts";
import type { FleetRecords } from "../../../fleet/store.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { actor, withFleet } from "../records/open-store.ts";
import { nameAt } from "./naming.ts";
import { rolloutJson } from "./rollout-json.ts";

type Step = (records: FleetRecords, now: Instant, id: string, actor: string) => Promise<Rollout>;

async function lead(call: Call, step: Step, words: (rollout: Rollout) => string): Promise<Result> {
  const rollout = await withFleet(call, (records, now) => step(records, now, call.argument(0), actor()));
  return { text: words(rollout), json: rolloutJson(rollout) };
}

export const rolloutApprove = (call: Call): Promise<Result> =>
  lead(call, approveRollout, ({ id, approvals, approvedBy }) => {
    const missing = approvals - approvedBy.length;
    return missing > 0
      ? `${id} is approved by ${approvedBy.length} of ${approvals} people.`
      : `${id} is approved; \`upkeep fleet rollout start ${id}\` starts it.`;
  });

export const rolloutStart = (call: Call): Promise<Result> => lead(call, startRollout, startedText);

/** What a started rollout does first. */
export function startedText({ id, state, phases, startAt }: Rollout): string {
  return state === "scheduled"
    ? `${id} starts by itself at ${new Date(startAt!).toISOString().slice(0, 19)}Z.`
    : `${id} has started with phase 1 of ${phases.length} (${phaseText(phases[0]!)}).`;
}

export const rolloutAdvance = (call: Call): Promise<Result> =>
  lead(
    call,
    advanceRollout,
    ({ id, phase, phases }) =>
      `${id} is in phase ${phase + 1} of ${phases.length} (${phaseText(phases[phase]!)}).`,
  );

export const rolloutPause = (call: Call): Promise<Result> =>
  lead(call, pauseRollout, ({ id }) => `${id} is paused; no further device is offered its release.`);

export const rolloutResume = (call: Call): Promise<Result> =>
  lead(
    call,
    resumeRollout,
    ({ id, phase, phases }) => `${id} goes on in phase ${phase + 1} of ${phases.length}.`,
  );

export const rolloutAbort = (call: Call): Promise<Result> =>
  lead(
    call,
    abortRollout,
    ({ id, product, version }) =>
      `${id} is aborted: ${product} ${version} reaches no further device of its groups. Devices that run it keep it until it is recalled (upkeep release recall ${product} ${version} --reason TEXT).`,
  );

export async function rolloutApprovals(call: Call): Promise<Result> {
  const text = call.argument(0);
  const number = /^\d$/.test(text) ? Number(text) : Number.NaN;
  if (!(number <= MOST_APPROVALS)) throw usage(`Give a number from 0 to ${MOST_APPROVALS}.`);
  const product = call.argumentOr(1) === undefined ? null : nameAt(call, 1);
  const { before } = await withFleet(call, (records, now) =>
    setApprovals(records, now, { product, number }, actor()),
  );
  const of = product === null ? "Rollouts of products without a number" : `Rollouts of ${product}`;
  return {
    text: `${of} need ${number} ${number === 1 ? "approval" : "approvals"} from other people (before: ${before}).`,
    json: { product, approvals: number, before },
  };
}
