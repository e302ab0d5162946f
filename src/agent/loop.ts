// The agent's life: check at the start, by schedule, at wake-ups; keep components running; stop in good order.

import { fraction } from "../core/random.ts";
import { UpkeepError } from "../core/errors.ts";
import type { Agent, Trigger } from "./agent.ts";
import type { CheckResult } from "./check-result.ts";
import { sentenceOf } from "./errors.ts";
import {
  beginWait,
  firstCheck,
  nextCheck,
  reconnectWait,
  remaining,
  SLICE,
  sooner,
  type Wait,
} from "./policy.ts";
import { DEFAULT_INTERVAL, DEFAULT_START_SPREAD } from "./settings.ts";
import { waitSentence } from "./status.ts";
import { emptyDropFolder } from "./drop-folder.ts";
import { CATCH_UP, loadWakeUps, saveWakeUps, type WakeUps } from "./wake-ups.ts";

const TEND_EVERY = 1000;
/** How often it is looked whether an update that waits has its turn: deadlines are kept to the minute. */
const ATTEND_EVERY = 5000;
/** How often it is looked whether a daily check of what is installed is due. */
const PATROL_EVERY = 60_000;
const REPORT_DROPPED_EVERY = 60_000;
/** How often it is looked whether somebody put a message into the drop folder. */
const LOOK_FOR_MAIL_EVERY = 5_000;
/** Of those looks, which one also follows what waits and tells what was dropped: once in half a minute. */
const ROUND_EVERY = 6;

/** What checking by schedule and by wake-up needs of an agent. */
export type Checking = Pick<Agent, "parts" | "board" | "check" | "isCrippled" | "nudge"> & {
  readonly post?: Agent["post"];
};

/**
 * Runs until `stop` aborts, then stops the agent and its components in good order; or until `leave` aborts, then everything that runs goes
 * on running for the agent that takes over. Errors: `disk/*` at the start.
 */
