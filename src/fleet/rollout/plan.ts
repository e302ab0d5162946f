// The plan of a rollout as a person writes it: phases, rules, windows, deadline; checked as a whole.

import { DAY, type Instant } from "../../core/instant.ts";
import { FleetError } from "../errors.ts";
import { parseFilter } from "../filter.ts";
import type { Phase, Rollout, RolloutRules } from "../rollout-record.ts";

export type RolloutPlan = Pick<
  Rollout,
  | "product"
  | "version"
  | "manifestSha256"
  | "groups"
  | "phases"
  | "rules"
  | "windows"
  | "deadline"
  | "startAt"
  | "approvals"
  | "salt"
>;

export const DEFAULT_RULES: RolloutRules = { success: 90, failed: 10, sample: 3, soak: 3600, silent: 7200 };
export const DEFAULT_PHASES: readonly string[] = ["1%", "10%", "50%", "100%"];

const PHASES = 32;
const WINDOWS = 32;
const DEVICES = 100;
const APPROVALS = 5;
const PART = /^(\d{1,3}(?:\.\d{1,2})?)%$/;

/**
 * `10%`, `group:tills`, `group:tills,kiosks 50%`, `device:ID,ID`, `where:EXPRESSION`, `where:EXPRESSION 50%`.
 * Error: `fleet/bad-rollout`.
 */
export function parsePhase(text: string): Phase {
  const whole = text.trim();
  const share = /^(.*?)(?:^|\s+)(\d[\d.]*%)$/.exec(whole);
  const [selector, percent] = share === null ? [whole, "100%"] : [share[1]!.trim(), share[2]!];
  const part = Number(PART.exec(percent)?.[1] ?? Number.NaN);
  if (!(part > 0 && part <= 100)) throw badPhase(text);
  const phase: Phase = { devices: [], groups: [], percent: part, where: null };
  if (selector === "") return share === null ? fail(text) : phase;
  const match = /^(group|device|where):(.+)$/.exec(selector);
  if (match === null) throw badPhase(text);
  if (match[1] === "where") return { ...phase, where: match[2]!.trim() };
  const list = match[2]!.split(",").map((one) => one.trim());
  if (list.includes("")) throw badPhase(text);
  if (match[1] === "group") return { ...phase, groups: list };
  if (share !== null) throw badPhase(text);
  return { ...phase, devices: list, percent: null };
}

function fail(text: string): never {
  throw badPhase(text);
}

function badPhase(text: string): FleetError {
  return new FleetError(
    "fleet/bad-rollout",
    `"${text.slice(0, 80)}" is no phase.`,
    { phase: text.slice(0, 80) },
    {
      hint: "Write 10%, group:tills, group:tills,kiosks 50%, device:till-7, or where:EXPRESSION 20%.",
    },
  );
}

/** As people write it; `parsePhase` reads it back. */
export function phaseText({ devices, groups, percent, where }: Phase): string {
  if (percent === null) return `device:${devices.join(",")}`;
  const part = `${percent}%`;
  if (where !== null) return `where:${where} ${part}`;
  return groups.length === 0 ? part : `group:${groups.join(",")} ${part}`;
}

/** Error: `fleet/bad-rollout`. */
export function checkPlan(plan: RolloutPlan, now: Instant): void {
  const { phases, windows, rules, approvals, deadline, startAt } = plan;
  if (phases.length === 0 || phases.length > PHASES) throw bad(`A rollout has 1 to ${PHASES} phases.`);
  if (windows.length > WINDOWS) throw bad(`A rollout has at most ${WINDOWS} windows.`);
  if (phases.some(({ devices }) => devices.length > DEVICES))
    throw bad(`A phase names at most ${DEVICES} devices; a group or a tag holds more.`);
  for (const { where } of phases) if (where !== null) parseFilter(where);
  const parts = phases.filter(
    ({ groups, where, percent }) => percent !== null && groups.length === 0 && where === null,
  );
  for (const [at, { percent }] of parts.entries())
    if (at > 0 && percent! <= parts[at - 1]!.percent!)
      throw bad(`${percent} % after ${parts[at - 1]!.percent} % lets nobody in: phases grow.`);
  if (parts.at(-1) !== phases.at(-1) || parts.at(-1)?.percent !== 100)
    throw bad("The last phase is 100 %, so that the rollout ends with every device.", "Add --phase 100%.");
  for (const [name, value, least, most] of [
    ["success", rules.success, 1, 100],
    ["failed", rules.failed, 1, 100],
    ["sample", rules.sample, 1, 1_000_000],
    ["soak", rules.soak, 0, 365 * 86_400],
    ["silent", rules.silent, 0, 365 * 86_400],
    ["approvals", approvals, 0, APPROVALS],
  ] as const)
    if (!Number.isInteger(value) || value < least || value > most)
      throw bad(`${name} is a whole number from ${least} to ${most}.`);
  if (deadline !== null && deadline <= Math.max(now, startAt ?? now))
    throw bad("The deadline is after the start.");
  if (startAt !== null && startAt > now + 365 * DAY) throw bad("The start is within a year.");
}

function bad(sentence: string, hint?: string): FleetError {
  return new FleetError("fleet/bad-rollout", sentence, {}, hint === undefined ? {} : { hint });
}
