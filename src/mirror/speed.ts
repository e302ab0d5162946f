// A floor for speed: an honest slow link passes, a drip or a stall does not (slow retrieval attack).

import type { Clock } from "../core/clock.ts";
import { MirrorError } from "./errors.ts";
import { sourceError, type OpenOptions, type Opened, type Source } from "./source.ts";

export type SpeedFloor = {
  /** Longest wait for the answer to begin, and for any next byte, in milliseconds. */
  readonly idle: number;
  /** Over the last `window` milliseconds of waiting, at least `minimum` bytes per second on average. */
  readonly window: number;
  readonly minimum: number;
  /** Longest waiting in all, in milliseconds; for small files that have no reason to take long. */
  readonly deadline?: number;
};

/** Metadata is small: a minute is patience enough. */
export const METADATA_SPEED: SpeedFloor = { idle: 20_000, window: 30_000, minimum: 100, deadline: 60_000 };
/** Targets may be large and links slow: no deadline, but 1 KiB/s over any half minute. */
export const TARGET_SPEED: SpeedFloor = { idle: 30_000, window: 30_000, minimum: 1024 };

/**
 * The same source, abandoned with `mirror/slow` when it falls below the floor.
 * Only time spent waiting for the source counts: a caller that is slow to take bytes blames nobody.
 */
export function withSpeedFloor(source: Source, clock: Clock, floor: SpeedFloor): Source {
  return {
    name: source.name,
    open: async (path, options) => {
      const watch = new Watch(source, path, clock, floor, options);
      try {
        const opened = await watch.wait(source.open(path, watch.options));
        return { ...opened, body: watched(opened, watch) };
      } catch (error) {
        watch.stop(true);
        throw error;
      }
    },
  };
}

async function* watched(opened: Opened, watch: Watch): AsyncGenerator<Uint8Array> {
  const parts = opened.body[Symbol.asyncIterator]();
  let finished = false;
  try {
    for (;;) {
      const next = await watch.wait(parts.next());
      if (next.done === true) {
        finished = true;
        return;
      }
      watch.arrived(next.value.length);
      yield next.value;
    }
  } finally {
    watch.stop(!finished);
    // A body that hangs would also hang `return`: the abort above has released it already, so nobody waits here.
    if (!finished) void parts.return?.().then(undefined, () => undefined);
  }
}

class Watch {
  readonly options: OpenOptions;
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  readonly #floor: SpeedFloor;
  readonly #slow: (what: string) => MirrorError;
  readonly #outer: AbortSignal | undefined;
  readonly #forward: () => void;
  /** Milliseconds of waiting so far, and what had arrived when. */
  #waited = 0;
  #bytes = 0;
  #marks: { readonly at: number; readonly bytes: number }[] = [{ at: 0, bytes: 0 }];

  constructor(source: Source, path: string, clock: Clock, floor: SpeedFloor, options: OpenOptions) {
    this.#clock = clock;
    this.#floor = floor;
    this.#slow = (what) => sourceError("mirror/slow", source, path, what);
    this.#outer = options.signal;
    this.#forward = () => this.#abort.abort(this.#outer?.reason);
    if (this.#outer?.aborted === true) this.#forward();
    else this.#outer?.addEventListener("abort", this.#forward, { once: true });
    this.options = { ...options, signal: this.#abort.signal };
  }

  /** Waits for the source, no longer than the idle limit and the deadline allow. */
  async wait<T>(answer: Promise<T>): Promise<T> {
    const { idle, deadline = Number.POSITIVE_INFINITY } = this.#floor;
    const left = Math.min(idle, deadline - this.#waited);
    const from = this.#clock.monotonic();
    const timer = new AbortController();
    const late = this.#clock.sleep(left, timer.signal).then(
      () => {
        const error = this.#slow(`nothing came for ${Math.round(left / 1000)} seconds`);
        this.#abort.abort(error);
        throw error;
      },
      () => new Promise<never>(() => {}),
    );
    try {
      return await Promise.race([answer, late]);
    } catch (error) {
      // When we aborted the source, its own complaint is only an echo.
      const reason: unknown = this.#abort.signal.reason;
      throw reason instanceof MirrorError ? reason : error;
    } finally {
      timer.abort();
      this.#waited += this.#clock.monotonic() - from;
    }
  }

  arrived(length: number): void {
    this.#bytes += length;
    const { window, minimum, deadline = Number.POSITIVE_INFINITY } = this.#floor;
    const begin = this.#waited - window;
    while (this.#marks.length > 1 && this.#marks[1]!.at <= begin) this.#marks.shift();
    const oldest = this.#marks[0]!;
    if (begin >= oldest.at) {
      const rate = ((this.#bytes - oldest.bytes) * 1000) / (this.#waited - oldest.at);
      if (rate < minimum) throw this.#fail(`it sends ${Math.round(rate)} bytes per second`);
    }
    if (this.#waited > deadline) throw this.#fail(`it takes longer than ${deadline / 1000} seconds`);
    // One mark per percent of the window bounds the list, whatever the size of the parts.
    if (this.#waited - this.#marks.at(-1)!.at >= window / 100)
      this.#marks.push({ at: this.#waited, bytes: this.#bytes });
  }

  /** `release`: the source was not read to its end and must let go of what it holds. */
  stop(release: boolean): void {
    this.#outer?.removeEventListener("abort", this.#forward);
    if (release) this.#abort.abort();
  }

  #fail(what: string): MirrorError {
    const error = this.#slow(what);
    this.#abort.abort(error);
    return error;
  }
}
