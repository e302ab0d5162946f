// What time it is at least, whatever the clock of the device says: grace is used up by running, and a clock that is wrong is not a crime.

import { DAY, type Instant } from "../core/instant.ts";
import { z } from "../core/schema.ts";

const ms = z.number().check(z.int(), z.minimum(0), z.maximum(Number.MAX_SAFE_INTEGER));
export const knownTimeSchema = z.strictObject({
  /** The last time that a server signed in answer to a question of this device. */
  trusted: ms,
  /** Milliseconds that the machine has run since, over all starts. */
  ran: ms,
  /** The latest time that was credible. */
  highWater: ms,
  boot: z.string(),
  /** Of that boot, when this was written. */
  uptime: ms,
  /** Steps back by more than a day that were noticed. */
  steps: ms,
  /** True while such a step lasts: one step counts once. */
  behind: z.boolean(),
});
export type KnownTime = Readonly<z.infer<typeof knownTimeSchema>>;

/** What this machine says about time. `uptime` includes sleep. */
export type Reading = { readonly wall: Instant; readonly boot: string; readonly uptime: number };

/** Slower than this a clock is set right by NTP, a time zone or a person, and nothing is said. */
const STEP = DAY;
/** Further ahead than this a clock is wrong: it is not taken, so that setting it right mends everything. */
const FAR = 400 * DAY;

export type ClockFlag = "behind" | "far-ahead";
export type Told = { readonly now: Instant; readonly flag: ClockFlag | null; readonly known: KnownTime };

/** Before the first answer of a server. */
export function firstTime({ wall, boot, uptime }: Reading): KnownTime {
  const at = Math.max(0, wall);
  return { trusted: at, ran: 0, highWater: at, boot, uptime, steps: 0, behind: false };
}

/** A server said what time it is, with this device's nonce under its signature: nothing that was remembered is stronger. */
export function trustTime(known: KnownTime, server: Instant, { boot, uptime }: Reading): KnownTime {
  return { ...known, trusted: server, ran: 0, highWater: server, boot, uptime, behind: false };
}

/** floor = max(trusted + run time since, high water); now = max(wall, floor), unless the wall clock is absurdly ahead. */
export function tellTime(known: KnownTime, { wall, boot, uptime }: Reading): Told {
  const sameBoot = boot === known.boot && uptime >= known.uptime;
  const ran = known.ran + (sameBoot ? uptime - known.uptime : uptime);
  const floor = Math.max(known.trusted + ran, known.highWater);
  const behind = floor - wall > STEP;
  const far = wall - floor > FAR;
  const now = far ? floor : Math.max(wall, floor);
  return {
    now,
    flag: behind ? "behind" : far ? "far-ahead" : null,
    known: {
      ...known,
      ran,
      boot,
      uptime,
      highWater: now,
      steps: known.steps + (behind && !known.behind ? 1 : 0),
      behind,
    },
  };
}
