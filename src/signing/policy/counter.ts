// How often something happened: exactly within the last day, and in all.

import { DAY, type Instant } from "../../core/instant.ts";

/** At most one pair of numbers for each instant that the log can tell apart, which is a second. */
export type CounterState = {
  readonly total: number;
  readonly forgotten: number;
  readonly times: Instant[];
  readonly upTo: number[];
};

export class Counter {
  #total = 0;
  /** How many there were up to what was dropped last. */
  #forgotten = 0;
  /** Instants, ascending, and how many there were up to and including each. */
  #times: Instant[] = [];
  #upTo: number[] = [];

  add(time: Instant): void {
    this.#total++;
    // A clock that went back: counted at the newest instant, which counts it for longer, not shorter.
    if (time <= (this.#times.at(-1) ?? -Infinity)) {
      this.#upTo[this.#upTo.length - 1] = this.#total;
      return;
    }
    this.#times.push(time);
    this.#upTo.push(this.#total);
  }

  /** After `since`, which is within the last day, or minus infinity for all. */
  since(since: Instant): number {
    if (since === -Infinity) return this.#total;
    const first = this.#after(since);
    if (first === this.#times.length) return 0;
    return this.#total - (first === 0 ? this.#forgotten : this.#upTo[first - 1]!);
  }

  /** Keeps the number, drops the instants that are more than a day old. */
  forget(now: Instant): void {
    const first = this.#after(now - DAY);
    if (first === 0) return;
    this.#forgotten = this.#upTo[first - 1]!;
    this.#times = this.#times.slice(first);
    this.#upTo = this.#upTo.slice(first);
  }

  state(): CounterState {
    return {
      total: this.#total,
      forgotten: this.#forgotten,
      times: this.#times.slice(),
      upTo: this.#upTo.slice(),
    };
  }

  static of({ total, forgotten, times, upTo }: CounterState): Counter {
    const counter = new Counter();
    [counter.#total, counter.#forgotten] = [total, forgotten];
    [counter.#times, counter.#upTo] = [times.slice(), upTo.slice()];
    return counter;
  }

  /** Index of the first instant after `since`. */
  #after(since: Instant): number {
    let low = 0;
    for (let high = this.#times.length; low < high;) {
      const middle = (low + high) >> 1;
      if (this.#times[middle]! > since) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
