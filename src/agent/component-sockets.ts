// The sockets that a component is reached at: held by the agent for as long as a version uses them, over the lives of agents and versions.

import type { Supervised } from "../process/component-process.ts";
import { ProcessError } from "../process/errors.ts";
import type { InheritedSocket } from "../process/ports.ts";
import type { World } from "./ports.ts";
import { socketsOf, type RunSpec, type WantedSocket } from "./run-spec.ts";
import type { ComponentSettings } from "./settings.ts";

/** Whose sockets they are. */
export interface Reached {
  readonly world: World;
  readonly product: string;
  readonly layout: { readonly folder: string };
  readonly settings: ComponentSettings;
}

export class ComponentSockets {
  readonly #of: Reached;
  /** Those of what serves. */
  #used: readonly WantedSocket[] = [];

  constructor(of: Reached) {
    this.#of = of;
  }

  /** What the version inherits. `from`: what runs and may hold them since an earlier agent. Errors: `process/port-taken`, `process/no-socket`. */
  async hold(run: RunSpec, from: Supervised | null): Promise<readonly InheritedSocket[]> {
    const { world, layout, settings } = this.#of;
    const wanted = socketsOf(run, settings);
    const out: InheritedSocket[] = [];
    for (const { name, place } of wanted) {
      const by = from?.process.identity ?? null;
      out.push({ name, descriptor: await world.sockets.hold(layout.folder, place, by) });
    }
    this.#used = wanted;
    return out;
  }

  /** Of a program that runs: it is left alone whatever comes of it, for its sockets are its own as long as it lives. */
  async regain(run: RunSpec, found: Supervised): Promise<void> {
    try {
      await this.hold(run, found);
    } catch (error) {
      if (!(error instanceof ProcessError)) throw error;
      const { code, message } = error;
      const { product, world } = this.#of;
      world.log({ level: "warn", event: "sockets-not-held", product, code, message });
    }
  }

  /** Closes those of versions that are gone. */
  closeUnused(): Promise<void> {
    const { world, layout } = this.#of;
    const places = this.#used.map(({ place }) => place);
    return world.sockets.keepOnly(layout.folder, places);
  }

  /** For a component of which nothing is to run. */
  async closeAll(): Promise<void> {
    this.#used = [];
    await this.closeUnused();
  }
}
