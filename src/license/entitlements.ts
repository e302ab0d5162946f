// What a license amounts to with the options that are switched on, and whether one set of grants is within another.

import { parseInstant } from "../core/instant.ts";
import type { License } from "./license.ts";
import type { Features, Updates } from "./terms.ts";

export type Entitlements = { readonly features: Features; readonly updates: Updates };

/** The license with these options; a name that the license does not have adds nothing. */
export function entitlementsOf(
  { features, updates, options = {} }: License,
  enabled: readonly string[],
): Entitlements {
  let all: Entitlements = { features, updates };
  for (const name of enabled) {
    const option = Object.hasOwn(options, name) ? options[name]! : undefined;
    if (option === undefined) continue;
    all = {
      features: joined(all.features, option.features),
      updates: option.updates === undefined ? all.updates : laterUpdates(all.updates, option.updates),
    };
  }
  return all;
}

/** All that a license can ever amount to: the bound of what a lease key may grant. */
export function mostOf(license: License): Entitlements {
  return entitlementsOf(license, Object.keys(license.options ?? {}));
}

/** True if everything in `granted` is in `bound`, and no amount is larger. */
export function isWithin(granted: Entitlements, bound: Entitlements): boolean {
  return (
    Object.entries(granted.features).every(([name, value]) => covers(bound.features, name, value)) &&
    granted.updates.editions.every((edition) => bound.updates.editions.includes(edition)) &&
    endOf(granted.updates) <= endOf(bound.updates)
  );
}

export function featuresWithin(granted: Features, bound: Features): boolean {
  return Object.entries(granted).every(([name, value]) => covers(bound, name, value));
}

function covers(bound: Features, name: string, value: true | number): boolean {
  const most = Object.hasOwn(bound, name) ? bound[name]! : undefined;
  if (most === undefined || typeof most !== typeof value) return false;
  return typeof most === "number" ? (value as number) <= most : true;
}

function joined(a: Features, b: Features): Features {
  const all: Record<string, true | number> = { ...a };
  for (const [name, value] of Object.entries(b)) {
    const before = all[name];
    all[name] = typeof before === "number" && typeof value === "number" ? Math.max(before, value) : value;
  }
  return all;
}

function laterUpdates(a: Updates, b: Updates): Updates {
  return {
    until: endOf(a) >= endOf(b) ? a.until : b.until,
    editions: [...new Set([...a.editions, ...b.editions])].toSorted(),
  };
}

function endOf({ until }: Updates): number {
  return until === null ? Infinity : parseInstant(until);
}
