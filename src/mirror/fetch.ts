// Small files from several places: the first answer that passes the caller's check wins, and who failed is told.

import type { Clock } from "../core/clock.ts";
import { fraction, type Random } from "../core/random.ts";
import { UpkeepError } from "../core/errors.ts";
import { isTransient, MirrorError } from "./errors.ts";
import { readAll, type Source } from "./source.ts";

export type RetryPolicy = {
  /** Rounds over all places; 1 means that nothing is retried. */
  readonly rounds: number;
  /** Longest pause before the second round in milliseconds; doubles each round. */
  readonly pause: number;
};
export const NO_RETRY: RetryPolicy = { rounds: 1, pause: 0 };
export const DEFAULT_RETRY: RetryPolicy = { rounds: 3, pause: 1000 };

export type Failure = { readonly source: Source; readonly error: UpkeepError };

/** What waiting and dice a retry needs. */
export type RetryTools = { readonly clock: Clock; readonly random: Random; readonly retry: RetryPolicy };

/**
 * Asks one place after the other until `check` accepts the bytes. `onFailure` hears of every place that failed.
 * Throws the most telling failure: a refusal of content before a failed connection before "not found".
 */
export async function fetchFirst<T>(
  sources: readonly Source[],
  path: string,
  limit: number,
  check: (bytes: Uint8Array, source: Source) => T,
  tools: RetryTools,
  options: { signal?: AbortSignal | undefined; onFailure?: (failure: Failure) => void } = {},
): Promise<T> {
  const failures: Failure[] = [];
  let left = sources;
  for (let round = 0; left.length > 0 && round < tools.retry.rounds; round++) {
    if (round > 0) await pause(tools, round, options.signal);
    const again: Source[] = [];
    for (const source of left) {
      try {
        return check(await readAll(source, path, limit, options.signal), source);
      } catch (error) {
        if (!(error instanceof UpkeepError) || isAbort(error, options.signal)) throw error;
        const failure = { source, error };
        failures.push(failure);
        options.onFailure?.(failure);
        if (isTransient(error)) again.push(source);
      }
    }
    left = again;
  }
  throw mostTelling(failures, path);
}

/** Full jitter: uniform between zero and the doubling bound. */
export async function pause(
  tools: RetryTools,
  round: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  await tools.clock.sleep(tools.retry.pause * 2 ** (round - 1) * fraction(tools.random), signal);
}

/** A refusal of content tells more than a place that is not trusted, that more than a failed connection, and that more than a missing file. */
export function mostTelling(failures: readonly Failure[], path: string): UpkeepError {
  const errors = failures.map((failure) => failure.error);
  return (
    errors.find((error) => !(error instanceof MirrorError)) ??
    errors.find((error) => error.code === "mirror/untrusted") ??
    errors.find((error) => error.code !== "mirror/not-found") ??
    errors[0] ??
    new MirrorError("mirror/unreachable", `There is no source to get ${path} from.`, { path })
  );
}

/** True if the failure is the caller's own wish to stop. */
export function isAbort(error: unknown, signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true || (error instanceof MirrorError && error.code === "mirror/aborted");
}
