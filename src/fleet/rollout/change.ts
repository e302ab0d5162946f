// What people do with rollouts: make, approve, start, advance, pause, resume and abort them; each step with its trace in the audit log.

import type { Facts } from "../../core/errors.ts";
import { formatInstant, type Instant } from "../../core/instant.ts";
import { appendAudit } from "../audit.ts";
import { FleetError } from "../errors.ts";
import { needGroup } from "../groups.ts";
import { isOver, type Halt, type Rollout } from "../rollout-record.ts";
import type { FleetReads, FleetRecords } from "../store.ts";
import { wake } from "../wake.ts";
import { checkPlan, type RolloutPlan } from "./plan.ts";
import { nextState, type RolloutEvent } from "./table.ts";

/** Error: `fleet/unknown-rollout`. */
export async function needRollout(records: Pick<FleetReads, "rollout">, id: string): Promise<Rollout> {
  const rollout = await records.rollout(id);
  if (rollout !== null) return rollout;
  throw new FleetError("fleet/unknown-rollout", `There is no rollout ${id.slice(0, 80)}.`, {
    rollout: id.slice(0, 80),
  });
}

/**
 * Makes a rollout; nothing is offered before it is started. From now on its release reaches the groups through it alone.
 * Errors: `fleet/bad-rollout`, `fleet/unknown-group`, `fleet/unknown-device`, `fleet/rollout-overlaps`.
 */
export async function planRollout(
  records: FleetRecords,
  now: Instant,
  plan: RolloutPlan,
  actor: string,
): Promise<Rollout> {
  checkPlan(plan, now);
  for (const name of new Set([...plan.groups, ...plan.phases.flatMap(({ groups }) => groups)]))
    await needGroup(records, name);
  const others = await records.rollouts({ product: plan.product });
  for (const other of others) {
    const apart =
      plan.groups.length > 0 &&
      other.groups.length > 0 &&
      !plan.groups.some((group) => other.groups.includes(group));
    if (isOver(other.state) || apart) continue;
    throw new FleetError(
      "fleet/rollout-overlaps",
      `The rollout ${other.id} of ${plan.product} ${other.version} is ${other.state} in the same groups: a group has one at a time.`,
      { rollout: other.id, state: other.state },
      { hint: `Let it finish, or end it with \`upkeep fleet rollout abort ${other.id}\`.` },
    );
  }
  const numbers = others.map(({ id }) => Number(id.slice(plan.product.length + 1)));
  const { approvals } = plan;
  const rollout: Rollout = {
    ...plan,
    id: `${plan.product}-${Math.max(0, ...numbers) + 1}`,
    approvals,
    approvedBy: [],
    author: actor,
    created: Math.max(now, ...others.map(({ created }) => created + 1)),
    state: "planned",
    since: now,
    phase: -1,
    phaseSince: null,
    started: null,
    ended: null,
    countFrom: null,
    halt: null,
    pinned: [],
    revision: 1,
  };
  await records.putRollout(rollout);
  await trace(records, now, actor, "rollout/planned", rollout, {
    product: rollout.product,
    version: rollout.version,
    manifestSha256: rollout.manifestSha256,
    groups: rollout.groups,
    phases: rollout.phases.map((phase) => ({ ...phase })),
    rules: { ...rollout.rules },
    approvals,
  });
  return rollout;
}

/** Error: `fleet/second-person` for its author, and for who approved it before; `fleet/rollout-state`. */
export async function approveRollout(
  records: FleetRecords,
  now: Instant,
  id: string,
  actor: string,
): Promise<Rollout> {
  const rollout = await needRollout(records, id);
  nextState(id, rollout.state, "approve");
  const already = rollout.approvedBy.some((one) => one.actor === actor);
  if (actor === rollout.author || already) {
    throw new FleetError(
      "fleet/second-person",
      already
        ? `${actor} approved the rollout ${id} already: each approval comes from another person.`
        : `${actor} made the rollout ${id}: another person approves it.`,
      { rollout: id, author: rollout.author, approvedBy: rollout.approvedBy.map((one) => one.actor) },
      { hint: `Let another user of the system run \`upkeep fleet rollout approve ${id}\`.` },
    );
  }
  const approvedBy = [...rollout.approvedBy, { actor, at: now }];
  return change(records, now, actor, rollout, "approve", { approvedBy }, "rollout/approved", {
    approvals: `${approvedBy.length} of ${rollout.approvals}`,
  });
}

