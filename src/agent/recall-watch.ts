// Asks beside a probation, at the rhythm of checks, whether the version on trial was recalled meanwhile: a check itself would wait for its end.

import type { Clock } from "../core/clock.ts";
import { SECOND } from "../core/instant.ts";
import type { Trouble } from "./attempt-table.ts";

/** The first time soon, so that the server learns who tries a version; a probation that is over by then asks nobody. */
const FIRST = 2 * SECOND;

export class RecallWatch {
  readonly #clock: Clock;
  readonly #interval: number;
  readonly #ask: (signal: AbortSignal) => Promise<Trouble | null>;
  readonly #over = new AbortController();
  #due: number;
  #asking: Promise<void> | null = null;
  #again = false;
  #tell: (trouble: Trouble) => void = () => {};
  /** Resolves when the version on trial was recalled; never otherwise. */
  readonly recalled: Promise<Trouble>;

  /** `ask` says what the channel says now, and null also when it cannot be had. `interval` in milliseconds. */
  constructor(clock: Clock, interval: number, ask: (signal: AbortSignal) => Promise<Trouble | null>) {
    this.#clock = clock;
    this.#interval = interval;
    this.#ask = ask;
    this.#due = clock.monotonic() + Math.min(FIRST, interval);
    this.recalled = new Promise((resolve) => (this.#tell = resolve));
  }

  /** Asks if it is time to. */
  tick(): void {
    if (this.#clock.monotonic() >= this.#due) this.#start();
  }

  /** There may be news: asks now, and once more if an answer on its way may be older than the news. */
  nudge(): void {
    if (this.#asking === null) this.#start();
    else this.#again = true;
  }

  /** Ends whatever is under way; afterwards nothing of it is. */
  async end(): Promise<void> {
    this.#over.abort(new Error("the probation is over"));
    await this.#asking;
  }

  #start(): void {
    if (this.#asking !== null || this.#over.signal.aborted) return;
    this.#due = this.#clock.monotonic() + this.#interval;
    this.#asking = this.#ask(this.#over.signal)
      .then((trouble) => {
        if (trouble !== null) this.#tell(trouble);
      })
      .finally(() => {
        this.#asking = null;
        if (!this.#again) return;
        this.#again = false;
        this.#start();
      });
  }
}
