// Why a device does not run what it should, or that it does: one rule with its time, from records and signed reports.

import { formatInstant, type Instant } from "../../core/instant.ts";
import { compareVersions, parseVersion } from "../../core/version.ts";
import type { Catalogue } from "../decide.ts";
import { isAhead, liveness } from "../liveness.ts";
import type { Desired } from "../records.ts";
import type { RosterDevice, Rollout, RolloutDevice } from "../rollout-record.ts";
import { cohortOf, phaseOf } from "../rollout/cohort.ts";
import { decideProduct, type RolloutDecision, type RolloutRule } from "../rollout/decide-device.ts";
import { phaseText } from "../rollout/plan.ts";

/** `current` and `failed` are ends; from the others something has to happen. */
export type WhyState = "current" | "failed" | "waits" | "behind" | "revoked";
export type WhyRule =
  | Exclude<RolloutRule, "runs-it" | "follows">
  | "runs-it"
  | "runs-newer"
  | "failed"
  | "never-seen"
  | "not-admitted"
  | "away"
  | "late"
  | "frozen"
  | "revoked";

export type Why = {
  readonly product: string;
  /** What the device should come to run; null while nothing is there to run. */
  readonly target: string | null;
  /** By its signed reports. */
  readonly running: string | null;
  readonly state: WhyState;
  readonly rule: WhyRule;
  readonly rollout: string | null;
  readonly since: Instant | null;
  /** When it changes by itself, where that is known. */
  readonly until: Instant | null;
  readonly sentence: string;
  /** The attempt that failed, where that is the rule. */
  readonly failure: FailedAttempt | null;
};

/** An attempt at a version that did not come to it, as it was reported. */
export type FailedAttempt = {
  readonly to: string;
  readonly at: Instant;
  readonly code: string | null;
  readonly step: string | null;
  readonly firstError: string | null;
};

export type WhyFacts = {
  readonly device: RosterDevice;
  readonly desired: Desired;
  readonly rollouts: readonly Rollout[];
  /** Of this device, in rollouts of the product. */
  readonly rows: readonly RolloutDevice[];
  readonly running: string | null;
  /** The newest attempt, if it failed. */
  readonly failed: FailedAttempt | null;
  /** What it was last known to be kept from, if its metadata is old. */
  readonly frozenSince: Instant | null;
  readonly catalogue: Catalogue;
  /** Seconds between check-ins. */
  readonly interval: number;
  readonly now: Instant;
};

/** The first rule that applies, in this order: it is out; it is there; it is held; it failed; it is not there; it has not come round yet. */
export function why(facts: WhyFacts): Why {
  const { device, desired, running, now } = facts;
  const reported = (product: string): string | null => (product === desired.product ? running : null);
  const decision = decideProduct(desired, facts.rollouts, { ...device, reported }, facts.catalogue, now);
  const { component, rollout } = decision;
  const assigned = "release" in component ? component.release.version : null;
  const target = rollout?.version ?? assigned ?? desired.version;
  const answer = (
    state: WhyState,
    rule: WhyRule,
    since: Instant | null,
    sentence: string,
    until: Instant | null = null,
  ): Why => ({
    product: desired.product,
    target,
    running,
    state,
    rule,
    rollout: rollout?.id ?? null,
    since,
    until,
    sentence,
    failure: rule === "failed" ? facts.failed : null,
  });

  if (device.status === "pending")
    return answer(
      "waits",
      "not-admitted",
      device.enrolled,
      "It waits until a person approves its enrollment.",
    );
  if (device.status === "revoked") return answer("revoked", "revoked", null, "The device was revoked.");
  const order = target === null || running === null ? -1 : compare(running, target);
  if (order === 0) return answer("current", "runs-it", null, `It runs ${running!}.`);
  if (order > 0 && !("hold" in component && component.hold.reason === "recalled"))
    return answer("current", "runs-newer", null, `It runs ${running!}, which is newer than ${target!}.`);
  const held = heldBy(facts, decision);
  if (held !== null) return answer("waits", held.rule, held.since, held.sentence, held.until);

  const { failed, frozenSince } = facts;
  if (failed !== null && failed.to === target)
    return answer(
      "failed",
      "failed",
      failed.at,
      `It failed at ${failed.to} (${failed.code ?? "no code"}${failed.step === null ? "" : ` at ${failed.step}`})${failed.firstError === null ? "" : `: ${failed.firstError}`}.`,
    );
  const seen = isAhead(device.lastSeen, now) ? null : device.lastSeen;
  const state = liveness(device, facts.interval, now);
  if (device.lastSeen === null)
    return answer("behind", "never-seen", device.enrolled, "It enrolled and never checked in.");
  const ago = seen === null ? "at a time that its server's clock got wrong" : `at ${formatInstant(seen)}`;
  if (state === "dead")
    return answer(
      "behind",
      "away",
      seen,
      `It was last seen ${ago}; it gets ${target ?? "it"} when it comes back.`,
    );
  if (frozenSince !== null)
    return answer(
      "behind",
      "frozen",
      frozenSince,
      "It is kept from new metadata by a mirror or a fault, so it cannot see the release.",
    );
  if (state === "late")
    return answer("behind", "late", seen, `It missed a check-in; it was last seen ${ago}.`);
  const row = facts.rows.find((one) => one.rollout === rollout?.id);
  return answer(
    "behind",
    "offered",
    row?.offered ?? desired.changed,
    row === undefined
      ? `It gets ${target ?? "it"} at its next check-in, and has not reported how that went.`
      : `It was offered ${target ?? "it"} at ${formatInstant(row.offered)} and has not reported how that went.`,
  );
}

