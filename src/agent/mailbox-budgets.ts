// How often messages may have an effect, and how much work strangers may cause; both counted over restarts.

import { DAY, HOUR, MINUTE, type Instant } from "../core/instant.ts";
import type { MessageKind } from "../message/sealed/body.ts";

type Limit = { readonly most: number; readonly within: number };

/** What authentic messages may do: the n of "accepted n times". The worst that a thief of the messenger key can do is this. */
export const BUDGETS: { readonly [K in MessageKind]: readonly Limit[] } = {
  // Each promotion and each `fleet wake` is one: an operator who mends a release in a hurry must not be left waiting for the schedule.
  "update-check": [
    { most: 20, within: HOUR },
    { most: 60, within: DAY },
  ],
  report: [{ most: 12, within: HOUR }],
  "refresh-trust": [
    { most: 20, within: HOUR },
    { most: 60, within: DAY },
  ],
  "rotate-certificate": [{ most: 2, within: DAY }],
};

/** When messages of one kind had an effect, oldest first. */
export type Effects = readonly Instant[];

/**
 * Null when one more is within the budget now: then `effects` with this one in it. Else the earliest time at which it will be. What is dated
 * after now was written by a clock that was ahead: it counts as now, so that setting a clock back neither gives nor takes a budget.
 */
export function spend(
  kind: MessageKind,
  effects: Effects,
  now: Instant,
): { readonly granted: true; readonly effects: Effects } | { readonly granted: false; readonly at: Instant } {
  const longest = Math.max(...BUDGETS[kind].map(({ within }) => within));
  const recent = effects.map((at) => Math.min(at, now)).filter((at) => now - at < longest);
  const free = BUDGETS[kind].map(({ most, within }) => {
    const inside = recent.filter((at) => now - at < within);
    return inside.length < most ? now : inside[inside.length - most]! + within;
  });
  const at = Math.max(...free);
  return at > now ? { granted: false, at } : { granted: true, effects: [...recent, now] };
}

/** Decryptions a minute that prove to be nothing, of all sources together: it bounds work, and takes nothing from authentic messages. */
export const UNREAD_PER_MINUTE = 60;

/** A count that begins again each minute. */
export type Unread = { readonly since: Instant; readonly count: number };

export const NOTHING_UNREAD: Unread = { since: 0, count: 0 };

/** Null when no more may be tried in this minute. A clock that was set back begins a new minute. */
export function tryOne(unread: Unread, now: Instant): Unread | null {
  const same = now >= unread.since && now - unread.since < MINUTE;
  if (!same) return { since: now, count: 1 };
  return unread.count >= UNREAD_PER_MINUTE ? null : { ...unread, count: unread.count + 1 };
}

/** An authentic message gives back what it took. */
export function refund(unread: Unread): Unread {
  return { ...unread, count: Math.max(0, unread.count - 1) };
}
