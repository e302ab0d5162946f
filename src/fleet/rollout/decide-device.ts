// What one device gets of a product while a rollout governs its group: the release, what the group had before, or a hold with its reason.

import { formatInstant, type Instant } from "../../core/instant.ts";
import { compareVersions, parseVersion } from "../../core/version.ts";
import type { AssignedComponent } from "../../message/assignment.ts";
import type { HoldReason } from "../../message/hold-reasons.ts";
import { decide, type Catalogue } from "../decide.ts";
import type { Desired } from "../records.ts";
import { isOver, type Rollout } from "../rollout-record.ts";
import { concerns, phaseOf, type Member } from "./cohort.ts";
import { opensAt } from "./window.ts";

/** What the server's records say of a device; nothing that it says of itself when it asks. */
export type DeviceFacts = Member & {
  /** What its signed reports say it runs of a product; null when none says. */
  readonly reported: (product: string) => string | null;
};

/** `rule`: why it is so, for people and programs. `offer`: the rollout gives the device its release here. */
export type RolloutDecision = {
  readonly component: AssignedComponent;
  readonly rule: RolloutRule;
  /** Which rollout it is about. */
  readonly rollout: Rollout | null;
  readonly offer: boolean;
  /** Until when the device waits, where that is known. */
  readonly until: Instant | null;
};

export type RolloutRule =
  | "follows"
  | "group-held"
  | "offered"
  | "runs-it"
  | "not-approved"
  | "not-started"
  | "phase"
  | "window"
  | "paused"
  | "halted"
  | "aborted"
  | "recalled"
  | "no-release"
  | "unavailable";

/** The rollout under way that governs a group's product; `fleet/rollout-overlaps` sees to it that there is one at most. */
export function governing(rollouts: readonly Rollout[], group: string, product: string): Rollout | null {
  return newest(
    rollouts.filter(({ state }) => !isOver(state)),
    group,
    product,
  );
}

function newest(
  rollouts: readonly Rollout[],
  group: string,
  product: string,
  version: string | null = null,
): Rollout | null {
  let found: Rollout | null = null;
  for (const rollout of rollouts) {
    if (rollout.product !== product || !concerns(rollout, group)) continue;
    if (version !== null && rollout.version !== version) continue;
    if (found === null || rollout.created > found.created) found = rollout;
  }
  return found;
}

/** When the rollout lets the device in: null for not in this phase, `now` for now, else when its window opens. */
export function turnOf(rollout: Rollout, member: Member, now: Instant): Instant | null {
  if (rollout.state !== "running" || !concerns(rollout, member.group)) return null;
  const late = rollout.deadline !== null && now >= rollout.deadline;
  const phase = phaseOf(rollout, member);
  if (!late && (phase === null || phase > rollout.phase)) return null;
  return opensAt(rollout, now);
}

/** Decides all products of a group for one device. Products without a rollout are decided as ever. */
export function decideDevice(
  desired: readonly Desired[],
  rollouts: readonly Rollout[],
  facts: DeviceFacts,
  catalogue: Catalogue,
  now: Instant,
  followUntil: Instant | null,
): { readonly components: readonly AssignedComponent[]; readonly offers: readonly Rollout[] } {
  if (rollouts.length === 0) return { components: decide(desired, catalogue, now, followUntil), offers: [] };
  const offers: Rollout[] = [];
  const components = desired.map((one): AssignedComponent => {
    const { component, rollout, offer } = decideProduct(one, rollouts, facts, catalogue, now, followUntil);
    if (offer && rollout !== null) offers.push(rollout);
    return component;
  });
  return { components, offers };
}

/**
 * One product. The order matters: what an operator holds is held; what was stopped reaches nobody by another way; who runs the release
 * keeps it; who is let in gets it; who has less than the group had before gets that; the others hold.
 */
