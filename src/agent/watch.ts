// Watches a version until there is a verdict: probes, ends of the program, restarts in between.

import { readCommand, readExit, readHttp, type Observation } from "../process/health.ts";
import {
  beginProbation,
  observe,
  restarted,
  type Probation,
  type ProbationRules,
  type Verdict,
} from "../process/probation.ts";
import type { Clock } from "../core/clock.ts";
import type { SlotId } from "../slot/layout.ts";
import type { Trouble } from "./attempt-table.ts";
import type { Component } from "./component.ts";
import type { RecallWatch } from "./recall-watch.ts";
import { asOf, portOf, type RunSpec } from "./run-spec.ts";

const RESTART_PAUSE = 1000;
const STARTING_INTERVAL = 500;

export type FinalVerdict =
  | Exclude<Verdict, { kind: "watch" | "restart" }>
  | ({ readonly kind: "failed" } & Trouble);

/**
 * Watches what was just started (or adopted) by the rules until it is well or has failed. `beforeRestart` is told before the program
 * is started again, so that the journal counts it. `recalls` ends it when the version is taken back meanwhile, however well it is.
 * Rejects with the signal's reason when aborted.
 */
export async function watch(
  component: Component,
  id: SlotId,
  run: RunSpec,
  rules: ProbationRules,
  beforeRestart: () => Promise<void>,
  signal: AbortSignal,
  recalls: RecallWatch | null = null,
): Promise<FinalVerdict> {
  const { clock } = component.world;
  let state: Probation = beginProbation(clock.monotonic());
  if (run.health === undefined) return { kind: "well" };
  for (;;) {
    const pause = pauseBefore(state, clock.monotonic(), rules);
    const seen = await look(component, id, run, pause, signal, recalls);
    if ("recalled" in seen) return { kind: "failed", ...seen.recalled };
    const [next, verdict] = observe(state, seen, clock.monotonic(), rules);
    state = next;
    if (verdict.kind === "restart") {
      await clock.sleep(RESTART_PAUSE, signal);
      await beforeRestart();
      await component.startAgain(id, run);
      state = restarted(state, clock.monotonic());
    } else if (verdict.kind !== "watch") return verdict;
  }
}

/** Asked often while it starts, by its interval after that, and at the very end of its probation. */
function pauseBefore(state: Probation, now: number, rules: ProbationRules): number {
  const interval = rules.intervalSeconds * 1000;
  const starting = state.good === 0 && now - state.started < rules.startSeconds * 1000;
  if (starting) return Math.min(interval, STARTING_INTERVAL);
  if (state.wellSince === null) return interval;
  return Math.max(0, Math.min(interval, state.wellSince + rules.probationSeconds * 1000 - now));
}

/** One observation: the program's end if it comes first, else what the probe says after the interval. */
async function look(
  component: Component,
  id: SlotId,
  run: RunSpec,
  pauseMs: number,
  signal: AbortSignal,
  recalls: RecallWatch | null,
): Promise<Observation | { readonly recalled: Trouble }> {
  const { clock } = component.world;
  const ended = component.supervised?.process.exited.then(readExit) ?? null;
  const timer = new AbortController();
  const stop = (): void => timer.abort(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  try {
    const pause = passing(clock, pauseMs, timer.signal, recalls).then(() => null);
    // Whoever loses the race is not waited for, and must not complain to nobody.
    pause.catch(() => undefined);
    const taken = recalls?.recalled.then((recalled) => ({ recalled })) ?? null;
    const others = [ended, taken].filter((one) => one !== null);
    const first = await Promise.race([...others, pause]);
    if (first !== null) return first;
    return await Promise.race([...others, probe(component, id, run)]);
  } finally {
    timer.abort(new Error("no longer needed"));
    signal.removeEventListener("abort", stop);
  }
}

/** Longest sleep between two looks at whether it is time to ask for recalls. */
const SLICE = 10_000;

async function passing(
  clock: Clock,
  ms: number,
  signal: AbortSignal,
  recalls: RecallWatch | null,
): Promise<void> {
  for (let left = ms; ;) {
    recalls?.tick();
    const part = recalls === null ? left : Math.min(left, SLICE);
    await clock.sleep(part, signal);
    left -= part;
    if (left <= 0) return;
  }
}

/** Asks the health probe once. */
export async function probe(component: Component, id: SlotId, run: RunSpec): Promise<Observation> {
  const { world, product } = component;
  const { health } = run;
  const place = component.place(id);
  const env = await component.environmentOf(id, run);
  if (run.handOver?.ready === "notify" && !(await component.readiness.hasSaid(component.supervised)))
    return { kind: "sick", reason: "the program has not said READY=1" };
  switch (health?.kind) {
    case "http": {
      const timeout = health.timeoutSeconds * 1000;
      const by = component.supervised?.process.identity ?? null;
      const port = portOf(health, env, product);
      // Of two that accept from one socket, the answer of this one counts.
      const both = by !== null && (await component.company.list()).length > 0;
      const answer = both
        ? world.probes.httpOf(port, health.path, timeout, by)
        : world.probes.http(port, health.path, timeout, by);
      return readHttp(await answer);
    }
    case "command": {
      const [program, ...args] = health.command;
      const spec = {
        program: `${place.slot}/${program!}`,
        args,
        cwd: place.slot,
        env,
        ...asOf(place, component.settings),
      };
      return readCommand(await world.probes.command(spec, health.timeoutSeconds * 1000));
    }
    case "exit-code":
      // Only its end tells; until then nobody knows.
      return { kind: "unknown", reason: "the job has not ended yet" };
    default:
      return { kind: "well" };
  }
}
