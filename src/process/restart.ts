// When a program that ended is started again: sooner at first, then slower, and as if new after it ran well for a while.

export type RestartState = { readonly failures: number; readonly startedAt: number };

/** Milliseconds; doubling from one second to a minute. */
const FIRST = 1000;
const LONGEST = 60_000;
/** Having run this long makes an end the first one again. */
const SETTLED = 10 * 60_000;

/** `now` is monotonic. Returns how long to wait and the state to keep. */
export function afterEnd(
  state: RestartState,
  now: number,
): { readonly waitMs: number; readonly next: RestartState } {
  const failures = now - state.startedAt >= SETTLED ? 1 : state.failures + 1;
  return { waitMs: Math.min(LONGEST, FIRST * 2 ** Math.min(failures - 1, 10)), next: { ...state, failures } };
}

/** From this many ends in a row on, people are told that the component is in a crash loop. */
export const CRASH_LOOP = 5;
