// Whether a tar is our canonical one, which a device makes again from what it installed.

import { createHash } from "node:crypto";
import type { Disk } from "../../core/disk.ts";
import { UpkeepError } from "../../core/errors.ts";
import { tarEnd, tarHeader, tarPadding, type TarEntry } from "../../release/tar-writer.ts";
import type { ArchiveEntry } from "../../slot/entry-path.ts";
import { readFile } from "../../slot/read-file.ts";
import { readTar } from "../../slot/tar.ts";

/** Writes the entries again and compares: one spelling, one order, every folder named before what is in it. Errors: `disk/*`. */
export async function isCanonicalTar(disk: Disk, path: string): Promise<boolean> {
  const found = createHash("sha256");
  const written = createHash("sha256");
  async function* watched(): AsyncGenerator<Uint8Array> {
    for await (const part of readFile(disk, path)) {
      found.update(part);
      yield part;
    }
  }
  const folders = new Set([""]);
  let before: readonly string[] = [];
  try {
    for await (const entry of readTar(watched())) {
      const clean = entry.kind === "directory" ? entry.path.replace(/\/$/, "") : entry.path;
      const parts = clean.split("/");
      if (!follows(before, parts) || !folders.has(parts.slice(0, -1).join("/"))) return false;
      before = parts;
      if (entry.kind === "directory") folders.add(clean);
      written.update(tarHeader(entryOf(entry, clean)));
      for await (const part of entry.content) written.update(part);
      written.update(tarPadding(entry.size));
    }
  } catch (error) {
    // What cannot be read is for others to refuse.
    if (error instanceof UpkeepError && !error.code.startsWith("disk/")) return false;
    throw error;
  }
  written.update(tarEnd());
  return found.digest("hex") === written.digest("hex");
}

function entryOf({ kind, size, executable, target }: ArchiveEntry, path: string): TarEntry {
  switch (kind) {
    case "file":
      return { kind, path, size, executable };
    case "link":
      return { kind, path, target };
    case "directory":
      return { kind, path };
  }
}

/** Folder by folder, names sorted in each. */
function follows(before: readonly string[], path: readonly string[]): boolean {
  for (const [i, part] of path.entries()) {
    const other = before[i];
    if (other === undefined) return true;
    if (part !== other) return part > other;
  }
  return false;
}
