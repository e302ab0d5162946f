// A clock that a test moves by hand; sleepers wake in order, nothing really waits.

import type { Clock } from "../core/clock.ts";
import { parseInstant, type Instant } from "../core/instant.ts";

export class ScriptedClock implements Clock {
  #now: Instant;
  #monotonic = 0;
  #sleepers: { at: number; wake: () => void }[] = [];

  constructor(start: Instant | string = "2026-11-21T04:00:00Z") {
    this.#now = typeof start === "string" ? parseInstant(start) : start;
  }

  now(): Instant {
    return this.#now;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      const sleeper = { at: this.#monotonic + ms, wake: resolve };
      this.#sleepers.push(sleeper);
      signal?.addEventListener("abort", () => {
        this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
        reject(signal.reason as Error);
      });
    });
  }

  /** Moves both clocks forward, waking sleepers on the way and letting their work run. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonic + ms;
    for (;;) {
      await settle();
      const next = this.#sleepers.sort((a, b) => a.at - b.at)[0];
      if (next === undefined || next.at > end) break;
      this.#sleepers.shift();
      this.#now += Math.max(0, next.at - this.#monotonic);
      this.#monotonic = Math.max(this.#monotonic, next.at);
      next.wake();
    }
    this.#now += end - this.#monotonic;
    this.#monotonic = end;
    await settle();
  }

  /** Sets wall time only, as an operator or a bad battery would. */
  setWall(now: Instant | string): void {
    this.#now = typeof now === "string" ? parseInstant(now) : now;
  }

  /** Milliseconds until the next sleeper wakes, or null if nobody sleeps. */
  nextWake(): number | null {
    const at = this.#sleepers.map((sleeper) => sleeper.at).sort((a, b) => a - b)[0];
    return at === undefined ? null : at - this.#monotonic;
  }
}

async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
