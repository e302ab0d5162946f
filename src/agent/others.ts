// The other products of a device as choosing a release sees them: what is committed, and what it needs.

import type { Others } from "../release/select.ts";
import type { Component } from "./component.ts";
import type { RunSpec } from "./run-spec.ts";
import { isDamage } from "./slot-guard.ts";

/** Errors: `disk/*`. */
export async function othersOf(components: readonly Component[], than: Component): Promise<Others> {
  const others = new Map<string, { version: string; dependencies: NonNullable<RunSpec["dependencies"]> }>();
  for (const other of components) {
    const { committed } = other.state;
    if (other === than || committed === null) continue;
    others.set(other.product, { version: committed.version, dependencies: await neededBy(other) });
  }
  return others;
}

/** What a damaged slot needed cannot be read; it is not started either, before it was made again. */
async function neededBy(other: Component): Promise<NonNullable<RunSpec["dependencies"]>> {
  try {
    return (await other.runOf(other.state.committed!)).dependencies ?? [];
  } catch (error) {
    if (isDamage(error)) return [];
    throw error;
  }
}
