// Looks after what is installed on a device: tells of damage, has it repaired, reads everything back once a day and when somebody asks.

import { UpkeepError } from "../core/errors.ts";
import { slotName, type SlotId } from "../slot/layout.ts";
import type { Component } from "./component.ts";
import { sentenceOf } from "./errors.ts";
import { needsRepair, repairComponent, type Source } from "./repair-component.ts";
import { isDamage } from "./slot-guard.ts";
import type { ComponentResult, Update } from "./update-component.ts";

/** What caring needs of the agent. */
export interface Care {
  readonly components: readonly Component[];
  update(component: Component): Update;
  /** Trouble with one component does not stop the others. */
  guarded(product: string, action: () => Promise<void>): Promise<void>;
  /** Raised once per key until cleared. */
  alarm(key: string, code: string, reason: string, product: string): Promise<void>;
  clear(prefix: string): Promise<void>;
  /** Sends what waits for the server, if it can be reached. */
  flush(): Promise<void>;
}

/** Repairs what needs it; `source` is asked for only then. Errors: those of `source` that nobody foresaw. */
export async function repairAll(care: Care, source: () => Promise<Source>): Promise<ComponentResult[]> {
  const results: ComponentResult[] = [];
  let found: Source | null = null;
  for (const component of care.components) {
    await care.guarded(component.product, async () => {
      const update = care.update(component);
      if (!needsRepair(update) || update.signal.aborted) return;
      // Told before anything is tried, which may take long.
      if (found === null) {
        await tellDamage(care);
        await care.flush();
      }
      found ??= await source();
      const result = await repairComponent(update, found);
      if (result === null) return;
      const level = result.code === null ? "info" : "warn";
      component.world.log({ ...result, level, event: "repair" });
      results.push(result);
    });
  }
  return results;
}

/** An alarm for each damaged slot, once; over when another slot took its place. */
export async function tellDamage(care: Care): Promise<void> {
  for (const component of care.components) {
    const { product } = component;
    const { damage } = component.guard;
    if (damage === null) await care.clear(`damaged ${product} `);
    else {
      const rule = (await component.isUp())
        ? "What runs goes on until its replacement takes its place."
        : "It is not started.";
      const reason = `${damage.what ?? "The installed slot is damaged."} ${rule}`;
      await care.alarm(`damaged ${product} ${slotName(damage.slot)}`, "slot/damaged", reason, product);
    }
  }
}

/** What a check of one installed slot came to. */
export type SlotFinding = {
  readonly product: string;
  readonly version: string;
  readonly slot: string;
  /** Whether it is the version that should run; else one that is kept to go back to. */
  readonly current: boolean;
  readonly whole: boolean;
  /** What is wrong, in a sentence; null if nothing is. */
  readonly what: string | null;
  readonly files: number | null;
  readonly bytes: number | null;
  /** Entries that belong to no release; they are put aside when it starts again. */
  readonly added: readonly string[];
};

/** Reads back every byte of every installed slot, also of those that are kept to go back to. Errors: `disk/*`. */
export async function verifyAll(components: readonly Component[]): Promise<readonly SlotFinding[]> {
  const findings: SlotFinding[] = [];
  for (const component of components) {
    const { rightful } = component;
    if (rightful !== null) findings.push(await verifySlot(component, rightful, true));
    for (const id of component.state.good.toReversed()) findings.push(await verifySlot(component, id, false));
  }
  return findings;
}

async function verifySlot(component: Component, id: SlotId, current: boolean): Promise<SlotFinding> {
  const common = { product: component.product, version: id.version, slot: slotName(id), current };
  try {
    const { files, bytes, added } = await component.guard.readAll(id);
    return { ...common, whole: true, what: null, files, bytes, added };
  } catch (error) {
    if (!isDamage(error)) throw error;
    return { ...common, whole: false, what: sentenceOf(error), files: null, bytes: null, added: [] };
  }
}

/** The daily check of what should run, slowly, one component after the other. Ends early when the signal aborts. */
export async function patrol(components: readonly Component[], signal: AbortSignal): Promise<void> {
  for (const component of components) {
    const { rightful, guard } = component;
    if (signal.aborted || rightful === null || guard.damage !== null || component.owned) continue;
    try {
      if (await guard.isDue(rightful)) await guard.readAll(rightful, signal);
    } catch (error) {
      // Damage was told by the guard; a disk that cannot answer now is asked again.
      if (signal.aborted || isDamage(error)) continue;
      if (!(error instanceof UpkeepError)) throw error;
      const { product, world } = component;
      world.log({
        level: "warn",
        event: "check-not-done",
        product,
        code: error.code,
        message: sentenceOf(error),
      });
    }
  }
}
