// Uninstalls a component because its owner says so: what runs is stopped, what was installed is removed, and its data stays unless it is to go as well.

import { toHex } from "../core/bytes.ts";
import { exists, makeDirectories, removeTree } from "../core/disk.ts";
import type { Others } from "../release/select.ts";
import { removeSlot, switchCurrent } from "../slot/install.ts";
import { TEMPORARY } from "../slot/layout.ts";
import { saveUninstalled, type Uninstalled } from "../slot/uninstalled.ts";
import type { Trouble } from "./attempt-table.ts";
import type { Component } from "./component.ts";
import { AgentError } from "./errors.ts";
import { removeByHandler } from "./handler.ts";
import { alignOutside } from "./outside.ts";
import { isDamage } from "./slot-guard.ts";

/** What an uninstall needs of the agent. */
export type UninstallTools = {
  readonly others: () => Promise<Others>;
  /** Writes down that the owner asked for it. */
  readonly asked: (what: string) => Promise<void>;
  /** Finishes what an earlier run left, and ends the open attempt for this reason. */
  readonly settle: (why: Trouble) => Promise<void>;
};

/**
 * Decides, and carries it out; of a component that was uninstalled before it may remove the data. Errors: `agent/needed`,
 * `agent/interrupted`, `process/*`, `disk/*`.
 */
export async function uninstallComponent(
  component: Component,
  purge: boolean,
  tools: UninstallTools,
): Promise<void> {
  const { world, product, layout } = component;
  const known = component.uninstalled;
  if (known === null) refuseNeeded(product, await tools.others());
  if (known === null || (purge && !known.purge)) {
    await tools.asked(purge ? "uninstall with its data" : "uninstall");
    if (known === null) {
      const reason = `The owner of this device uninstalled ${product}.`;
      await tools.settle({ code: "agent/uninstalled", reason });
    }
    const decision: Uninstalled = {
      format: 1,
      id: known?.id ?? toHex(world.random.bytes(16)),
      at: known?.at ?? component.at(),
      version: known?.version ?? component.state.committed?.version ?? null,
      purge,
      done: false,
    };
    await saveUninstalled(world.disk, layout, decision);
    component.uninstalled = decision;
    world.log({ level: "warn", event: "uninstalling", product, version: decision.version, purge });
  }
  const { uninstalled } = component;
  if (uninstalled !== null && !uninstalled.done) await carryOutUninstall(component, uninstalled);
}

/** Refuses while other products that are installed need this one. Errors: `agent/needed`. */
function refuseNeeded(product: string, others: Others): void {
  const needed = [...others]
    .filter(([, { dependencies }]) => dependencies.some((one) => one.product === product))
    .map(([name]) => name);
  if (needed.length === 0) return;
  throw new AgentError(
    "agent/needed",
    `${product} is needed by ${needed.join(", ")}, which would not work without it.`,
    { product, by: needed.join(", ") },
    { hint: `Uninstall ${needed.join(" and ")} first.` },
  );
}

/**
 * Carries the decision out, from wherever an earlier run was stopped: it is on the disk already. Each step may be repeated, and what a later
 * step needs is removed after it. Errors: `process/*`, `disk/*`; then the next start goes on.
 */
export async function carryOutUninstall(component: Component, decision: Uninstalled): Promise<void> {
  const { world, layout } = component;
  const { disk } = world;
  await component.stop();
  const installed = await component.currentId();
  if (installed !== null)
    await removeByHandler(component, installed, decision.id).catch((error: unknown) => {
      // Of a damaged slot nobody knows what its handler did.
      if (!isDamage(error)) throw error;
    });
  await alignOutside(component, null);
  await switchCurrent(disk, layout, null);
  // The journal goes before the slots: no recovery looks for what is gone.
  await removeTree(disk, layout.journal);
  await disk.syncDirectory(layout.folder);
  if (component.blocked === null) await component.forgetInstalled();
  for (const name of await disk.list(layout.slots)) {
    if (name.startsWith(TEMPORARY)) await removeTree(disk, `${layout.slots}/${name}`);
    else await removeSlot(disk, layout, name);
  }
  await disk.syncDirectory(layout.slots);
  const { snapshots, aside, addons, handlerState, checked, handler } = layout;
  const gone = [snapshots, aside, addons, handlerState, checked, handler];
  if (decision.purge) gone.push(layout.data, layout.log, `${layout.log}.1`, `${layout.log}.2`, layout.ports);
  for (const path of gone) if (await exists(disk, path)) await removeTree(disk, path);
  await makeDirectories(disk, layout.data);
  await makeDirectories(disk, layout.snapshots);
  await disk.syncDirectory(layout.folder);
  await saveUninstalled(disk, layout, { ...decision, done: true });
}

/** Why nothing is installed of it. */
export function uninstalledSentence(product: string, { at, version, purge, done }: Uninstalled): string {
  const what = version === null ? "It" : version;
  const data = purge ? "its data was removed" : "its data is kept";
  const when = at.startsWith("1970") ? "" : ` at ${at}`;
  return `${what} was uninstalled by the owner of this device${when}, and ${data}${done ? "" : ", which is not finished yet"}. \`upkeep agent install ${product}\` takes that back.`;
}
