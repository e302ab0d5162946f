// The time that waits are measured by: a signed instant and what passed since by a clock that nobody sets; the wall clock only where there is no other.

import type { Instant } from "../core/instant.ts";
import { z } from "../core/schema.ts";

/** A moment by the clock of one boot of the machine, time asleep included. */
export type Uptime = { readonly boot: string; readonly ms: number };

/** What time it was at a moment of a boot, and whether a signed document said so. */
export const anchorSchema = z.strictObject({
  /** Milliseconds since 1970. */
  instant: z.number().check(z.minimum(0)),
  signed: z.boolean(),
  boot: z.string().check(z.maxLength(64)),
  /** Milliseconds of that boot. */
  ms: z.number().check(z.minimum(0)),
});
export type Anchor = { readonly instant: Instant; readonly signed: boolean } & Uptime;

/** `signed` false: it rests on the wall clock of this boot, and nothing is forbidden by it. */
export type KnownTime = { readonly now: Instant; readonly signed: boolean };

/** The time at the moment `up` of the anchor's boot; null after another boot. */
export function timeBy(anchor: Anchor | null, up: Uptime): KnownTime | null {
  if (anchor === null || anchor.boot !== up.boot || up.ms < anchor.ms) return null;
  return { now: anchor.instant + (up.ms - anchor.ms), signed: anchor.signed };
}

/**
 * The anchor of a boot in which nothing signed was read yet: what the wall clock says once, but never before what was known when the
 * machine ran last. A clock that is set later in this boot changes nothing.
 */
export function firstAnchor(before: Anchor | null, up: Uptime, wall: Instant): Anchor {
  const least = before === null ? 0 : before.instant;
  return { instant: Math.max(wall, least), signed: false, ...up };
}

/** A signed document says what time it is: that holds, whatever was assumed before. */
export function signedAnchor(instant: Instant, up: Uptime): Anchor {
  return { instant, signed: true, ...up };
}

/** How far the two may drift apart before it is written down again. */
const DRIFT = 2000;
const LONGEST = 60 * 60 * 1000;

/** Whether the anchor on disk has to be replaced, so that a power cut loses little of what was known. */
export function isWorthKeeping(kept: Anchor | null, now: Anchor): boolean {
  if (kept === null || kept.boot !== now.boot || kept.signed !== now.signed) return true;
  const expected = kept.instant + (now.ms - kept.ms);
  return Math.abs(expected - now.instant) > DRIFT || now.ms - kept.ms > LONGEST;
}