/** Opens the first phase now, or at the rollout's own time. Errors: `fleet/second-person` while approvals are missing, `fleet/rollout-state`. */
export async function startRollout(
  records: FleetRecords,
  now: Instant,
  id: string,
  actor: string,
): Promise<Rollout> {
  const rollout = await needRollout(records, id);
  const missing = rollout.approvals - rollout.approvedBy.length;
  if (rollout.state === "planned" && missing > 0) {
    throw new FleetError(
      "fleet/second-person",
      `The rollout ${id} needs ${missing} more ${missing === 1 ? "approval" : "approvals"} from other people than ${rollout.author}.`,
      { rollout: id, needed: rollout.approvals, approvedBy: rollout.approvedBy.map((one) => one.actor) },
      { hint: `\`upkeep fleet rollout approve ${id}\`` },
    );
  }
  if (rollout.state === "planned" && rollout.startAt !== null && rollout.startAt > now) {
    return change(records, now, actor, rollout, "schedule", {}, "rollout/scheduled", {
      start: formatInstant(rollout.startAt),
    });
  }
  const open = { phase: 0, phaseSince: now, started: now };
  return change(records, now, actor, rollout, "start", open, "rollout/started", { phase: 1 });
}

/** Opens the next phase without waiting for its rules. Errors: `fleet/rollout-state`, also when the last one is open. */
export async function advanceRollout(
  records: FleetRecords,
  now: Instant,
  id: string,
  actor: string,
): Promise<Rollout> {
  const rollout = await needRollout(records, id);
  nextState(id, rollout.state, "advance");
  if (rollout.phase >= rollout.phases.length - 1) {
    throw new FleetError("fleet/rollout-state", `The last phase of the rollout ${id} is open already.`, {
      rollout: id,
      state: rollout.state,
      event: "advance",
    });
  }
  return openNext(records, now, rollout, actor, "by hand");
}

export function openNext(
  records: FleetRecords,
  now: Instant,
  rollout: Rollout,
  actor: string,
  why: string,
): Promise<Rollout> {
  const next = { phase: rollout.phase + 1, phaseSince: now };
  return change(records, now, actor, rollout, "advance", next, "rollout/advanced", {
    before: rollout.phase + 1,
    after: rollout.phase + 2,
    why,
  });
}

/** Error: `fleet/rollout-state`. */
export async function pauseRollout(
  records: FleetRecords,
  now: Instant,
  id: string,
  actor: string,
): Promise<Rollout> {
  return change(records, now, actor, await needRollout(records, id), "pause", {}, "rollout/paused", {});
}

/** Goes on where it stood; what failed until now does not halt it again. Error: `fleet/rollout-state`. */
export async function resumeRollout(
  records: FleetRecords,
  now: Instant,
  id: string,
  actor: string,
): Promise<Rollout> {
  const rollout = await needRollout(records, id);
  const forgiven = rollout.state === "halted" ? { countFrom: now, halt: null } : {};
  return change(
    records,
    now,
    actor,
    rollout,
    "resume",
    { ...forgiven, phaseSince: now },
    "rollout/resumed",
    rollout.halt === null ? {} : { despite: haltFacts(rollout.halt) },
  );
}

/** Ends it: the release reaches no further device of its groups by any way; who runs it keeps it. Error: `fleet/rollout-state`. */
export async function abortRollout(
  records: FleetRecords,
  now: Instant,
  id: string,
  actor: string,
): Promise<Rollout> {
  const rollout = await needRollout(records, id);
  return change(records, now, actor, rollout, "abort", { ended: now }, "rollout/aborted", {});
}

export function haltFacts(halt: Halt): Facts {
  return { ...halt };
}

/** One step of the table with its trace; the devices concerned are woken. */
export async function change(
  records: FleetRecords,
  now: Instant,
  actor: string,
  rollout: Rollout,
  event: RolloutEvent,
  patch: Partial<Rollout>,
  action: string,
  facts: Facts,
): Promise<Rollout> {
  const state = nextState(rollout.id, rollout.state, event);
  const since = state === rollout.state ? rollout.since : now;
  const changed: Rollout = { ...rollout, ...patch, state, since, revision: rollout.revision + 1 };
  await records.putRollout(changed);
  if (state === rollout.state) await trace(records, now, actor, action, rollout, facts);
  else await trace(records, now, actor, action, rollout, { from: rollout.state, to: state, ...facts });
  // An approval alone changes nothing for a device.
  if (event === "approve") return changed;
  for (const { name } of await records.groups())
    if (rollout.groups.length === 0 || rollout.groups.includes(name)) await wake(records, `group:${name}`);
  return changed;
}

async function trace(
  records: FleetRecords,
  now: Instant,
  actor: string,
  action: string,
  rollout: Rollout,
  facts: Facts,
): Promise<void> {
  await appendAudit(records, now, { actor, action, subject: rollout.id, facts });
}
