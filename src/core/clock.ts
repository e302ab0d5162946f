// The clock as a port: nouns never read time themselves.

import type { Instant } from "./instant.ts";

export interface Clock {
  /** Wall time. May jump. */
  now(): Instant;
  /** Milliseconds since some fixed point of this boot. Never goes back. For time-outs and probation. */
  monotonic(): number;
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}
