// What runs of a component beside the process that serves: the version before while a new one gets ready, and what was asked to leave.

import { UpkeepError } from "../core/errors.ts";
import { SECOND } from "../core/instant.ts";
import {
  findBeside,
  recordBeside,
  type Beside,
  type ProcessRoom,
  type Supervised,
} from "../process/component-process.ts";
import type { SlotId } from "../slot/layout.ts";
import { codeOf, sentenceOf } from "./errors.ts";
import type { World } from "./ports.ts";
import type { RunSpec } from "./run-spec.ts";
import type { ComponentSettings } from "./settings.ts";

/** Whose company it is. */
export interface Host {
  readonly world: World;
  readonly product: string;
  readonly processRoom: ProcessRoom;
  readonly settings: ComponentSettings;
  /** The slot of this name, by what is remembered. */
  knownSlot(name: string): SlotId | null;
  runOf(id: SlotId): Promise<RunSpec>;
}

export class Company {
  readonly #of: Host;
  /** Null until the record was read. */
  #known: readonly Beside[] | null = null;
  /** By token: what is under way until it is gone. */
  readonly #leaving = new Map<string, Promise<void>>();

  constructor(of: Host) {
    this.#of = of;
  }

  /** What still runs. */
  async list(): Promise<readonly Beside[]> {
    this.#known ??= await findBeside(this.#of.processRoom);
    const alive: Beside[] = [];
    for (const one of this.#known) if (await isAlive(one)) alive.push(one);
    return alive;
  }

  /** What runs and was not asked to leave. */
  async staying(): Promise<readonly Beside[]> {
    return (await this.list()).filter(({ leaving }) => !leaving);
  }

  /** Remembered on disk before the process that serves becomes another. Errors: `disk/*`. */
  async join(found: Supervised): Promise<void> {
    await this.#keep([...(await this.#others(found)), { ...found, leaving: false }]);
  }

  /** It serves now, or is gone. Errors: `disk/*`. */
  async part(found: Supervised): Promise<void> {
    await this.#keep(await this.#others(found));
  }

  /** What is beside the version that serves answers what it has begun, and ends. Nobody waits for it. */
  async letAllGo(): Promise<void> {
    for (const other of await this.list()) {
      const graceMs = await this.#drainOf(other);
      const { product, world } = this.#of;
      if (!other.leaving)
        world.log({ level: "info", event: "handed-over", product, left: other.slot, graceMs });
      await this.askToLeave(other, graceMs);
    }
  }

  /** By the release that leaves; the usual time to stop where that cannot be read. */
  async #drainOf({ slot }: Supervised): Promise<number> {
    const id = this.#of.knownSlot(slot);
    const { stopMs } = this.#of.settings;
    try {
      const run = id === null ? null : await this.#of.runOf(id);
      return run?.handOver === undefined ? stopMs : run.handOver.drainSeconds * SECOND;
    } catch (error) {
      if (error instanceof UpkeepError) return stopMs;
      throw error;
    }
  }

  /**
   * Asks it to end and gives it `graceMs` to answer what it has begun; nobody has to wait for it. That it leaves is written first, so that
   * the next agent does not take it for the version that serves.
   */
  async askToLeave(found: Beside, graceMs: number): Promise<void> {
    const { token } = found.process.identity;
    if (this.#leaving.has(token)) return;
    const others = await this.#others(found);
    await this.#keep([...others, { ...found, leaving: true }]).catch((error: unknown) =>
      this.#tell("beside-not-noted", error),
    );
    const gone = (found.leaving ? found.process.await(graceMs) : found.process.stop(graceMs))
      .then(() => this.part(found))
      .catch((error: unknown) => this.#tell("beside-not-ended", error))
      .finally(() => this.#leaving.delete(token));
    this.#leaving.set(token, gone);
  }

  /** Ends one of them and waits for it. Errors: `process/will-not-stop`, `disk/*`. */
  async dismiss(found: Supervised, graceMs: number): Promise<void> {
    await found.process.stop(graceMs);
    await this.part(found);
  }

  /** Ends all of them. Errors: `process/will-not-stop`. */
  async dismissAll(graceMs: number): Promise<void> {
    const end = ({ process, leaving }: Beside): Promise<void> =>
      leaving ? process.await(graceMs) : process.stop(graceMs);
    await Promise.all((await this.list()).map(end));
    await this.#keep([]).catch((error: unknown) => this.#tell("beside-not-noted", error));
  }

  /** Resolves when nobody is left of those who were asked to leave. */
  async alone(): Promise<void> {
    await Promise.all(this.#leaving.values());
  }

  async #others(than: Supervised): Promise<readonly Beside[]> {
    const { token } = than.process.identity;
    return (await this.list()).filter(({ process }) => process.identity.token !== token);
  }

  async #keep(next: readonly Beside[]): Promise<void> {
    this.#known = next;
    await recordBeside(this.#of.processRoom, next);
  }

  #tell(event: string, error: unknown): void {
    if (!(error instanceof UpkeepError)) throw error;
    const { world, product } = this.#of;
    world.log({ level: "warn", event, product, code: codeOf(error), message: sentenceOf(error) });
  }
}

/** True if the process has not ended; asks without waiting. */
export async function isAlive(found: Supervised): Promise<boolean> {
  const pending = Symbol("pending");
  const first = await Promise.race([found.process.exited, Promise.resolve(pending)]);
  return first === pending;
}
