// What really runs on this device, where it lies, and on what machine: the facts of an inventory report.

import { UpkeepError } from "../core/errors.ts";
import type { InventoryReport } from "../report/report.ts";
import { readRecord } from "../slot/record.ts";
import { namedSlots } from "../slot/state.ts";
import type { Component } from "./component.ts";
import type { World } from "./ports.ts";

export type InventoryFacts = Pick<InventoryReport, "components" | "platform" | "disk">;

/** At most as many as a report may have. */
const COMPONENTS = 64;
const SLOTS = 8;

export async function inventoryFacts(
  world: Pick<World, "platform" | "space">,
  folder: string,
  components: readonly Component[],
): Promise<InventoryFacts> {
  const told: InventoryReport["components"] = [];
  for (const component of components.slice(0, COMPONENTS)) told.push(await componentFacts(component));
  const { os, arch, libc, osVersion } = world.platform;
  const disk = (await world.space?.(folder)) ?? null;
  return {
    components: told,
    platform: { os, arch, ...(libc === null ? {} : { libc }), ...(osVersion === null ? {} : { osVersion }) },
    ...(disk === null ? {} : { disk: { ...disk } }),
  };
}

async function componentFacts(component: Component): Promise<InventoryReport["components"][number]> {
  const { product, state } = component;
  const current = await quietly(() => component.currentId());
  const running = await quietly(() => component.running());
  // A record that is damaged says nothing; what runs is told all the same.
  const record =
    current === null || running !== current.version
      ? null
      : await quietly(() =>
          readRecord(component.world.disk, component.layout, current, component.digestOf(current)),
        );
  const slots = namedSlots(state)
    .slice(-SLOTS)
    .map(({ version, sha256 }) => ({
      version,
      sha256,
      current: current !== null && current.version === version && current.sha256 === sha256,
    }));
  return {
    product,
    running,
    manifestSha256: record?.manifestSha256 ?? null,
    committed: state.committed?.version ?? null,
    floor: state.floor,
    slots,
  };
}

async function quietly<T>(look: () => Promise<T>): Promise<T | null> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    return null;
  }
}
