// What this program says of itself to others: its version, from the one place that has it, and the features that it knows.

import { readFileSync } from "node:fs";
import { KNOWN_FEATURES } from "../../core/features.ts";
import type { Program } from "../../core/growth.ts";

/** Set by the build of one executable, which has no package.json beside it. */
declare const UPKEEP_VERSION: string;

let known: string | null = null;

export function ownVersion(): string {
  if (typeof UPKEEP_VERSION === "string") return UPKEEP_VERSION;
  known ??= (
    JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as { version: string }
  ).version;
  return known;
}

export function ownProgram(): Program {
  return { version: ownVersion(), features: [...KNOWN_FEATURES] };
}
