// The agent's life: check at the start, by schedule, at wake-ups; keep components running; stop in good order.

import { fraction } from "../core/random.ts";
import { UpkeepError } from "../core/errors.ts";
import type { Agent, Trigger } from "./agent.ts";
import type { CheckResult } from "./check-result.ts";
import { sentenceOf } from "./errors.ts";
import {
  beginWait,
  firstCheck,
  FULL_BUCKET,
  nextCheck,
  reconnectWait,
  remaining,
  SLICE,
  takeToken,
  type Wait,
} from "./policy.ts";
import { DEFAULT_INTERVAL, DEFAULT_START_SPREAD } from "./settings.ts";
import { waitSentence } from "./status.ts";

const TEND_EVERY = 1000;
/** How often it is looked whether a daily check of what is installed is due. */
const PATROL_EVERY = 60_000;

/**
 * Runs until `stop` aborts, then stops the agent and its components in good order; or until `leave` aborts, then everything that runs goes
 * on running for the agent that takes over. Errors: `disk/*` at the start.
 */
export async function runAgent(agent: Agent, stop: AbortSignal, leave?: AbortSignal): Promise<void> {
  const signal = leave === undefined ? stop : AbortSignal.any([stop, leave]);
  const bell = new Bell();
  const wakes = { seq: 0 };
  // Finishing what an earlier run left may take a whole probation: stopping does not wait for it.
  const started = agent.start();
  const all = started.then(() =>
    Promise.all([
      schedule(agent, bell, wakes, signal),
      listen(agent, bell, wakes, signal),
      tend(agent, bell, signal),
      patrol(agent, signal),
    ]),
  );
  await Promise.race([all, aborted(signal)]);
  if (stop.aborted || leave?.aborted !== true) await agent.stop();
  else {
    agent.interrupt();
    await agent.leave();
  }
  await all;
}

async function schedule(
  agent: Agent,
  bell: Bell,
  wakes: { seq: number },
  signal: AbortSignal,
): Promise<void> {
  const { world, settings } = agent.parts;
  let failures = 0;
  let interval = settings.interval ?? DEFAULT_INTERVAL;
  let last: CheckResult | null = null;
  let next: Wait = firstCheck(settings.startSpread ?? DEFAULT_START_SPREAD, fraction(world.random));
  let trigger: Trigger = "start";
  while (!signal.aborted) {
    const rung = await wait(agent, bell, next, last, signal);
    if (signal.aborted) return;
    const result: CheckResult = await agent.check(rung ? "wake-up" : trigger);
    trigger = "schedule";
    const well = result.failure === null && !(await agent.isCrippled());
    failures = well ? 0 : failures + 1;
    interval = settings.interval ?? result.interval ?? interval;
    if (result.seq !== null) wakes.seq = Math.max(wakes.seq, result.seq);
    last = result;
    const facts = { interval, failures, retryAfter: result.retryAfter, draw: fraction(world.random) };
    next = nextCheck(facts);
  }
}

/** Returns true if a wake-up ended the wait. */
async function wait(
  agent: Agent,
  bell: Bell,
  next: Wait,
  last: CheckResult | null,
  signal: AbortSignal,
): Promise<boolean> {
  const { clock } = agent.parts.world;
  const waiting = beginWait(next, clock.monotonic(), clock.now());
  const lastCheck =
    last === null
      ? null
      : {
          at: last.at,
          result: "failed" as const,
          // Without a failure of its own, a check comes sooner for one reason only.
          code: last.failure?.code ?? "slot/damaged",
          message: last.failure?.message ?? "What is installed is damaged and could not be replaced yet.",
        };
  agent.board.wait(waitSentence(next.reason, waiting.untilWall, lastCheck), waiting.untilWall);
  for (;;) {
    if (bell.taken()) return true;
    const left = remaining(waiting, clock.monotonic(), clock.now());
    if (left <= 0 || signal.aborted) return false;
    const timer = new AbortController();
    const stop = (): void => timer.abort(new Error("no longer needed"));
    signal.addEventListener("abort", stop, { once: true });
    const slept = clock.sleep(Math.min(left, SLICE), timer.signal).catch(() => undefined);
    await Promise.race([slept, bell.next()]);
    stop();
    signal.removeEventListener("abort", stop);
  }
}

/** Holds the wake-up stream. All that a wake-up can do is ring the bell, and that only so often. */
async function listen(agent: Agent, bell: Bell, wakes: { seq: number }, signal: AbortSignal): Promise<void> {
  const { world, server } = agent.parts;
  let bucket = FULL_BUCKET;
  let failures = 0;
  while (!signal.aborted) {
    try {
      for await (const wake of server.wakeUps(wakes.seq, signal)) {
        agent.board.wakeUps = "connected";
        failures = 0;
        // A number that was acted on already is an echo.
        if (wake.seq <= wakes.seq) continue;
        wakes.seq = wake.seq;
        const taken = takeToken(bucket, world.clock.monotonic());
        bucket = taken.bucket;
        if (taken.granted) {
          bell.ring();
          agent.nudge();
        } else world.log({ level: "warn", event: "wake-up-dropped", seq: wake.seq });
      }
    } catch (error) {
      if (signal.aborted) return;
      if (failures === 0 || !(error instanceof UpkeepError))
        world.log({ level: "warn", event: "wake-ups-lost", message: sentenceOf(error) });
    }
    agent.board.wakeUps = "disconnected";
    failures++;
    await world.clock.sleep(reconnectWait(failures, fraction(world.random)), signal).catch(() => undefined);
  }
}

async function tend(agent: Agent, bell: Bell, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // Damage is told and repaired by a check, which does not wait for its time then.
    if (agent.takeNews()) bell.ring();
    await agent.parts.world.clock.sleep(TEND_EVERY, signal).catch(() => undefined);
    if (!signal.aborted) await agent.tend();
  }
}

async function patrol(agent: Agent, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await agent.parts.world.clock.sleep(PATROL_EVERY, signal).catch(() => undefined);
    if (!signal.aborted) await agent.patrol();
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** Rung any number of times, heard once. */
class Bell {
  #rung = false;
  #listeners: (() => void)[] = [];

  ring(): void {
    this.#rung = true;
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of listeners) listener();
  }

  taken(): boolean {
    const rung = this.#rung;
    this.#rung = false;
    return rung;
  }

  next(): Promise<void> {
    return this.#rung ? Promise.resolve() : new Promise((resolve) => this.#listeners.push(resolve));
  }
}
