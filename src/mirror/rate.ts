// A cap on bandwidth that all downloads of a program share, and that may change by the time of day.

import type { Clock } from "../core/clock.ts";
import type { Opened, Source } from "./source.ts";

/** What may come at once, in milliseconds of the rate: short enough to be a cap, long enough for whole parts of a stream. */
const BURST = 250;

export class RateLimit {
  readonly #clock: Clock;
  readonly #bytesPerSecond: () => number | null;
  /** When all that was let through is paid for, in monotonic milliseconds. */
  #due = 0;

  /** `bytesPerSecond` is asked for each part; null is no cap. */
  constructor(clock: Clock, bytesPerSecond: () => number | null) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Resolves when so many bytes may be passed on; those who ask at once are served one after the other. Rejects with the signal's reason. */
  async take(bytes: number, signal?: AbortSignal): Promise<void> {
    const rate = this.#bytesPerSecond();
    if (rate === null) return;
    const now = this.#clock.monotonic();
    this.#due = Math.max(now, this.#due) + (bytes / rate) * 1000;
    const wait = this.#due - now - BURST;
    if (wait > 0) await this.#clock.sleep(wait, signal);
  }
}

/**
 * The same source at the cap. It goes around a floor for speed and not below it: waiting for the cap is no fault of the source.
 */
export function limited(source: Source, limit: RateLimit): Source {
  return {
    name: source.name,
    open: async (path, options) => {
      const opened = await source.open(path, options);
      return { ...opened, body: slowed(opened, limit, options.signal) };
    },
  };
}

async function* slowed(
  { body }: Opened,
  limit: RateLimit,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  for await (const part of body) {
    await limit.take(part.length, signal);
    yield part;
  }
}
