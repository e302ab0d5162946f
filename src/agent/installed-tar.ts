// The canonical tar of what is installed, made again from the slot and its record: the bytes that were signed, without a second copy on the disk.

import type { Disk } from "../core/disk.ts";
import { tarEnd, tarHeader, tarPadding } from "../release/tar-writer.ts";
import { SlotError } from "../slot/errors.ts";
import type { SlotFile } from "../slot/record.ts";

type Node = { readonly entry: SlotFile | null; readonly children: Map<string, Node> };

/**
 * Parts of the tar, in order. Whether they are the signed bytes is for the caller to check: a slot may be damaged, and a publisher may have packed
 * otherwise. Errors: `slot/damaged` when a file has another length than its record says, `disk/*`.
 */
export async function* installedTar(
  disk: Disk,
  slot: string,
  files: readonly SlotFile[],
): AsyncGenerator<Uint8Array> {
  yield* entriesBelow(disk, slot, treeOf(files));
  yield tarEnd();
}

/** The length of the tar. */
export function installedTarLength(files: readonly SlotFile[]): number {
  let total = tarEnd().length;
  for (const file of files) {
    total += headerOf(file).length;
    if (file.kind === "file") total += file.size + tarPadding(file.size).length;
  }
  return total;
}

async function* entriesBelow(disk: Disk, slot: string, { children }: Node): AsyncGenerator<Uint8Array> {
  // In the order in which a disk lists names, folder by folder: what the packer walks.
  for (const name of [...children.keys()].sort()) {
    const node = children.get(name)!;
    const { entry } = node;
    if (entry !== null) {
      yield headerOf(entry);
      if (entry.kind === "file") yield* contentOf(disk, `${slot}/${entry.path}`, entry.size);
    }
    yield* entriesBelow(disk, slot, node);
  }
}

async function* contentOf(disk: Disk, path: string, size: number): AsyncGenerator<Uint8Array> {
  const file = await disk.open(path, "read");
  try {
    for (let at = 0; at < size;) {
      const part = await file.read(at, Math.min(PART, size - at));
      if (part.length === 0)
        throw new SlotError("slot/damaged", `${path} is shorter than its record says.`, { path });
      at += part.length;
      yield part;
    }
  } finally {
    await file.close();
  }
  yield tarPadding(size);
}

function headerOf(file: SlotFile): Uint8Array {
  switch (file.kind) {
    case "file":
      return tarHeader({ kind: "file", path: file.path, size: file.size, executable: file.executable });
    case "link":
      return tarHeader({ kind: "link", path: file.path, target: file.target });
    case "directory":
      return tarHeader({ kind: "directory", path: file.path });
  }
}

function treeOf(files: readonly SlotFile[]): Node {
  const root: Node = { entry: null, children: new Map() };
  for (const entry of files) {
    const parts = entry.path.split("/");
    let node = root;
    for (const [depth, part] of parts.entries()) {
      const found = node.children.get(part);
      const last = depth === parts.length - 1;
      const next: Node = {
        entry: last ? entry : (found?.entry ?? null),
        children: found?.children ?? new Map(),
      };
      node.children.set(part, next);
      node = next;
    }
  }
  return root;
}

const PART = 1024 * 1024;
