// How often a busy log begins a group: fewer and larger groups cost less CPU, as long as nobody waits for them.

import type { Clock } from "../../core/clock.ts";

/** Milliseconds between the beginnings of two groups while many requests are in work. One who signs one file after the other waits for no group. */
export const GROUP_EVERY = 5;
/** And at most so many while every key has enough to do: then it is the key that requests wait for, not the log. */
export const GROUP_MOST = 15;

export type Work = {
  /** Many requests are in work. */
  readonly busy: () => boolean;
  /** Every key for which there is work has enough of it at hand to last until the next group. */
  readonly fed: () => boolean;
};

/** Paces the groups of one log: what `gather` of the log waits for. */
export class Cadence {
  readonly #clock: Clock;
  readonly #work: Work;
  #last = -Infinity;

  constructor(clock: Clock, work: Work) {
    this.#clock = clock;
    this.#work = work;
  }

  /** Resolves when the next group may begin: at once unless the log is busy, and never later than `GROUP_MOST` after the last one began. */
  async next(): Promise<void> {
    while (this.#work.busy()) {
      const since = this.#clock.monotonic() - this.#last;
      if (since >= (this.#work.fed() ? GROUP_MOST : GROUP_EVERY)) break;
      // A key that runs dry is noticed at the next look.
      const look = since < GROUP_EVERY ? GROUP_EVERY : GROUP_MOST;
      await this.#clock.sleep(Math.ceil(Math.min(look - since, GROUP_EVERY)));
    }
    this.#last = this.#clock.monotonic();
  }
}
