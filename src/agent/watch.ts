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
import type { SlotId } from "../slot/layout.ts";
import type { Component } from "./component.ts";
import { portOf, type RunSpec } from "./run-spec.ts";

const RESTART_PAUSE = 1000;
const STARTING_INTERVAL = 500;

export type FinalVerdict = Exclude<Verdict, { kind: "watch" | "restart" }>;

/**
 * Watches what was just started (or adopted) by the rules until it is well or has failed. `beforeRestart` is told before the program
 * is started again, so that the journal counts it. Rejects with the signal's reason when aborted.
 */
export async function watch(
  component: Component,
  id: SlotId,
  run: RunSpec,
  rules: ProbationRules,
  beforeRestart: () => Promise<void>,
  signal: AbortSignal,
): Promise<FinalVerdict> {
  const { clock } = component.world;
  let state: Probation = beginProbation(clock.monotonic());
  if (run.health === undefined) return { kind: "well" };
  for (;;) {
    const pause = pauseBefore(state, clock.monotonic(), rules);
    const seen = await look(component, id, run, pause, signal);
    const [next, verdict] = observe(state, seen, clock.monotonic(), rules);
    state = next;
    if (verdict.kind === "restart") {
      await clock.sleep(RESTART_PAUSE, signal);
      await beforeRestart();
      await component.start(id, run);
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
): Promise<Observation> {
  const { clock } = component.world;
  const ended = component.supervised?.process.exited.then(readExit) ?? null;
  const timer = new AbortController();
  const stop = (): void => timer.abort(signal.reason);
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  try {
    const pause = clock.sleep(pauseMs, timer.signal).then(() => null);
    // Whoever loses the race is not waited for, and must not complain to nobody.
    pause.catch(() => undefined);
    const first = await (ended === null ? pause : Promise.race([ended, pause]));
    if (first !== null) return first;
    const asked = probe(component, id, run);
    return await (ended === null ? asked : Promise.race([ended, asked]));
  } finally {
    timer.abort(new Error("no longer needed"));
    signal.removeEventListener("abort", stop);
  }
}

/** Asks the health probe once. */
export async function probe(component: Component, id: SlotId, run: RunSpec): Promise<Observation> {
  const { world, product } = component;
  const { health } = run;
  const place = component.place(id);
  const env = await component.environmentOf(id, run);
  switch (health?.kind) {
    case "http": {
      const timeout = health.timeoutSeconds * 1000;
      const by = component.supervised?.process.identity ?? null;
      return readHttp(await world.probes.http(portOf(health, env, product), health.path, timeout, by));
    }
    case "command": {
      const [program, ...args] = health.command;
      const spec = { program: `${place.slot}/${program!}`, args, cwd: place.slot, env };
      return readCommand(await world.probes.command(spec, health.timeoutSeconds * 1000));
    }
    case "exit-code":
      // Only its end tells; until then nobody knows.
      return { kind: "unknown", reason: "the job has not ended yet" };
    default:
      return { kind: "well" };
  }
}
