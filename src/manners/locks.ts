// Locks by which an application says "not now": each has a lease, so that one that crashed never blocks for long.

import { DAY, MINUTE, SECOND } from "../core/instant.ts";
import { z } from "../core/schema.ts";

/** Seconds. Of a file that says nothing else; touching the file renews it. */
export const LEASE = (10 * MINUTE) / SECOND;
export const LONGEST_LEASE = DAY / SECOND;
/** Files of one product that are looked at. */
export const MAX_LOCKS = 64;
export const LOCK_LIMIT = 4096;

/** A lock's name: whoever holds it. */
export const holderSchema = z
  .string()
  .check(z.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "expected a name such as backup, at most 64"));

/** What a lock file may say; an empty one says nothing, and holds all the same. */
export const lockSchema = z.strictObject({
  lease: z.exactOptional(z.number().check(z.int(), z.minimum(1), z.maximum(LONGEST_LEASE))),
  why: z.exactOptional(
    z.string().check(z.maxLength(200), z.regex(/^[^\p{Cc}\p{Cs}]*$/u, "holds control characters")),
  ),
  /** The process that holds it: when that is gone, so is the lock. */
  process: z.exactOptional(
    z.strictObject({
      pid: z.number().check(z.int(), z.minimum(1)),
      startTime: z.string().check(z.maxLength(32)),
    }),
  ),
});
export type LockFile = Readonly<z.infer<typeof lockSchema>>;

/** A lock as it was found: `stamp` changes when it is renewed. */
export type FoundLock = LockFile & { readonly holder: string; readonly stamp: string };

/** When each lock was seen with its stamp first, in monotonic milliseconds. A file's own time is set by clocks, and counts for nothing. */
export type Seen = ReadonlyMap<string, { readonly stamp: string; readonly at: number }>;

export type HeldLock = { readonly holder: string; readonly why: string | null; readonly leftMs: number };

/** The locks that hold at `monotonic`, those whose lease is over, and what was seen. */
export function judgeLocks(
  found: readonly FoundLock[],
  seen: Seen,
  monotonic: number,
): { readonly held: readonly HeldLock[]; readonly over: readonly string[]; readonly seen: Seen } {
  const next = new Map<string, { readonly stamp: string; readonly at: number }>();
  const held: HeldLock[] = [];
  const over: string[] = [];
  for (const { holder, stamp, lease = LEASE, why } of found) {
    const known = seen.get(holder);
    const since = known?.stamp === stamp ? known : { stamp, at: monotonic };
    next.set(holder, since);
    const leftMs = since.at + lease * SECOND - monotonic;
    if (leftMs > 0) held.push({ holder, why: why ?? null, leftMs });
    else over.push(holder);
  }
  return { held, over, seen: next };
}
