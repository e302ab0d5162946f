// When to check: schedule with jitter, back-off, what the server asks for, and catching up after sleep. Pure; every wait has a reason and an end.

import { HOUR, MINUTE, SECOND, type Instant } from "../core/instant.ts";
import { MAX_INTERVAL, MIN_INTERVAL } from "../message/check-in.ts";

export type ScheduleFacts = {
  /** Seconds; from the last answer of the server, else from the settings. */
  readonly interval: number;
  /** Failed checks in a row. */
  readonly failures: number;
  /** Seconds the server asked to be left alone, null if it did not. */
  readonly retryAfter: number | null;
  /** Uniform in [0, 1). */
  readonly draw: number;
};

export type Wait = { readonly ms: number; readonly reason: WaitReason };
export type WaitReason = "schedule" | "back-off" | "retry-after" | "start" | "missed-wake-up";

const FIRST_RETRY = 5 * SECOND;
const LONGEST_RETRY = HOUR;
/** A server can ask to be left alone for a day at most. */
const LONGEST_SILENCE = 24 * HOUR;

/** How long until the next check. */
export function nextCheck(facts: ScheduleFacts): Wait {
  const interval = Math.min(MAX_INTERVAL, Math.max(MIN_INTERVAL, facts.interval)) * SECOND;
  // ±10 %, so that a fleet that was started together does not stay together.
  const scheduled = Math.round(interval * (0.9 + 0.2 * facts.draw));
  if (facts.retryAfter !== null) {
    const asked = Math.min(LONGEST_SILENCE, Math.max(0, facts.retryAfter) * SECOND);
    // Whoever was sent away together does not come back together.
    const ms = Math.round(asked * (1 + 0.1 * facts.draw));
    return { ms: Math.max(ms, FIRST_RETRY), reason: "retry-after" };
  }
  if (facts.failures === 0) return { ms: scheduled, reason: "schedule" };
  const ceiling = Math.min(LONGEST_RETRY, FIRST_RETRY * 2 ** Math.min(facts.failures - 1, 20));
  // Between half and all of the ceiling, and never later than the schedule would be.
  const ms = Math.round(ceiling * (0.5 + 0.5 * facts.draw));
  return { ms: Math.min(ms, scheduled), reason: "back-off" };
}

/** The wait before the first check after a start. */
export function firstCheck(spreadSeconds: number, draw: number): Wait {
  return { ms: Math.round(spreadSeconds * SECOND * draw), reason: "start" };
}

/** A wait in progress, by both clocks. */
export type Waiting = Wait & {
  readonly fromMonotonic: number;
  readonly untilWall: Instant;
};

export function beginWait(wait: Wait, monotonic: number, wall: Instant): Waiting {
  return { ...wait, fromMonotonic: monotonic, untilWall: wall + wait.ms };
}

/**
 * After a wake-up that came while this device was away. All who were away learn of it at the same moment, as when their server starts
 * again: each checks at another moment of one interval, or when its schedule has it, whichever comes first. A back-off, a server that
 * asked to be left alone, and the wait after a start are not shortened: the check at their end asks for the same.
 */
export function sooner(
  waiting: Waiting,
  intervalSeconds: number,
  draw: number,
  monotonic: number,
  wall: Instant,
): Waiting {
  if (waiting.reason !== "schedule") return waiting;
  const ms = Math.round(intervalSeconds * SECOND * draw);
  if (ms >= remaining(waiting, monotonic, wall)) return waiting;
  return beginWait({ ms, reason: "missed-wake-up" }, monotonic, wall);
}

/**
 * Milliseconds left, 0 when due. A machine that slept has a monotonic clock that stood still, so wall time counts as well;
 * a wall clock set back never prolongs a wait, and one set forward costs one early check at most.
 */
export function remaining(waiting: Waiting, monotonic: number, wall: Instant): number {
  const byMonotonic = waiting.fromMonotonic + waiting.ms - monotonic;
  const byWall = waiting.untilWall - wall;
  return Math.max(0, Math.min(byMonotonic, byWall));
}

/** Longest single sleep: how late a wake from suspend may be noticed. */
export const SLICE = 30 * SECOND;

/** Refused once, the same release is not tried again at every check: the wait doubles from a minute to a day. */
export function retryOfRefused(times: number): number {
  return Math.min(24 * HOUR, MINUTE * 2 ** Math.min(times - 1, 11));
}

/** A token bucket for wake-ups: the worst that messages can do is this many checks. */
export type Bucket = { readonly tokens: number; readonly at: number };
export const WAKE_BURST = 20;
const WAKE_REFILL = 30 * SECOND;

export const FULL_BUCKET: Bucket = { tokens: WAKE_BURST, at: 0 };

/** `now` is monotonic. `granted` false: the wake-up is dropped; the schedule will ask all the same. */
export function takeToken(
  bucket: Bucket,
  now: number,
): { readonly granted: boolean; readonly bucket: Bucket } {
  const refilled = Math.min(WAKE_BURST, bucket.tokens + Math.max(0, now - bucket.at) / WAKE_REFILL);
  return refilled >= 1
    ? { granted: true, bucket: { tokens: refilled - 1, at: now } }
    : { granted: false, bucket: { tokens: refilled, at: now } };
}

/**
 * Reconnecting the wake-up stream: full jitter from 1 to 300 seconds. The first wait is up to 16 s already, because a server that starts
 * again has lost all of its streams at the same moment.
 */
export function reconnectWait(failures: number, draw: number): number {
  const ceiling = Math.min(300 * SECOND, 8 * SECOND * 2 ** Math.min(failures, 9));
  return Math.round(SECOND + (ceiling - SECOND) * draw);
}
