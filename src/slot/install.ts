// The steps that change a component's folder: stage a slot, switch the pointer, take slots away. Each is durable when it returns, and may be repeated.

import { createHash } from "node:crypto";
import { sha256Hex } from "../core/digest.ts";
import { exists, makeDirectories, removeTree, statOrNull, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import type { Json } from "../core/json.ts";
import type { UnpackLimits } from "./entry-path.ts";
import { SlotError } from "./errors.ts";
import { linkTarget, slotName, slotPath, TEMPORARY, type Layout, type SlotId } from "./layout.ts";
import { readFile } from "./read-file.ts";
import { checkInstalled, checkSlot } from "./check-slot.ts";
import { removeDiscarded } from "./snapshot.ts";
import { RECORD_NAME, recordDigest, writeRecord, type SlotRecord } from "./record.ts";
import { entriesOf, unpack, type UnpackFormat, type ZipReader } from "./unpack.ts";

export async function makeComponent(disk: Disk, layout: Layout): Promise<void> {
  await makeDirectories(disk, layout.slots);
  await makeDirectories(disk, layout.data);
  await makeDirectories(disk, layout.snapshots);
}

export type StageInput = {
  readonly product: string;
  readonly id: SlotId;
  /** The verified artifact. */
  readonly artifact: string;
  readonly artifactLength: number;
  readonly format: UnpackFormat;
  readonly limits: UnpackLimits;
  readonly manifestSha256: string;
  readonly run: Json;
  /** A path that must be an executable or plain file of the slot, or null. */
  readonly entry: string | null;
  /** Further paths that must be files or links of the slot: what is called or handed over. */
  readonly named?: readonly string[];
};

/**
 * Makes the slot: unpacks beside it, reads everything back, then gives it its name. What an earlier try left is used if it is whole.
 * Returns the SHA-256 of its record.
 * Errors: `slot/*`, `disk/*`.
 */
export async function stage(disk: Disk, layout: Layout, input: StageInput, zip: ZipReader): Promise<string> {
  const path = slotPath(layout, input.id);
  const beside = `${layout.slots}/${TEMPORARY}${slotName(input.id)}`;
  await removeTree(disk, beside);
  if (await slotIsWhole(disk, layout, input.id)) {
    // Found, not made: its name may not be durable yet.
    await disk.syncDirectory(layout.slots);
    return recordDigest(disk, layout, input.id);
  }
  await removeSlot(disk, layout, slotName(input.id));
  await disk.makeDirectory(beside);
  const hash = createHash("sha256");
  const entries = entriesOf(disk, input.artifact, input.format, zip, (part) => hash.update(part));
  const files = await unpack(disk, beside, entries, input.limits);
  // The bytes that were applied are the bytes that were verified: hashed on their way, not before.
  if (input.format.kind === "zip") for await (const part of readFile(disk, input.artifact)) hash.update(part);
  const sha256 = hash.digest("hex");
  if (sha256 !== input.id.sha256) {
    throw new SlotError(
      "slot/wrong-bytes",
      "The artifact changed between its verification and its installation: either you are under attack, or the disk is failing.",
      { expected: input.id.sha256, found: sha256 },
    );
  }
  const kinds = new Map(files.map((file) => [file.path, file.kind]));
  for (const entry of [...(input.entry === null ? [] : [input.entry]), ...(input.named ?? [])]) {
    const kind = kinds.get(entry);
    if (kind === "file" || (kind === "link" && entry !== input.entry)) continue;
    throw new SlotError(
      "slot/entry-missing",
      `The artifact holds no file ${JSON.stringify(entry)}, which the release names.`,
      { entry },
    );
  }
  const record: SlotRecord = {
    format: 1,
    product: input.product,
    id: input.id,
    artifactLength: input.artifactLength,
    manifestSha256: input.manifestSha256,
    run: input.run,
    files: [...files],
  };
  const bytes = writeRecord(record);
  const file = await disk.open(`${beside}/${RECORD_NAME}`, "create", 0o444);
  try {
    await file.write(0, bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.syncDirectory(beside);
  // Wall against a disk that does not keep what it was given, and against whoever changed it meanwhile.
  await checkSlot(disk, beside, files, { exact: true });
  await disk.rename(beside, path);
  await disk.syncDirectory(layout.slots);
  return sha256Hex(bytes);
}

/** True if the slot has its name and every byte of its record, which has `digest` if that is known. Errors of the disk itself are thrown. */
export async function slotIsWhole(
  disk: Disk,
  layout: Layout,
  id: SlotId,
  digest: string | null = null,
): Promise<boolean> {
  try {
    await checkInstalled(disk, layout, id, digest);
    return true;
  } catch (error) {
    if (error instanceof SlotError) return false;
    throw error;
  }
}

/** Lets `current` point to the slot, or to nothing. Old or new at every instant. */
export async function switchCurrent(disk: Disk, layout: Layout, id: SlotId | null): Promise<void> {
  if (id === null) {
    if (await exists(disk, layout.current)) await disk.removeFile(layout.current);
  } else {
    const beside = `${layout.current}.tmp`;
    if (await exists(disk, beside)) await disk.removeFile(beside);
    await disk.link(beside, linkTarget(id));
    await disk.rename(beside, layout.current);
  }
  await disk.syncDirectory(layout.folder);
}

/** What `current` holds, or null if there is none. */
export async function readCurrent(disk: Disk, layout: Layout): Promise<string | null> {
  const found = await statOrNull(disk, layout.current);
  if (found === null) return null;
  return found.kind === "link" ? disk.readLink(layout.current) : "";
}

/** Takes the name away first, so that a half-removed slot is never mistaken for one. */
export async function removeSlot(disk: Disk, layout: Layout, name: string): Promise<void> {
  const path = `${layout.slots}/${name}`;
  if (!(await exists(disk, path))) return;
  const beside = `${layout.slots}/${TEMPORARY}removed-${name}`;
  await removeTree(disk, beside);
  await disk.rename(path, beside);
  await disk.syncDirectory(layout.slots);
  await removeTree(disk, beside);
}

/**
 * Removes slots, half-made slots and snapshots that nothing names. `slots` and `snapshots` are the names to keep, gathered by the caller
 * from the link, the journal, the running process and the state at this moment: never from a list made earlier.
 * Goes on past what cannot be removed and returns the names that it did remove.
 */
export async function collectGarbage(
  disk: Disk,
  layout: Layout,
  keep: { readonly slots: ReadonlySet<string>; readonly snapshots: ReadonlySet<string> },
): Promise<readonly string[]> {
  const removed: string[] = [];
  const attempt = async (name: string, action: () => Promise<void>): Promise<void> => {
    try {
      await action();
      removed.push(name);
    } catch (error) {
      onlyKnown(error);
    }
  };
  for (const name of await disk.list(layout.slots)) {
    if (name.startsWith(TEMPORARY)) await attempt(name, () => removeTree(disk, `${layout.slots}/${name}`));
    else if (!keep.slots.has(name)) await attempt(name, () => removeSlot(disk, layout, name));
  }
  for (const name of await disk.list(layout.snapshots)) {
    if (!keep.snapshots.has(name)) await attempt(name, () => removeTree(disk, `${layout.snapshots}/${name}`));
  }
  await removeDiscarded(disk, layout).catch(onlyKnown);
  return removed;
}

/** Waste that stays is no reason to stop; the next round tries again. */
function onlyKnown(error: unknown): void {
  if (!(error instanceof UpkeepError)) throw error;
}
