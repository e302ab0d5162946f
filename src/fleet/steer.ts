// Steering: when what a group should run has changed, for whatever reason, the group is woken, also if the change came while the server was down.

import { sha256Hex } from "../core/digest.ts";
import { toUtf8 } from "../core/bytes.ts";
import type { Instant } from "../core/instant.ts";
import { decide, type Catalogue } from "./decide.ts";
import type { Desired, Group } from "./records.ts";
import type { FleetRecords } from "./store.ts";
import { wake } from "./wake.ts";

/** What one server remembers of its own steering. */
export type Steering = {
  /** Digest of each group's decision. */
  readonly decided: ReadonlyMap<string, string>;
  /** Groups for which another server announced something else than this one decided. */
  readonly differing: ReadonlySet<string>;
};

export const UNSTEERED: Steering = { decided: new Map(), differing: new Set() };

/**
 * Compares each group's decision with the one last announced, and wakes the groups where they differ. `before` is what this server
 * remembers. Where its own decision has not changed, another server announced something else, because its clock or its copy of the
 * repository differs: two that each insist would wake the group without end. A server that comes round to what was announced wakes the
 * group once more, for it gave its devices the old answer until then.
 */
export async function steer(
  records: FleetRecords,
  catalogue: Catalogue,
  now: Instant,
  state: {
    readonly groups: readonly Group[];
    readonly desired: ReadonlyMap<string, readonly Desired[]>;
    /** What else decides in a group, such as whether the window of a rollout is open. */
    readonly marks?: (group: string) => readonly string[];
  },
  before: Steering = UNSTEERED,
): Promise<{ readonly woken: readonly string[]; readonly after: Steering }> {
  // A server that has not read its repository yet has nothing to announce.
  if (catalogue.timestamp() === null) return { woken: [], after: before };
  const woken: string[] = [];
  const decided = new Map<string, string>();
  const differing = new Set<string>();
  for (const { name } of state.groups) {
    const decision = decide(state.desired.get(name) ?? [], catalogue, now);
    const marks = state.marks?.(name) ?? [];
    const digest = sha256Hex(toUtf8(JSON.stringify(marks.length === 0 ? decision : [decision, marks])));
    decided.set(name, digest);
    const key = `announced:${name}`;
    const announced = await records.setting(key);
    if (before.decided.get(name) === digest) {
      if (announced !== digest) differing.add(name);
      continue;
    }
    if (announced === digest && !before.differing.has(name)) continue;
    if (announced !== digest) await records.putSetting(key, digest);
    // A new group that has nothing to run yet is no news.
    if (announced === null && decision.length === 0) continue;
    await wake(records, `group:${name}`);
    woken.push(name);
  }
  return { woken, after: { decided, differing } };
}
