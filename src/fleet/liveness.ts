// Online, late or dead: from the last check-in and the interval.

import { HOUR, MINUTE, SECOND, type Instant } from "../core/instant.ts";
import type { UpdateStanding } from "../message/check-in.ts";
import type { DeviceStatus } from "./records.ts";

/**
 * `new`: enrolled, never checked in. `late`: missed a check-in. `dead`: missed many. Of one that is heard: `held`: nothing is changed on it
 * for now, by its owner or by its group; `opted-out`: its owner declines updates; `disabled`: updates are switched off there. `pending`: waits for approval.
 */
export const LIVENESS = [
  "new",
  "online",
  "late",
  "dead",
  "held",
  "opted-out",
  "disabled",
  "pending",
  "revoked",
] as const;
export type Liveness = (typeof LIVENESS)[number];

/** A device adds up to a fifth to its interval and may be in the middle of a retry. */
const LATE_AFTER = 2.5;
const DEAD_AFTER = 12;
/** What clocks of servers of one fleet may differ by. */
const SKEW = 5 * MINUTE;
/** Below this a short interval would call a reboot a death. */
const DEAD_AT_LEAST = HOUR;

/** True for a time that has not come yet: the clock that wrote it was ahead, or this one is behind. */
export function isAhead(at: Instant | null, now: Instant): boolean {
  return at !== null && at > now + SKEW;
}

/** `interval` in seconds. */
export function liveness(
  device: { readonly status: DeviceStatus; readonly enrolled: Instant; readonly lastSeen: Instant | null },
  interval: number,
  now: Instant,
): Liveness {
  if (device.status !== "active") return device.status;
  // A sighting from ahead of now was made by a clock that was wrong: it says that the device was there, and not when.
  const seen = [device.lastSeen, device.enrolled].find((at) => at !== null && !isAhead(at, now)) ?? 0;
  const silent = now - seen;
  if (silent > Math.max(DEAD_AFTER * interval * SECOND, DEAD_AT_LEAST)) return "dead";
  if (device.lastSeen === null) return "new";
  return silent > LATE_AFTER * interval * SECOND ? "late" : "online";
}

/** The state of a device as people look for it: what is known of its updates goes before how punctual it is, and silence before both. */
export function deviceState(
  device: Parameters<typeof liveness>[0] & { readonly standing?: UpdateStanding | null },
  facts: { readonly interval: number; readonly now: Instant; readonly held: boolean },
): Liveness {
  const state = liveness(device, facts.interval, facts.now);
  if (state !== "online" && state !== "late") return state;
  const standing = device.standing ?? "on";
  if (standing !== "on") return standing;
  return facts.held ? "held" : state;
}

/** True when nothing that a group is assigned may change now. */
export function isHeld(
  desired: readonly { readonly hold: unknown; readonly holdUntil: Instant | null }[],
  now: Instant,
): boolean {
  return (
    desired.length > 0 &&
    desired.every(({ hold, holdUntil }) => hold !== null && (holdUntil === null || holdUntil > now))
  );
}
