// How an agent learns of recalls outside of a check: beside a probation, which a check would have to wait for, and before going back by hand.

import { UpkeepError } from "../core/errors.ts";
import { SECOND } from "../core/instant.ts";
import { fraction } from "../core/random.ts";
import type { Trouble } from "./attempt-table.ts";
import { readRepository, type Instructions } from "./check.ts";
import { loadChannel } from "./load-channel.ts";
import { checkFailure } from "./check-result.ts";
import type { Component } from "./component.ts";
import { AgentError, sentenceOf } from "./errors.ts";
import { heedChannel, recallTroubleBy } from "./heed-recalls.ts";
import { nextCheck } from "./policy.ts";
import type { Repository, World } from "./ports.ts";
import { RecallWatch } from "./recall-watch.ts";
import { DEFAULT_INTERVAL, type Settings } from "./settings.ts";

/** How long a roll back by hand waits for news. */
const NEWS_WAIT = 5 * SECOND;

export type Inquirer = {
  readonly world: World;
  readonly repository: Repository;
  readonly settings: Settings;
  readonly stopped: AbortSignal;
  /** Asks repository and server as a check does. */
  readonly ask: (signal: AbortSignal) => Promise<Instructions>;
};

export class Recalls {
  readonly #by: Inquirer;
  #trial: RecallWatch | null = null;
  #news = false;
  /** Seconds between checks as the server asked for last; null before it did. */
  interval: number | null = null;

  constructor(by: Inquirer) {
    this.#by = by;
  }

  /** There may be news that a probation under way should know of. */
  nudge(): void {
    this.#trial?.nudge();
  }

  /** True once after a probation was ended: a check should follow at once, for the channel says where to go instead. */
  takeNews(): boolean {
    const news = this.#news;
    this.#news = false;
    return news;
  }

  /** For one probation; at the rhythm of checks. */
  watch(component: Component): RecallWatch {
    const { world, settings } = this.#by;
    const interval = settings.interval ?? this.interval ?? DEFAULT_INTERVAL;
    const { ms } = nextCheck({ interval, failures: 0, retryAfter: null, draw: fraction(world.random) });
    this.#trial = new RecallWatch(world.clock, ms, async (signal) => {
      try {
        const trouble = await this.#ask(component, signal);
        if (trouble !== null) this.#news = true;
        return trouble;
      } catch (error) {
        // Who cannot be asked now is asked again; the probation goes on.
        if (!signal.aborted) checkFailure(error, world.log);
        return null;
      }
    });
    return this.#trial;
  }

  /** A whole question, so that the server sees what runs; of the answer only the signed channel is heeded. */
  async #ask(component: Component, signal: AbortSignal): Promise<Trouble | null> {
    const { channel } = component.state;
    if (channel === undefined) return null;
    const instructions = await this.#by.ask(AbortSignal.any([signal, this.#by.stopped]));
    const pointer = await loadChannel(instructions, component.product, channel.name);
    if (signal.aborted) return null;
    await heedChannel(component, pointer);
    return recallTroubleBy(component, pointer);
  }

  /** What was recalled since the last check, if that can be had soon; else what is remembered holds. Errors: `disk/*`. */
  async learn(component: Component): Promise<void> {
    const { world, repository, stopped } = this.#by;
    const { product, state } = component;
    if (state.channel === undefined) return;
    const enough = new AbortController();
    const late = world.clock.sleep(NEWS_WAIT, enough.signal).then(
      () => enough.abort(new AgentError("agent/interrupted", "The repository did not answer in time.", {})),
      () => undefined,
    );
    try {
      const signal = AbortSignal.any([enough.signal, stopped]);
      const read = await readRepository({ world, repository, signal });
      await heedChannel(component, await loadChannel(read, product, state.channel.name));
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      const { code } = error;
      world.log({ level: "warn", event: "recalls-not-read", product, code, message: sentenceOf(error) });
    } finally {
      enough.abort(new Error("no longer needed"));
      await late;
    }
  }
}
