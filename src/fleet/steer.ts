// Steering: when what a group should run has changed, for whatever reason, the group is woken, also if the change came while the server was down.

import { sha256Hex } from "../core/digest.ts";
import { toUtf8 } from "../core/bytes.ts";
import type { Instant } from "../core/instant.ts";
import { decide, type Catalogue } from "./decide.ts";
import type { Desired, Group } from "./records.ts";
import type { FleetRecords } from "./store.ts";
import { wake } from "./wake.ts";

/** Compares each group's decision with the one last announced; wakes and returns the groups where they differ. */
export async function steer(
  records: FleetRecords,
  catalogue: Catalogue,
  now: Instant,
  state: { readonly groups: readonly Group[]; readonly desired: ReadonlyMap<string, readonly Desired[]> },
): Promise<readonly string[]> {
  // A server that has not read its repository yet has nothing to announce.
  if (catalogue.timestamp() === null) return [];
  const woken: string[] = [];
  for (const { name } of state.groups) {
    const decision = decide(state.desired.get(name) ?? [], catalogue, now);
    const digest = sha256Hex(toUtf8(JSON.stringify(decision)));
    const key = `announced:${name}`;
    const announced = await records.setting(key);
    if (announced === digest) continue;
    await records.putSetting(key, digest);
    // A new group that has nothing to run yet is no news.
    if (announced === null && decision.length === 0) continue;
    await wake(records, `group:${name}`);
    woken.push(name);
  }
  return woken;
}
