// A bounded queue in front of one key: fair between users, a few at a time, each with a deadline.

import type { Clock } from "../../core/clock.ts";
import { SigningError } from "../errors.ts";

/** `start` begins the work and calls `over` once, when it ended; `fail` ends it at once, whatever the work still does. */
type Job = {
  readonly start: (over: () => void) => void;
  readonly fail: (error: Error) => void;
};

export class FairQueue {
  readonly #name: string;
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #parallel: number;
  readonly #timeout: number;
  readonly #stuck: () => void;
  /** Users in turn; each holds its own jobs in order. */
  readonly #users = new Map<string, Job[]>();
  #queued = 0;
  /** Jobs that run and when each is late; all have the same time, so the first is the next to be late. */
  readonly #running = new Map<Job, number>();
  #watch: AbortController | null = null;
  #atKey = 0;

  /** `stuck` is called when a job overran `timeout` ms: the key's process is to be replaced. */
  constructor(given: {
    readonly name: string;
    readonly clock: Clock;
    readonly limit: number;
    readonly parallel: number;
    readonly timeout: number;
    readonly stuck: () => void;
  }) {
    this.#name = given.name;
    this.#clock = given.clock;
    this.#limit = given.limit;
    this.#parallel = given.parallel;
    this.#timeout = given.timeout;
    this.#stuck = given.stuck;
  }

  get length(): number {
    return this.#queued + this.#running.size;
  }

  /** Messages that are at the key itself. */
  get atKey(): number {
    return this.#atKey;
  }

  /** The part of a job that is the key's own work. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    this.#atKey++;
    try {
      return await work();
    } finally {
      this.#atKey--;
    }
  }

  /** Errors: `signing/busy` when the queue is full, `signing/key-failed` when the key did not answer in time. */
  run<T>(user: string, work: () => Promise<T>): Promise<T> {
    const share = Math.max(1, Math.floor(this.#limit / 2));
    const own = this.#users.get(user) ?? [];
    // Nobody takes more than half of the room, so that there is always room for somebody else.
    if (this.#queued >= this.#limit || own.length >= share) {
      return Promise.reject(
        new SigningError(
          "signing/busy",
          `The key ${this.#name} has more requests than it can take; try again later.`,
          {
            queued: this.#queued,
          },
        ),
      );
    }
    return new Promise<T>((resolve, reject) => {
      let done = (): void => {};
      own.push({
        start: (over) => {
          done = over;
          work().then(resolve, reject).finally(over);
        },
        fail: (error) => {
          reject(error);
          done();
        },
      });
      this.#users.set(user, own);
      this.#queued++;
      this.#next();
    });
  }

  #next(): void {
    while (this.#running.size < this.#parallel) {
      const turn = this.#users.entries().next().value;
      if (turn === undefined) break;
      const [user, jobs] = turn;
      const job = jobs.shift()!;
      // To the end of the line: the next turn is another user's.
      this.#users.delete(user);
      if (jobs.length > 0) this.#users.set(user, jobs);
      this.#queued--;
      this.#running.set(job, this.#clock.monotonic() + this.#timeout);
      job.start(() => {
        if (this.#running.delete(job)) this.#next();
      });
    }
    if (this.#running.size === 0) {
      this.#watch?.abort();
      this.#watch = null;
    } else if (this.#watch === null) {
      this.#watch = new AbortController();
      void this.#watchOver(this.#watch.signal);
    }
  }

  /** One timer for all jobs that run: a timer for each would cost as much as a small signature. */
  async #watchOver(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const [first] = this.#running.values();
      try {
        await this.#clock.sleep(Math.max(1, first! - this.#clock.monotonic()), signal);
      } catch {
        return;
      }
      const now = this.#clock.monotonic();
      const late = [...this.#running].filter(([, deadline]) => deadline <= now).map(([job]) => job);
      if (late.length > 0 && !signal.aborted) this.#stuck();
      for (const job of late) {
        job.fail(
          new SigningError(
            "signing/key-failed",
            `The key ${this.#name} did not answer in time; its process is replaced.`,
            { key: this.#name },
          ),
        );
      }
    }
  }
}
