// Online, late or dead: from the last check-in and the interval.

import { HOUR, MINUTE, SECOND, type Instant } from "../core/instant.ts";
import type { DeviceStatus } from "./records.ts";

/**
 * `new`: enrolled, never checked in. `late`: missed a check-in. `dead`: missed many. `unknown`: last seen at a time that has not come yet,
 * so the clock was wrong then or is wrong now, and nobody can tell how long ago it was.
 */
export const LIVENESS = ["new", "online", "late", "dead", "unknown", "revoked"] as const;
export type Liveness = (typeof LIVENESS)[number];

/** A device adds up to a fifth to its interval and may be in the middle of a retry. */
const LATE_AFTER = 2.5;
const DEAD_AFTER = 12;
/** Below this a short interval would call a reboot a death. */
const DEAD_AT_LEAST = HOUR;

/** Clocks of servers and operators differ by so much. */
const AHEAD = 2 * MINUTE;

/** `interval` in seconds. */
export function liveness(
  device: { readonly status: DeviceStatus; readonly enrolled: Instant; readonly lastSeen: Instant | null },
  interval: number,
  now: Instant,
): Liveness {
  if (device.status === "revoked") return "revoked";
  const silent = now - (device.lastSeen ?? device.enrolled);
  if (silent < -AHEAD) return "unknown";
  if (silent > Math.max(DEAD_AFTER * interval * SECOND, DEAD_AT_LEAST)) return "dead";
  if (device.lastSeen === null) return "new";
  return silent > LATE_AFTER * interval * SECOND ? "late" : "online";
}
