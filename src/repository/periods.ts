// How long each role's metadata lives, and when it is due for signing again: signed members of the role.

import { DAY, HOUR, type Instant } from "../core/instant.ts";
import type { Json } from "../core/json.ts";
import type { RoleKeys } from "./metadata.ts";

export type Period = {
  /** Metadata expires this many days after it was signed. */
  readonly expiryDays: number;
  /** From this many days before expiry it is due for signing again. */
  readonly signingDays: number;
};

/** A year and a month for roles that need people, so that a yearly habit is early enough; days for what a server renews. */
export const DEFAULT_PERIODS = {
  root: { expiryDays: 396, signingDays: 60 },
  targets: { expiryDays: 396, signingDays: 60 },
  snapshot: { expiryDays: 7, signingDays: 4 },
  timestamp: { expiryDays: 1, signingDays: 0 },
} as const satisfies { readonly [role: string]: Period };

export const EXPIRY = "x-upkeep-expiry-days";
export const SIGNING = "x-upkeep-signing-days";
/** Clocks of the machines that sign and that look differ by less. */
const SKEW = HOUR;

/** The period a role carries, else the default of its kind. */
export function periodOf(role: string, keys: RoleKeys): Period {
  const standard =
    role === "root" || role === "snapshot" || role === "timestamp"
      ? DEFAULT_PERIODS[role]
      : DEFAULT_PERIODS.targets;
  const whole = (value: Json | undefined, fallback: number, least: number): number =>
    typeof value === "number" && Number.isSafeInteger(value) && value >= least && value <= 36_500
      ? value
      : fallback;
  const expiryDays = whole(keys.extra[EXPIRY], standard.expiryDays, 1);
  return {
    expiryDays,
    signingDays: Math.min(whole(keys.extra[SIGNING], standard.signingDays, 0), expiryDays),
  };
}

/** True if the role says itself how long its metadata lives; roles that another tool made do not. */
export function carriesPeriod(keys: RoleKeys): boolean {
  return typeof keys.extra[EXPIRY] === "number";
}

/** Ends later than it could if it had been signed until now: by a clock that was ahead, or for a longer life than it has today. */
export function isFromAhead(role: string, keys: RoleKeys, expires: Instant, now: Instant): boolean {
  // Where no life is written down, a far end is merely another lifetime.
  return carriesPeriod(keys) && isSignedLater(role, keys, expires, now);
}

/** The same where a clock is what is in doubt: a role that says nothing is held to the life that is usual for it. */
export function isSignedLater(role: string, keys: RoleKeys, expires: Instant, now: Instant): boolean {
  return expires - periodOf(role, keys).expiryDays * DAY > now + SKEW;
}
