// Probation: from a series of observations to one verdict, by the monotonic clock and with patience in both directions.

import type { ProcessErrorCode } from "./errors.ts";
import type { Observation } from "./health.ts";

/** As the release manifest gives them. */
export type ProbationRules = {
  /** A job must end with 0; anything else must keep running. */
  readonly job: boolean;
  readonly startSeconds: number;
  readonly intervalSeconds: number;
  readonly timeoutSeconds: number;
  readonly successes: number;
  readonly failures: number;
  readonly probationSeconds: number;
  /** Whether the version before was seen well just before the switch: then a lasting "unknown" is held against the new one. */
  readonly wellBefore: boolean;
};

export type Probation = {
  /** Monotonic milliseconds. */
  readonly began: number;
  /** Of the last (re)start of the program. */
  readonly started: number;
  readonly good: number;
  readonly bad: number;
  /** How often the program ended by itself. Good answers in between do not excuse it. */
  readonly ends: number;
  readonly wellSince: number | null;
  readonly sawSick: boolean;
  readonly lastReason: string;
};

export type Verdict =
  | { readonly kind: "watch" }
  /** The program ended but may be started once more. */
  | { readonly kind: "restart" }
  | { readonly kind: "well" }
  | { readonly kind: "failed"; readonly code: ProcessErrorCode; readonly reason: string };

export function beginProbation(now: number): Probation {
  return {
    began: now,
    started: now,
    good: 0,
    bad: 0,
    ends: 0,
    wellSince: null,
    sawSick: false,
    lastReason: "no probe has answered yet",
  };
}

export function restarted(state: Probation, now: number): Probation {
  return { ...state, started: now };
}

/** One observation. `now` is monotonic; wall time plays no part, so a clock that jumps changes nothing. */
export function observe(
  state: Probation,
  seen: Observation,
  now: number,
  rules: ProbationRules,
): readonly [Probation, Verdict] {
  switch (seen.kind) {
    case "well":
      return settle(well(state, now, rules), now, rules);
    case "unknown":
      return settle({ ...state, lastReason: seen.reason }, now, rules);
    case "sick": {
      const next = { ...state, lastReason: seen.reason, sawSick: true };
      // While it starts up, silence is no failure.
      if (now - state.started < rules.startSeconds * 1000 && state.wellSince === null)
        return settle(next, now, rules);
      const bad = state.bad + 1;
      const worse = { ...next, bad, good: 0, wellSince: null };
      if (bad < rules.failures) return settle(worse, now, rules);
      return [worse, { kind: "failed", code: "process/unhealthy", reason: seen.reason }];
    }
    case "exited":
      return exited(state, seen, now, rules);
  }
}

function well(state: Probation, now: number, rules: ProbationRules): Probation {
  const good = state.good + 1;
  return {
    ...state,
    good,
    bad: 0,
    wellSince: good >= rules.successes ? (state.wellSince ?? now) : null,
  };
}

function exited(
  state: Probation,
  seen: Extract<Observation, { kind: "exited" }>,
  now: number,
  rules: ProbationRules,
): readonly [Probation, Verdict] {
  if (rules.job) {
    return seen.success
      ? [state, { kind: "well" }]
      : [state, { kind: "failed", code: "process/exited", reason: seen.reason }];
  }
  // An end is never excused by the start-up time: a program that ends has not started.
  // Nor by answering well until it ends: one that falls over again and again would never be found out otherwise.
  const ends = state.ends + 1;
  const next = { ...state, ends, good: 0, wellSince: null, sawSick: true, lastReason: seen.reason };
  if (ends + state.bad >= rules.failures)
    return [next, { kind: "failed", code: "process/exited", reason: seen.reason }];
  const [, verdict] = settle(next, now, rules);
  return [next, verdict.kind === "watch" ? { kind: "restart" } : verdict];
}

/** Well for long enough, or out of time. */
function settle(state: Probation, now: number, rules: ProbationRules): readonly [Probation, Verdict] {
  if (state.wellSince !== null && now - state.wellSince >= rules.probationSeconds * 1000)
    return [state, { kind: "well" }];
  if (now - state.began < deadlineMs(rules)) return [state, { kind: "watch" }];
  if (state.sawSick || rules.job) {
    return [state, { kind: "failed", code: "process/never-settled", reason: state.lastReason }];
  }
  // Nothing but "unknown" all the time: held against the new version only if the old one could be seen well.
  return rules.wellBefore
    ? [state, { kind: "failed", code: "process/unknown-too-long", reason: state.lastReason }]
    : [state, { kind: "well" }];
}

/** By then a verdict is given: twice what an undisturbed probation needs, and a minute. */
export function deadlineMs(rules: ProbationRules): number {
  const probes = (rules.successes + rules.failures) * (rules.intervalSeconds + rules.timeoutSeconds);
  return (2 * (rules.startSeconds + rules.probationSeconds + probes) + 60) * 1000;
}
