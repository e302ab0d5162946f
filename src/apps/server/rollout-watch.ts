// The server's part in rollouts: looks at those under way, and starts, advances, halts and ends them by their rules.

import { setImmediate } from "node:timers/promises";
import type { Clock } from "../../core/clock.ts";
import { SECOND, type Instant } from "../../core/instant.ts";
import { liveness } from "../../fleet/liveness.ts";
import { dueEvent, takeDue, takeVerdict } from "../../fleet/rollout/follow.ts";
import { judge, placeDevices, tallyOf } from "../../fleet/rollout/judge.ts";
import { readRoster } from "../../fleet/rollout/roster.ts";
import { ROLLOUT_STATES, type RosterDevice, type Rollout } from "../../fleet/rollout-record.ts";
import type { FleetStore } from "../../fleet/store.ts";
import type { Log } from "../../io/system/log.ts";
import type { FleetView } from "./fleet-view.ts";
import type { Metrics } from "./metrics.ts";

/** A look at all devices of a rollout costs time that check-ins want: at most a twentieth of it goes there. */
const SHARE = 20;
const LEAST_PAUSE = SECOND;
/** Without any report, silence alone has to be noticed. */
const ANYWAY = 30 * SECOND;

export class RolloutWatch {
  readonly #parts: {
    readonly store: FleetStore;
    readonly view: FleetView;
    readonly clock: Clock;
    readonly log: Log;
    readonly metrics: Metrics;
  };
  #dirty = true;
  #looked = -Infinity;
  #cost = 0;

  constructor(parts: {
    readonly store: FleetStore;
    readonly view: FleetView;
    readonly clock: Clock;
    readonly log: Log;
    readonly metrics: Metrics;
  }) {
    this.#parts = parts;
  }

  /** Called at every look of the server. True when a rollout changed. Errors: `fleet/store-*`. */
  async look(always: boolean): Promise<boolean> {
    const { view, clock } = this.#parts;
    if (view.takeResultsCame() || always) this.#dirty = true;
    const now = clock.now();
    let changed = await this.#takeDue(now);
    const running = view.rollouts().filter(({ state }) => state === "running");
    const since = clock.monotonic() - this.#looked;
    const due = this.#dirty ? since >= Math.max(LEAST_PAUSE, this.#cost * SHARE) : since >= ANYWAY;
    if (running.length === 0 || !due) return changed;
    this.#dirty = false;
    const began = clock.monotonic();
    for (const rollout of running) if (await this.#judge(rollout, now)) changed = true;
    this.#looked = clock.monotonic();
    this.#cost = this.#looked - began;
    return changed;
  }

  async #takeDue(now: Instant): Promise<boolean> {
    const { view, store, log } = this.#parts;
    const isRecalled = (product: string, version: string): boolean =>
      view.catalogue.isRecalled?.(product, version) === true;
    let changed = false;
    for (const rollout of view.rollouts()) {
      const event = dueEvent(rollout, isRecalled, now);
      if (event === null) continue;
      const taken = await store.transaction((records) => takeDue(records, now, rollout.id, event));
      if (taken === null) continue;
      changed = true;
      log(event === "recall" ? "warn" : "info", `rollout/${taken.state}`, { rollout: taken.id });
    }
    return changed;
  }

  async #judge(rollout: Rollout, now: Instant): Promise<boolean> {
    const { view, store, log, metrics } = this.#parts;
    const away = (device: RosterDevice): boolean =>
      liveness(device, view.interval(device.group), now) === "dead";
    const source = { read: store.read.bind(store), breathe: () => setImmediate() };
    const placed = placeDevices(rollout, await readRoster(source, rollout), now, away);
    for (const [standing, count] of Object.entries(tallyOf(placed)))
      metrics.set("upkeep_rollout_devices", { rollout: rollout.id, standing }, count);
    const verdict = judge(rollout, placed, now);
    const { catalogue } = view;
    const taken = await store.transaction((records) =>
      takeVerdict(records, now, rollout, verdict, catalogue),
    );
    if (taken === null) return false;
    log(taken.state === "halted" ? "error" : "info", `rollout/${taken.state}`, {
      rollout: taken.id,
      phase: taken.phase + 1,
      ...(taken.halt === null ? {} : { ...taken.halt }),
    });
    return true;
  }
}

/** How many rollouts are in which state, of those that a server keeps in mind. */
export function countRollouts(rollouts: readonly Rollout[], metrics: Metrics): void {
  for (const state of ROLLOUT_STATES)
    if (state !== "done")
      metrics.set("upkeep_rollouts", { state }, rollouts.filter((one) => one.state === state).length);
}
