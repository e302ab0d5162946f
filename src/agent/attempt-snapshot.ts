// The part of an attempt that keeps the component's data: looked at while it still runs, copied once it is stopped.

import { UpkeepError } from "../core/errors.ts";
import type { Attempt } from "../slot/attempt.ts";
import { readCurrent } from "../slot/install.ts";
import { linkTarget } from "../slot/layout.ts";
import { prepareSnapshot, takeSnapshot } from "../slot/snapshot.ts";
import type { Component } from "./component.ts";
import { AgentError } from "./errors.ts";

/** Why going back would leave the data as the new version made it. */
const LEFT = "Going back from this version would leave the data as it is then.";

export class AttemptSnapshot {
  readonly #component: Component;
  readonly #attempt: Attempt;

  constructor(component: Component, attempt: Attempt) {
    this.#component = component;
    this.#attempt = attempt;
  }

  /**
   * Says before anything is stopped what going back could not bring back, and takes no step for which there is no room.
   * Errors: `slot/data-not-kept`, `agent/no-space`, `disk/*`.
   */
  async prepare(): Promise<void> {
    if (!(await this.#isWanted())) return;
    const { world, layout, settings, product } = this.#component;
    const { attempt } = this.#attempt.begin;
    const found = await prepareSnapshot(world.disk, world.trees, layout, attempt, settings.snapshotBytes);
    const warn = (event: string, facts: { readonly [fact: string]: unknown }): void =>
      world.log({ level: "warn", event, product, ...facts });
    switch (found.kind) {
      case "nothing":
        return;
      case "ready":
        if (found.unseen !== null) warn("snapshot-incomplete", { message: found.unseen });
        return;
      case "too-large":
        return warn("snapshot-skipped", { limit: settings.snapshotBytes, bytes: found.bytes, message: LEFT });
      case "no-room":
        throw new AgentError(
          "agent/no-space",
          `A copy of the component's data needs ${found.needed} bytes on disk and ${found.free} are free; without it an update could not be taken back. It is tried again at the next check.`,
          { needed: found.needed, free: found.free },
          { hint: "Make room on the volume that holds the agent's data folder." },
        );
    }
  }

  /** Errors: `slot/data-not-kept`, `disk/*`. */
  async take(): Promise<void> {
    if (this.#attempt.snapshot !== null || !(await this.#isWanted())) return;
    const { world, layout, settings } = this.#component;
    const { attempt } = this.#attempt.begin;
    if ((await world.trees.survey(layout.data)).length <= 1) return;
    const bytes = await takeSnapshot(world.disk, world.trees, layout, attempt, settings.snapshotBytes);
    if (bytes !== null) return this.#component.note({ event: "snapshot", attempt, bytes });
    const facts = { limit: settings.snapshotBytes, message: LEFT };
    world.log({ level: "warn", event: "snapshot-skipped", product: this.#component.product, ...facts });
  }

  /** What a report of going back adds about the data; empty if it came back, or there was none. */
  async left(): Promise<string> {
    const { world, layout } = this.#component;
    if (this.#attempt.snapshot !== null || this.#attempt.starts === 0) return "";
    try {
      if ((await world.trees.survey(layout.data)).length <= 1) return "";
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
    }
    return " Its data was not copied before and is left as the new version made it.";
  }

  async #isWanted(): Promise<boolean> {
    const { world, layout, settings } = this.#component;
    const { begin } = this.#attempt;
    // The same version again changes no data. Data that an uninstall left is kept from a first version as well.
    if (begin.damage === "repair" || settings.snapshotBytes === 0) return false;
    return (await readCurrent(world.disk, layout)) !== linkTarget(begin.to);
  }
}
