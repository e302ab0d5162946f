// A bounded queue in front of one key: fair between users, a few at a time, each with a deadline.

import type { Clock } from "../core/clock.ts";
import { SigningError } from "./errors.ts";

type Job = {
  readonly user: string;
  readonly run: () => Promise<void>;
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
  #running = 0;

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
    return this.#queued + this.#running;
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
      own.push({ user, fail: reject, run: () => this.#timed(work).then(resolve, reject) });
      this.#users.set(user, own);
      this.#queued++;
      this.#next();
    });
  }

  #next(): void {
    while (this.#running < this.#parallel) {
      const turn = this.#users.entries().next().value;
      if (turn === undefined) return;
      const [user, jobs] = turn;
      const job = jobs.shift()!;
      // To the end of the line: the next turn is another user's.
      this.#users.delete(user);
      if (jobs.length > 0) this.#users.set(user, jobs);
      this.#queued--;
      this.#running++;
      void job.run().finally(() => {
        this.#running--;
        this.#next();
      });
    }
  }

  async #timed<T>(work: () => Promise<T>): Promise<T> {
    const stop = new AbortController();
    const late = this.#clock.sleep(this.#timeout, stop.signal).then(
      () => {
        this.#stuck();
        throw new SigningError(
          "signing/key-failed",
          `The key ${this.#name} did not answer in time; its process is replaced.`,
          {
            key: this.#name,
          },
        );
      },
      () => new Promise<never>(() => {}),
    );
    try {
      return await Promise.race([work(), late]);
    } finally {
      stop.abort();
    }
  }
}
