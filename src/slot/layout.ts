// Where things are in a component's folder, and how a slot is named.

import { sha256Schema, versionSchema, z } from "../core/schema.ts";

/** Which bytes a slot holds: the version and the SHA-256 of the artifact it was made from. */
export const slotIdSchema = z.strictObject({
  version: versionSchema,
  sha256: sha256Schema,
  /** Counts the replacements of damaged slots with the same bytes, each in a place of its own. Absent in the first slot. */
  copy: z.exactOptional(z.number().check(z.int(), z.minimum(1), z.maximum(1_000_000))),
});
export type SlotId = z.infer<typeof slotIdSchema>;

/** 32 hex digits keep names short; the journal and the slot's record hold the whole digest. */
export function slotName(id: SlotId): string {
  const copy = id.copy === undefined ? "" : `-r${id.copy}`;
  return `${id.version}-${id.sha256.slice(0, 32)}${copy}`;
}

/** The same place on this disk. */
export function sameSlot(a: SlotId | null, b: SlotId | null): boolean {
  return a === b || (a !== null && b !== null && sameBytes(a, b) && a.copy === b.copy);
}

/** The same version of the same artifact, in whichever place. */
export function sameBytes(
  a: Pick<SlotId, "version" | "sha256">,
  b: Pick<SlotId, "version" | "sha256">,
): boolean {
  return a.version === b.version && a.sha256 === b.sha256;
}

/** The place for the replacement of a damaged slot: never that of the damaged one. */
export function nextCopy(id: SlotId): SlotId {
  return { ...id, copy: (id.copy ?? 0) + 1 };
}

/** All paths of one component; `folder` is `components/<product>`. */
export type Layout = {
  readonly folder: string;
  readonly slots: string;
  readonly current: string;
  readonly journal: string;
  readonly state: string;
  readonly stateCopy: string;
  readonly data: string;
  readonly snapshots: string;
  readonly process: string;
  /** What runs beside it during a hand-over. */
  readonly beside: string;
  /** Where programs say that they serve. */
  readonly ready: string;
  /** Ports that the agent gave, to give the same again. */
  readonly ports: string;
  /** Files by which an application says "not now". */
  readonly locks: string;
  readonly checked: string;
  readonly log: string;
  /** Where the commands of the component were made. */
  readonly commands: string;
  /** Links to the products that augment the data of this one, each under its product's name. */
  readonly addons: string;
  /** The handler that runs for this component. */
  readonly handler: string;
  /** What a handler notes about this component. */
  readonly handlerState: string;
  /** The owner's decision to uninstall it. */
  readonly uninstalled: string;
  /** What was found in a slot and belongs to no release; of the last time only. */
  readonly aside: string;
};

export function layoutOf(folder: string): Layout {
  return {
    folder,
    slots: `${folder}/slots`,
    current: `${folder}/current`,
    journal: `${folder}/journal`,
    state: `${folder}/state.json`,
    stateCopy: `${folder}/state.copy.json`,
    data: `${folder}/data`,
    snapshots: `${folder}/snapshots`,
    process: `${folder}/process.json`,
    beside: `${folder}/process.beside.json`,
    ready: `${folder}/ready`,
    ports: `${folder}/ports.json`,
    locks: `${folder}/locks`,
    checked: `${folder}/checked.json`,
    log: `${folder}/output.log`,
    commands: `${folder}/commands.json`,
    addons: `${folder}/addons`,
    handler: `${folder}/handler.json`,
    handlerState: `${folder}/handler`,
    uninstalled: `${folder}/uninstalled.json`,
    aside: `${folder}/aside`,
  };
}

/** A slot being made; whatever has such a name is waste after a crash. */
export const TEMPORARY = ".tmp-";

export function slotPath(layout: Layout, id: SlotId): string {
  return `${layout.slots}/${slotName(id)}`;
}

/** What `current` holds: relative, so that a data folder may be moved. */
export function linkTarget(id: SlotId): string {
  return `slots/${slotName(id)}`;
}