export function decideProduct(
  desired: Desired,
  rollouts: readonly Rollout[],
  facts: DeviceFacts,
  catalogue: Catalogue,
  now: Instant,
  followUntil: Instant | null = null,
): RolloutDecision {
  const { product, channel } = desired;
  const decided = decide([desired], catalogue, now, followUntil)[0]!;
  const operatorHolds = "hold" in decided && desired.hold !== null && decided.hold.reason === desired.hold;
  if (operatorHolds) return plain(decided, "group-held");
  if (catalogue.timestamp() === null) return plain(decided, "unavailable");
  const base = withoutStopped(decided, rollouts, facts);
  const rollout = governing(rollouts, facts.group, product);
  if (rollout === null) return base;

  const listed = catalogue.byVersion(product, rollout.version);
  const release = listed?.manifestSha256 === rollout.manifestSha256 ? listed : null;
  const given: AssignedComponent | null =
    release === null
      ? null
      : { product, channel, release: { version: release.version, manifestSha256: release.manifestSha256 } };
  const reported = facts.reported(product);
  const of = { rollout, offer: false, until: null };
  if (given !== null && reported === rollout.version) return { ...of, component: given, rule: "runs-it" };
  const turn = turnOf(rollout, facts, now);
  if (turn === now) {
    if (given !== null) return { ...of, component: given, rule: "offered", offer: true };
    return { ...of, component: { product, channel, hold: { reason: "no-release" } }, rule: "no-release" };
  }
  const rule = ruleOf(rollout, turn);
  const { component } = base;
  // Held back is the new release, not what the group has had all along.
  if ("release" in component && component.release.version !== rollout.version)
    if (isBelow(reported, component.release.version))
      return { ...of, component: unfollowed(component), rule, until: turn };
  const end = turn === null ? {} : { until: formatInstant(turn) };
  const hold = { reason: HOLDS[rule] ?? "not-your-turn", ...end };
  return { ...of, component: { product, channel, hold }, rule, until: turn };
}

function plain(component: AssignedComponent, rule: RolloutRule): RolloutDecision {
  return { component, rule, rollout: null, offer: false, until: null };
}

/** What the group goes to anyway, unless a rollout of that very release was stopped. Who runs it already keeps it. */
function withoutStopped(
  component: AssignedComponent,
  rollouts: readonly Rollout[],
  facts: DeviceFacts,
): RolloutDecision {
  if (!("release" in component)) return plain(component, "no-release");
  const { product, channel, release } = component;
  const own = newest(rollouts, facts.group, product, release.version);
  const stopped = own?.state === "aborted" || own?.state === "recalled" ? own : null;
  if (stopped === null) return plain(component, "follows");
  const rule = stopped.state === "recalled" ? "recalled" : "aborted";
  if (rule === "aborted" && facts.reported(product) === release.version)
    return { ...plain(component, "runs-it"), rollout: stopped };
  const reason: HoldReason = rule === "recalled" ? "recalled" : "halted";
  return { ...plain({ product, channel, hold: { reason } }, rule), rollout: stopped };
}

/** A device that reaches no server would follow the channel to the release before its turn. */
function unfollowed(component: AssignedComponent): AssignedComponent {
  if (!("release" in component)) return component;
  const { product, channel, release } = component;
  return { product, channel, release };
}

const HOLDS: { readonly [R in RolloutRule]?: HoldReason } = {
  paused: "paused",
  halted: "halted",
};

function ruleOf(rollout: Rollout, turn: Instant | null): RolloutRule {
  switch (rollout.state) {
    case "planned":
      return rollout.approvedBy.length < rollout.approvals ? "not-approved" : "not-started";
    case "scheduled":
      return "not-started";
    case "paused":
      return "paused";
    case "halted":
      return "halted";
    default:
      return turn === null ? "phase" : "window";
  }
}

function isBelow(a: string | null, b: string): boolean {
  return a === null || compareVersions(parseVersion(a), parseVersion(b)) < 0;
}

/** What time alone changes for a group's devices: whether the windows of its rollouts are open. */
export function windowMarks(rollouts: readonly Rollout[], group: string, now: Instant): readonly string[] {
  return rollouts
    .filter(
      ({ state, windows, deadline }) => state === "running" && (windows.length > 0 || deadline !== null),
    )
    .filter((rollout) => concerns(rollout, group))
    .map((rollout) => {
      const late = rollout.deadline !== null && now >= rollout.deadline;
      return `${rollout.id} ${opensAt(rollout, now) === now ? "open" : "closed"}${late ? " late" : ""}`;
    });
}
