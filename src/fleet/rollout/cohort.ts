// Cohorts: where a device stands in a rollout, by a salted hash of its id, so that nobody keeps a list and new devices have a place.

import { sha256Hex } from "../../core/digest.ts";
import { toUtf8 } from "../../core/bytes.ts";
import { parseFilter, type Filterable } from "../filter.ts";
import type { Phase, Rollout } from "../rollout-record.ts";

/** What of a device decides whether a phase lets it in. */
export type Member = Filterable & { readonly id: string };

/** From 0 to below 100, spread evenly; devices of a rollout keep theirs as long as it lives. */
export function cohortOf(salt: string, device: string): number {
  const digest = sha256Hex(toUtf8(`upkeep rollout cohort\n${salt}\n${device}`));
  // 48 bits: a double holds them exactly.
  return (Number.parseInt(digest.slice(0, 12), 16) / 2 ** 48) * 100;
}

/** Does the rollout concern the device's group at all? */
export function concerns(rollout: Pick<Rollout, "groups">, group: string): boolean {
  return rollout.groups.length === 0 || rollout.groups.includes(group);
}

function letsIn(phase: Phase, member: Member, cohort: () => number): boolean {
  if (phase.devices.includes(member.id)) return true;
  if (phase.percent === null) return false;
  if (phase.groups.length > 0 && !phase.groups.includes(member.group)) return false;
  if (phase.where !== null && !parseFilter(phase.where)(member)) return false;
  return phase.percent >= 100 || cohort() < phase.percent;
}

/** The first phase that lets the device in; null when none does, or its group is none of the rollout's. */
export function phaseOf(rollout: Pick<Rollout, "groups" | "phases" | "salt">, member: Member): number | null {
  if (!concerns(rollout, member.group)) return null;
  let known: number | null = null;
  const cohort = (): number => (known ??= cohortOf(rollout.salt, member.id));
  const found = rollout.phases.findIndex((phase) => letsIn(phase, member, cohort));
  return found < 0 ? null : found;
}
