// The hand-over of a service: the new version starts beside the one before, which ends once the new one serves; and the same way back.

import type { Supervised } from "../process/component-process.ts";
import type { Attempt } from "../slot/attempt.ts";
import { slotName, type SlotId } from "../slot/layout.ts";
import { isAlive } from "./company.ts";
import type { Component } from "./component.ts";
import { isService, type RunSpec } from "./run-spec.ts";
import { isDamage } from "./slot-guard.ts";

/**
 * Whether the switch of the attempt is a hand-over: both versions say that they may run beside each other, and the one before runs. Decided
 * from what is there at each step, so that after a kill the same is found again, or what became of it.
 */
export async function handsOver(component: Component, attempt: Attempt): Promise<boolean> {
  const { from } = attempt.begin;
  return from !== null && (await maySwap(component, attempt)) && (await findFrom(component, from)) !== null;
}

/** Both versions allow it, and the data is one that both have written. A copy of it is of a version that ran alone. */
async function maySwap(component: Component, { begin, snapshot }: Attempt): Promise<boolean> {
  const { from, to, damage } = begin;
  if (from === null || damage === "repair" || snapshot !== null) return false;
  return (await hasHandOver(component, from)) && (await hasHandOver(component, to));
}

async function hasHandOver(component: Component, id: SlotId): Promise<boolean> {
  try {
    const run = await component.runOf(id);
    return isService(run) && run.handOver !== undefined;
  } catch (error) {
    if (isDamage(error)) return false;
    throw error;
  }
}

/** The running process of the slot, if it was not asked to leave. */
async function findFrom(component: Component, id: SlotId): Promise<Supervised | null> {
  await component.noticeRunning();
  const all = [component.supervised, ...(await component.company.staying())];
  for (const one of all) if (one !== null && one.slot === slotName(id) && (await isAlive(one))) return one;
  return null;
}

/** Starts the version beside what serves, which goes on. Errors: as those of a start, and `disk/*` if it could not be remembered. */
export async function startBeside(component: Component, id: SlotId, run: RunSpec): Promise<void> {
  await component.startBeside(id, run);
  const { product, world } = component;
  world.log({ level: "info", event: "started-beside", product, version: id.version });
}

/**
 * What going back stops. If the version before still serves, only the new one is taken away. If it was let go already, the new one serves
 * until the one before was started beside it. Else everything stops, as without a hand-over.
 */
export async function stopForTheWayBack(component: Component, attempt: Attempt): Promise<void> {
  const { from, to } = attempt.begin;
  if (from === null || !(await maySwap(component, attempt))) return component.stop();
  const before = await findFrom(component, from);
  if (before !== null) return component.goOnWith(before);
  if ((await findFrom(component, to)) === null) return component.stop();
}

/** Whether the version before is started beside what serves, on the way back. */
export async function handsBack(component: Component, attempt: Attempt): Promise<boolean> {
  return (await maySwap(component, attempt)) && (await findFrom(component, attempt.begin.to)) !== null;
}