type Held = {
  readonly rule: WhyRule;
  readonly since: Instant | null;
  readonly until: Instant | null;
  readonly sentence: string;
};

function heldBy({ device, desired }: WhyFacts, decision: RolloutDecision): Held | null {
  const { rule, rollout, until } = decision;
  const of = rollout === null ? "" : `The rollout ${rollout.id}`;
  const since = rollout?.since ?? desired.changed;
  const held = (sentence: string): Held => ({ rule: rule as WhyRule, since, until, sentence });
  switch (rule) {
    case "group-held":
      return {
        rule,
        since: desired.changed,
        until: desired.holdUntil,
        sentence: `The group ${desired.group} is held (${desired.hold ?? "paused"}) since ${formatInstant(desired.changed)}${desired.holdUntil === null ? "" : `, until ${formatInstant(desired.holdUntil)}`}.`,
      };
    case "not-approved":
      return held(`${of} has ${rollout!.approvedBy.length} of ${rollout!.approvals} approvals.`);
    case "not-started":
      return rollout!.state === "scheduled"
        ? { ...held(`${of} starts at ${formatInstant(rollout!.startAt!)}.`), until: rollout!.startAt }
        : held(`${of} was made at ${formatInstant(rollout!.created)} and is not started.`);
    case "phase":
      return {
        ...held(phaseSentence(device, rollout!)),
        since: rollout!.phaseSince,
        until: rollout!.deadline,
      };
    case "window":
      return held(
        `${of} is outside of its windows${until === null ? "" : `; the next opens at ${formatInstant(until)}`}.`,
      );
    case "paused":
      return held(`${of} is paused since ${formatInstant(since)}.`);
    case "halted":
      return held(
        `${of} halted by itself at ${formatInstant(since)}${rollout!.halt === null ? "" : ` because devices failed among ${rollout!.halt.among}`}.`,
      );
    case "aborted":
      return held(`${of} was aborted at ${formatInstant(since)}.`);
    case "recalled":
      return held(`The release was recalled at ${formatInstant(since)}.`);
    case "no-release":
      return "hold" in decision.component
        ? held(
            rollout === null
              ? `Nothing is published at ${desired.product}/${desired.channel}${desired.version === null ? "" : ` as ${desired.version}`}.`
              : `The repository no longer lists ${rollout.product} ${rollout.version} as it was when ${rollout.id} was made.`,
          )
        : null;
    case "unavailable":
      return held("The repository could not be read here.");
    default:
      return null;
  }
}

function phaseSentence(device: RosterDevice, rollout: Rollout): string {
  const phase = phaseOf(rollout, device);
  const now = `${rollout.id} is in phase ${rollout.phase + 1} of ${rollout.phases.length}`;
  if (phase === null) return `${now}, and no phase lets this device in before the deadline.`;
  const cohort = cohortOf(rollout.salt, device.id).toFixed(2);
  return `${now}; this device is at ${cohort} of 100 and comes in phase ${phase + 1} (${phaseText(rollout.phases[phase]!)}).`;
}

function compare(a: string, b: string): number {
  return compareVersions(parseVersion(a), parseVersion(b));
}
