// How long each role's metadata lives, when it is due for signing again, and what its keys are called: signed members of the role.

import { DAY, type Instant } from "../../core/instant.ts";
import { isJsonObject, type Json, type JsonObject } from "../../core/json.ts";
import { NO_EXTRA, type Extra, type RoleKeys } from "../metadata.ts";

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

/** Days before expiry at which people are told, each louder than the one before. */
export const ALARM_DAYS = [60, 30, 14, 7, 1] as const;
export type Alarm = "none" | (typeof ALARM_DAYS)[number] | "expired";

const EXPIRY = "x-upkeep-expiry-days";
const SIGNING = "x-upkeep-signing-days";
const NAMES = "x-upkeep-key-names";

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

/** Names by key id, for people; never used to decide anything. */
export function keyNames(keys: RoleKeys): ReadonlyMap<string, string> {
  const value = keys.extra[NAMES];
  const names = new Map<string, string>();
  if (!isJsonObject(value)) return names;
  for (const keyid of keys.keyids) {
    const name = value[keyid];
    if (typeof name === "string") names.set(keyid, name.slice(0, 64));
  }
  return names;
}

export function policyExtra(period: Period | null, names: ReadonlyMap<string, string>): Extra {
  const out = Object.create(null) as { [name: string]: Json };
  if (period !== null) {
    out[EXPIRY] = period.expiryDays;
    out[SIGNING] = period.signingDays;
  }
  if (names.size > 0)
    out[NAMES] = Object.assign(Object.create(null) as JsonObject, Object.fromEntries(names));
  return Object.keys(out).length === 0 ? NO_EXTRA : out;
}

export function expiryFor(role: string, keys: RoleKeys, now: Instant): Instant {
  return now + periodOf(role, keys).expiryDays * DAY;
}

/** True from the signing window on. For online roles: once a quarter of a short life, or half of a longer one, is over. */
export function isDue(role: string, keys: RoleKeys, expires: Instant, now: Instant): boolean {
  const { expiryDays, signingDays } = periodOf(role, keys);
  const window = signingDays > 0 ? signingDays * DAY : (expiryDays * DAY * 3) / 4;
  return expires - now <= window;
}

/** The loudest alarm that is reached. */
export function alarmOf(expires: Instant, now: Instant): Alarm {
  if (expires <= now) return "expired";
  const left = (expires - now) / DAY;
  return ALARM_DAYS.toReversed().find((days) => left <= days) ?? "none";
}
