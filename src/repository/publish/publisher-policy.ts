// What follows from the periods of roles for who publishes: what is due, which alarm is reached; and what keys are called.

import { DAY, type Instant } from "../../core/instant.ts";
import { isJsonObject, type Json, type JsonObject } from "../../core/json.ts";
import { NO_EXTRA, type Extra, type RoleKeys } from "../metadata.ts";
import { EXPIRY, isFromAhead, periodOf, SIGNING, type Period } from "../periods.ts";

/** Days before expiry at which people are told, each louder than the one before. */
export const ALARM_DAYS = [60, 30, 14, 7, 1] as const;
export type Alarm = "none" | (typeof ALARM_DAYS)[number] | "expired";

const NAMES = "x-upkeep-key-names";

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

/**
 * True from the signing window on. For online roles: once a quarter of a short life, or half of a longer one, is over; and when they
 * end later than they may, or devices could be kept from news until then (freeze attack after a clock was ahead).
 */
export function isDue(role: string, keys: RoleKeys, expires: Instant, now: Instant): boolean {
  // What somebody else signed for a life that no role states is left alone.
  const online = role === "snapshot" || role === "timestamp";
  if (online && keys.extra[EXPIRY] !== undefined && isFromAhead(role, keys, expires, now)) return true;
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
