// What a component has outside of its own folder: commands for the users of the machine, and its link in the product that it augments.

import { exists, makeDirectories, parentOf, statOrNull } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import {
  collectCopies,
  lookAtNames,
  placesMade,
  publishCommands,
  withdrawCommands,
} from "../slot/command-folder.ts";
import { layoutOf, slotName, type SlotId } from "../slot/layout.ts";
import { namedSlots } from "../slot/state.ts";
import type { Component } from "./component.ts";
import { codeOf, sentenceOf } from "./errors.ts";
import type { RunSpec } from "./run-spec.ts";

/** Before anything is switched: whether the commands of this version could be made. Errors: `slot/command-taken`, `slot/commands-exposed`, `disk/*`. */
export async function lookOutside(component: Component, run: RunSpec): Promise<void> {
  const { world, settings, product } = component;
  if (run.component?.kind !== "command" || settings.commands === null) return;
  await lookAtNames(world.disk, settings.commands, product, run.component.programs);
}

/**
 * Makes what lies outside agree with the slot, or with nothing; may be repeated at any time. Errors: `slot/command-taken`,
 * `slot/commands-exposed`, `slot/damaged`, `disk/*`.
 */
export async function alignOutside(component: Component, id: SlotId | null): Promise<void> {
  const run = id === null ? null : await component.runOf(id);
  await alignCommands(component, id, run);
  await alignAddOn(component, run);
  component.outside = null;
}

/** The same where nothing may fail by it: it is shown in the status, and done again at the next check. Errors: those of defects only. */
export async function alignOutsideLater(component: Component): Promise<void> {
  try {
    await alignOutside(component, await component.currentId());
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    const [code, message] = [codeOf(error), sentenceOf(error)];
    if (component.outside?.code !== code)
      component.world.log({
        level: "error",
        event: "outside-not-aligned",
        product: component.product,
        code,
        message,
      });
    component.outside = { code, reason: message };
  }
}

async function alignCommands(component: Component, id: SlotId | null, run: RunSpec | null): Promise<void> {
  const { world, layout, settings, product } = component;
  const { disk } = world;
  const places = run?.component?.kind === "command" ? settings.commands : null;
  const made = await placesMade(disk, layout);
  if (made !== null && (made.folder !== places?.folder || made.store !== places.store))
    await withdrawCommands(disk, layout, made, product);
  if (places === null || id === null || run?.component?.kind !== "command") return;
  const slot = { id, digest: component.digestOf(id) };
  const name = slotName(id);
  const verify = component.copyVerified !== name;
  await publishCommands(disk, layout, places, product, slot, run.component.programs, verify);
  component.copyVerified = name;
  const kept = [
    ...namedSlots(component.state),
    ...(component.attempt === null ? [] : [component.attempt.begin.to]),
  ];
  await collectCopies(disk, places, product, new Set([name, ...kept.map(slotName)]));
}

/** The link leads to the add-on's own pointer: it changes with that, and is made and removed once. */
async function alignAddOn(component: Component, run: RunSpec | null): Promise<void> {
  const { world, layout, product } = component;
  const { disk } = world;
  const base = run?.component?.kind === "data" ? (run.component.extends ?? null) : null;
  const components = parentOf(layout.folder);
  const target = `../../${product}/current`;
  for (const other of await disk.list(components)) {
    const link = `${layoutOf(`${components}/${other}`).addons}/${product}`;
    if (other === base || !(await exists(disk, link))) continue;
    await disk.removeFile(link);
    await disk.syncDirectory(parentOf(link));
  }
  if (base === null) return;
  const { addons } = layoutOf(`${components}/${base}`);
  const link = `${addons}/${product}`;
  await makeDirectories(disk, addons);
  if ((await statOrNull(disk, link)) !== null) {
    if ((await disk.readLink(link)) === target) return;
    await disk.removeFile(link);
  }
  await disk.link(link, target);
  await disk.syncDirectory(addons);
}
