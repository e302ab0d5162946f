// The component's own data before a switch, so that going back also brings back what the new version changed.

import { exists, parentOf, removeTree, statOrNull, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import {
  bytesOf,
  differenceOf,
  nameOfEntry,
  unchanged,
  unmovable,
  type DataEntry,
  type DataTrees,
} from "./data-trees.ts";
import { SlotError } from "./errors.ts";
import type { Layout } from "./layout.ts";

/** What can be said before anything is stopped. */
export type SnapshotOutlook =
  /** There is no data. */
  | { readonly kind: "nothing" }
  /** More than the device's operator wants to be copied: going back will leave the data as it is. */
  | { readonly kind: "too-large"; readonly bytes: number }
  | { readonly kind: "no-room"; readonly needed: number; readonly free: number }
  /** It can be copied; `unseen` is what the copy will lack, in words. */
  | { readonly kind: "ready"; readonly bytes: number; readonly unseen: string | null };

/** A folder entry, an inode and the slack of the last block, for each name. */
const PER_ENTRY = 4096;
/** A running program changes its data while we look: so often a look that failed is repeated. */
const LOOKS = 3;

/**
 * Whether `data` can be copied and brought back as it is, found out by copying all of it but the content, while the component still runs.
 * Errors: `slot/data-not-kept` with what would be lost, `disk/*`.
 */
export async function prepareSnapshot(
  disk: Disk,
  trees: DataTrees,
  layout: Layout,
  name: string,
  limit: number,
): Promise<SnapshotOutlook> {
  const outline = `${layout.snapshots}/${name}.outline`;
  let entries = await trees.survey(layout.data);
  if (entries.length <= 1 && entries[0]?.kind === "directory") return { kind: "nothing" };
  const bytes = bytesOf(entries);
  if (bytes > limit) return { kind: "too-large", bytes };
  const [home] = await trees.survey(layout.snapshots);
  const wrong = unmovable(entries, home!.volume);
  if (wrong !== null) throw notKept(layout, wrong.path, wrong.why);
  const needed = bytes + entries.length * PER_ENTRY;
  const free = await disk.free(layout.snapshots);
  if (free < needed && !(await sharesLargest(trees, layout, entries)))
    return { kind: "no-room", needed, free };
  try {
    for (let look = 1; ; look++) {
      await removeTree(disk, outline);
      const trouble = await tryOutline(trees, layout, outline);
      const after = await trees.survey(layout.data);
      const steady = unchanged(entries, after);
      if (trouble === null) {
        const lost = differenceOf(steady, await trees.survey(outline), "outline");
        if (lost !== null) throw notKept(layout, lost.path, lost.why);
        break;
      }
      // With something changing all the time the copy of the stopped component has the last word.
      if (steady.length === entries.length && entries.length === after.length) throw trouble;
      if (look === LOOKS) break;
      entries = after;
    }
  } finally {
    await removeTree(disk, outline);
  }
  return { kind: "ready", bytes, unseen: trees.unseen };
}

async function tryOutline(trees: DataTrees, layout: Layout, outline: string): Promise<SlotError | null> {
  try {
    await trees.outline(layout.data, outline);
    return null;
  } catch (error) {
    if (error instanceof SlotError) return error;
    throw error;
  }
}

async function sharesLargest(
  trees: DataTrees,
  layout: Layout,
  entries: readonly DataEntry[],
): Promise<boolean> {
  const files = entries.filter(({ kind }) => kind === "file");
  const largest = files.reduce<DataEntry | null>(
    (best, file) => (best === null || file.allocated > best.allocated ? file : best),
    null,
  );
  return largest !== null && trees.shares(`${layout.data}/${largest.path}`, layout.snapshots);
}

/**
 * Copies `data` into `snapshots/<name>`, durably; the component must not run. Returns the bytes copied, or null if they would be more than
 * `limit` (then nothing is kept, and going back leaves the data as it is). Errors: `slot/data-not-kept`, `disk/*`.
 */
export async function takeSnapshot(
  disk: Disk,
  trees: DataTrees,
  layout: Layout,
  name: string,
  limit: number,
): Promise<number | null> {
  const to = `${layout.snapshots}/${name}`;
  const beside = `${to}.tmp`;
  await removeTree(disk, beside);
  await removeTree(disk, to);
  const entries = await trees.survey(layout.data);
  const bytes = bytesOf(entries);
  if (bytes > limit) return null;
  await trees.copy(layout.data, beside);
  const copied = await trees.survey(beside);
  const lost = differenceOf(entries, copied, "all");
  if (lost !== null) {
    await removeTree(disk, beside);
    throw notKept(layout, lost.path, lost.why);
  }
  await makeDurable(disk, beside, copied);
  await disk.rename(beside, to);
  await disk.syncDirectory(layout.snapshots);
  return bytes;
}

/**
 * Puts the snapshot itself in the place of `data`, so that nothing of it can be lost on the way; the component must not run. May be
 * repeated: once the snapshot has moved, it is `data`. What stood there before is waste. Errors: `disk/*`.
 */
export async function restoreSnapshot(disk: Disk, layout: Layout, name: string): Promise<void> {
  const from = `${layout.snapshots}/${name}`;
  const old = `${layout.data}${DISCARDED}`;
  if (await exists(disk, from)) {
    await removeTree(disk, old);
    if (await exists(disk, layout.data)) await disk.rename(layout.data, old);
    await disk.rename(from, layout.data);
  }
  await disk.syncDirectory(layout.folder);
  await disk.syncDirectory(layout.snapshots);
  // What cannot be removed now is no reason to stay between two versions; the next cleaning takes it.
  await removeDiscarded(disk, layout).catch((error: unknown) => {
    if (!(error instanceof UpkeepError)) throw error;
  });
}

const DISCARDED = ".discarded";

/** Data that was given up, and what agents of before left half-copied. Errors: `disk/*`. */
export async function removeDiscarded(disk: Disk, layout: Layout): Promise<void> {
  // Never while nothing has taken its place.
  if ((await statOrNull(disk, layout.data)) === null) return;
  await removeTree(disk, `${layout.data}${DISCARDED}`);
  await removeTree(disk, `${layout.data}.tmp`);
}

/** So many files are written to the disk at a time. */
const AT_A_TIME = 16;

/** Content and attributes of every file, then the names in every folder, deepest first. */
async function makeDurable(disk: Disk, top: string, entries: readonly DataEntry[]): Promise<void> {
  const at = ({ path }: DataEntry): string => (path === "" ? top : `${top}/${path}`);
  const files = entries.filter(({ kind }) => kind === "file");
  for (let i = 0; i < files.length; i += AT_A_TIME) {
    await Promise.all(
      files.slice(i, i + AT_A_TIME).map(async (entry) => {
        const file = await disk.open(at(entry), "read");
        try {
          await file.sync();
        } finally {
          await file.close();
        }
      }),
    );
  }
  const folders = entries.filter(({ kind }) => kind === "directory");
  for (const entry of folders.toReversed()) await disk.syncDirectory(at(entry));
}

function notKept(layout: Layout, path: string, why: string): SlotError {
  const place = path === "" ? layout.data : `${layout.data}/${path}`;
  return new SlotError(
    "slot/data-not-kept",
    `Going back could not bring back the data as it is: ${nameOfEntry(path)} in ${parentOf(layout.data)}: ${why}.`,
    { path: place, why },
    { hint: "snapshotBytes = 0 for the component in agent.toml updates it without a copy of its data." },
  );
}