export async function runAgent(agent: Agent, stop: AbortSignal, leave?: AbortSignal): Promise<void> {
  const signal = leave === undefined ? stop : AbortSignal.any([stop, leave]);
  const bell = new Bell();
  // Finishing what an earlier run left may take a whole probation: stopping does not wait for it.
  const started = agent.start();
  const all = started.then(() =>
    Promise.all([
      keepChecking(agent, signal, bell),
      tend(agent, bell, signal),
      patrol(agent, signal),
      attend(agent, signal),
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

/** Checks by schedule and at wake-ups until `signal` aborts. Errors: `disk/*` at the start. */
export async function keepChecking(
  agent: Checking,
  signal: AbortSignal,
  bell: Bell = new Bell(),
): Promise<void> {
  const wakes = await loadWakeUps(agent.parts.world.disk, agent.parts.folder);
  await agent.post?.attach(bell);
  await Promise.all([
    schedule(agent, bell, wakes, signal),
    listen(agent, bell, wakes, signal),
    reportDropped(agent, wakes, signal),
    lookAfterPost(agent, signal),
  ]);
}

/** A flood of wake-ups is one line a minute. */
async function reportDropped(agent: Checking, wakes: WakeUps, signal: AbortSignal): Promise<void> {
  const { clock, log } = agent.parts.world;
  while (!signal.aborted) {
    await clock.sleep(REPORT_DROPPED_EVERY, signal).catch(() => undefined);
    const count = wakes.takeDropped();
    if (count > 0) log({ level: "warn", event: "wake-ups-dropped", count });
  }
}

/** What messages wait for may come at any time, and a folder is a way for them as good as a connection. */
async function lookAfterPost({ parts, post }: Checking, signal: AbortSignal): Promise<void> {
  const { world, folder } = parts;
  if (post === undefined || post === null) return;
  for (let looks = 0; !signal.aborted; looks++) {
    await world.clock.sleep(LOOK_FOR_MAIL_EVERY, signal).catch(() => undefined);
    if (signal.aborted) break;
    await emptyDropFolder(world, folder, (bytes) => post.deliver(bytes, false));
    if (looks % ROUND_EVERY === ROUND_EVERY - 1) await post.round();
  }
  await post.round();
}

async function schedule(agent: Checking, bell: Bell, wakes: WakeUps, signal: AbortSignal): Promise<void> {
  const { world, settings } = agent.parts;
  let failures = 0;
  let interval = settings.interval ?? DEFAULT_INTERVAL;
  let last: CheckResult | null = null;
  let next: Wait = firstCheck(settings.startSpread ?? DEFAULT_START_SPREAD, fraction(world.random));
  let trigger: Trigger = "start";
  while (!signal.aborted) {
    const rung = await wait(agent, bell, next, last, interval, signal);
    if (signal.aborted) return;
    wakes.checking();
    const result: CheckResult = await agent.check(rung ? "wake-up" : trigger);
    trigger = "schedule";
    const well = result.failure === null && !(await agent.isCrippled());
    failures = well ? 0 : failures + 1;
    interval = settings.interval ?? result.interval ?? interval;
    if (result.seq !== null) await acknowledge(agent, wakes, result.seq);
    last = result;
    const facts = { interval, failures, retryAfter: result.retryAfter, draw: fraction(world.random) };
    next = nextCheck(facts);
  }
}

/** Notes up to which wake-up this device has checked. A disk that cannot take it costs one early check after the next start. */
async function acknowledge(agent: Checking, wakes: WakeUps, seq: number): Promise<void> {
  const { world, folder } = agent.parts;
  const before = wakes.seq;
  wakes.answered(seq);
  if (wakes.seq === before && seq === before) return;
  try {
    await saveWakeUps(world.disk, folder, wakes);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    world.log({ level: "warn", event: "wake-up-not-kept", code: error.code, message: sentenceOf(error) });
  }
}

/** Returns true if a wake-up ended the wait. */
async function wait(
  agent: Checking,
  bell: Bell,
  next: Wait,
  last: CheckResult | null,
  interval: number,
  signal: AbortSignal,
): Promise<boolean> {
  const { clock, random } = agent.parts.world;
  let waiting = beginWait(next, clock.monotonic(), clock.now());
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
  const show = (): void =>
    agent.board.wait(waitSentence(waiting.reason, waiting.untilWall, lastCheck), waiting.untilWall);
  show();
  for (;;) {
    if (bell.taken()) return true;
    const within = bell.spreadTaken();
    if (within !== null) {
      const { seconds } = within;
      const draw = fraction(random);
      waiting = sooner(waiting, seconds ?? interval, draw, clock.monotonic(), clock.now());
      show();
    }
    const left = remaining(waiting, clock.monotonic(), clock.now());
    if (left <= 0 || signal.aborted) return waiting.reason === "missed-wake-up";
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
async function listen(agent: Checking, bell: Bell, wakes: WakeUps, signal: AbortSignal): Promise<void> {
  const { world, server } = agent.parts;
  let failures = 0;
  while (!signal.aborted) {
    let opened: number | null = world.clock.monotonic();
    try {
      const post = agent.post ?? null;
      for await (const wake of server.wakeUps(wakes.seq, signal, post?.mailbox.newest ?? null)) {
        agent.board.wakeUps = "connected";
        failures = 0;
        if (wake.type === "sealed") {
          const crowd = opened !== null && world.clock.monotonic() - opened < CATCH_UP;
          // Only the first one can be what everybody missed; those behind it were made while this device listened.
          opened = null;
          await post?.deliver(wake.bytes, crowd);
          continue;
        }
        // Where messages are signed, a number that nobody signed is nothing; the schedule asks all the same.
        if (post?.mailbox.wantsSealed === true) {
          post.mailbox.unsealed();
          continue;
        }
        const verdict = wakes.take(wake.seq, world.clock.monotonic(), opened);
        opened = null;
        if (verdict !== "dropped") world.log({ level: "debug", event: "wake-up", seq: wake.seq, verdict });
        if (verdict === "ring") {
          bell.ring();
          agent.nudge();
        }
        if (verdict === "catch-up") bell.spread(null);
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

async function attend(agent: Agent, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await agent.parts.world.clock.sleep(ATTEND_EVERY, signal).catch(() => undefined);
    if (!signal.aborted) await agent.attend();
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
export class Bell {
  #rung = false;
  #spread: { readonly seconds: number | null } | null = null;
  #listeners: (() => void)[] = [];

  ring(): void {
    this.#rung = true;
    this.#call();
  }

  /** Check earlier than planned, but not at once: within so many seconds; null: within an interval. */
  spread(seconds: number | null): void {
    const sooner = this.#spread?.seconds ?? Infinity;
    this.#spread = seconds !== null && seconds < sooner ? { seconds } : (this.#spread ?? { seconds });
    this.#call();
  }

  #call(): void {
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of listeners) listener();
  }

  taken(): boolean {
    const rung = this.#rung;
    this.#rung = false;
    return rung;
  }

  spreadTaken(): { readonly seconds: number | null } | null {
    const spread = this.#spread;
    this.#spread = null;
    return spread;
  }

  next(): Promise<void> {
    return this.#rung || this.#spread !== null
      ? Promise.resolve()
      : new Promise((resolve) => this.#listeners.push(resolve));
  }
}
