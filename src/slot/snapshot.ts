// The component's own data before a switch, so that going back also brings back what the new version changed.

import { exists, removeTree, type Disk } from "../core/disk.ts";
import { SlotError } from "./errors.ts";
import type { Layout } from "./layout.ts";
import { readFile } from "./read-file.ts";

/**
 * Copies `data` into `snapshots/<name>`; the component must not run. Returns the bytes copied, or null if they would be more than `limit`
 * (then nothing is kept, and going back leaves the data as it is). Errors: `disk/*`.
 */
export async function takeSnapshot(
  disk: Disk,
  layout: Layout,
  name: string,
  limit: number,
): Promise<number | null> {
  const to = `${layout.snapshots}/${name}`;
  const beside = `${to}.tmp`;
  await removeTree(disk, beside);
  await removeTree(disk, to);
  try {
    const bytes = await copyTree(disk, layout.data, beside, limit);
    await disk.rename(beside, to);
    await disk.syncDirectory(layout.snapshots);
    return bytes;
  } catch (error) {
    if (!(error instanceof SlotError && error.code === "slot/snapshot-too-large")) throw error;
    await removeTree(disk, beside);
    return null;
  }
}

/** Makes `data` what the snapshot holds; the component must not run. May be repeated until the snapshot is removed. */
export async function restoreSnapshot(disk: Disk, layout: Layout, name: string): Promise<void> {
  const from = `${layout.snapshots}/${name}`;
  const beside = `${layout.data}.tmp`;
  const old = `${layout.data}.discarded`;
  await removeTree(disk, beside);
  await removeTree(disk, old);
  await copyTree(disk, from, beside, Number.MAX_SAFE_INTEGER);
  if (await exists(disk, layout.data)) await disk.rename(layout.data, old);
  await disk.rename(beside, layout.data);
  await disk.syncDirectory(layout.folder);
  await removeTree(disk, old);
}

/** Files, folders and links with their permission bits; sockets and pipes are left out, they belong to the process that made them. */
async function copyTree(disk: Disk, from: string, to: string, limit: number): Promise<number> {
  await disk.makeDirectory(to, (await disk.stat(from)).mode);
  let bytes = 0;
  for (const name of await disk.list(from)) {
    const [source, target] = [`${from}/${name}`, `${to}/${name}`];
    const stat = await disk.stat(source);
    if (stat.kind === "directory") bytes += await copyTree(disk, source, target, limit - bytes);
    else if (stat.kind === "link") await disk.link(target, await disk.readLink(source));
    else if (stat.kind === "file") {
      if (bytes + stat.size > limit) throw tooLarge(limit);
      bytes += await copyFile(disk, source, target, stat.mode);
    }
  }
  await disk.syncDirectory(to);
  return bytes;
}

async function copyFile(disk: Disk, from: string, to: string, mode: number): Promise<number> {
  const file = await disk.open(to, "create", mode);
  let at = 0;
  try {
    for await (const part of readFile(disk, from)) {
      await file.write(at, part);
      at += part.length;
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return at;
}

function tooLarge(limit: number): SlotError {
  return new SlotError("slot/snapshot-too-large", `The component's data is larger than ${limit} bytes.`, {
    limit,
  });
}
