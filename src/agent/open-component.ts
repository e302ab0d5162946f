// Opens a component's folder: whatever of its memory is damaged is put aside or blocks updates, and what was good goes on.

import { makeDirectories } from "../core/disk.ts";
import type { UpkeepError } from "../core/errors.ts";
import { SlotError } from "../slot/errors.ts";
import { makeComponent } from "../slot/install.ts";
import { openJournal } from "../slot/journal.ts";
import { layoutOf } from "../slot/layout.ts";
import { EMPTY_STATE, loadState } from "../slot/state.ts";
import { loadUninstalled } from "../slot/uninstalled.ts";
import { Component } from "./component.ts";
import { sentenceOf } from "./errors.ts";
import type { World } from "./ports.ts";
import type { ComponentSettings } from "./settings.ts";

/**
 * Opens the component's folder, making it if needed. A journal that cannot be read is put aside: the state and the pointer
 * say enough to go on with what was good. A state of which both copies are damaged blocks updates, since its floor is lost.
 * Errors: `disk/*`.
 */
export async function openComponent(
  world: World,
  folder: string,
  product: string,
  settings: ComponentSettings,
): Promise<Component> {
  const { disk } = world;
  const layout = layoutOf(folder);
  await makeComponent(disk, layout);
  await makeDirectories(disk, layout.locks);
  let damage: UpkeepError | null = null;
  const journal = await openJournal(disk, layout.journal).catch(async (error: unknown) => {
    if (!(error instanceof SlotError)) throw error;
    damage = error;
    world.log({ level: "error", event: "journal-damaged", product, message: sentenceOf(error) });
    await disk.rename(layout.journal, `${layout.journal}.damaged`);
    return openJournal(disk, layout.journal);
  });
  let blocked: UpkeepError | null = null;
  const state = await loadState(disk, layout).catch((error: unknown) => {
    if (!(error instanceof SlotError)) throw error;
    blocked = error;
    return EMPTY_STATE;
  });
  const component = new Component(world, product, layout, settings, journal, state);
  component.blocked = blocked;
  component.damage = damage;
  component.uninstalled = await loadUninstalled(disk, layout);
  if (state.committed === null && component.attempt === null && component.uninstalled === null) {
    // The memory is gone but not the pointer: what it names was running, and goes on running.
    const id = await component.currentId();
    if (id !== null) await component.adoptCommitted(id);
  }
  return component;
}
