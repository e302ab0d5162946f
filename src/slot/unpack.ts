// Writes the entries of an archive into a fresh folder, every file and folder durable, and says what was written.

import { createHash } from "node:crypto";
import type { Disk } from "../core/disk.ts";
import { quoteName } from "../core/raw-name.ts";
import { EntryGate, unsafe, type ArchiveEntry, type UnpackLimits } from "./entry-path.ts";
import { SlotError } from "./errors.ts";
import { gunzip } from "./gunzip.ts";
import { readFile } from "./read-file.ts";
import type { SlotFile } from "./record.ts";
import { readTar } from "./tar.ts";

/** How an artifact becomes files. */
export type UnpackFormat =
  | { readonly kind: "file"; readonly name: string; readonly executable: boolean }
  | { readonly kind: "tar" | "tar.gz" }
  | { readonly kind: "zip" };

/** Reads zip archives, which need random access; the io room has one. */
export interface ZipReader {
  /** Entries of the archive at `path`. Errors: `slot/bad-archive`, `slot/unsafe-entry`, `disk/*`. */
  entries(disk: Disk, path: string): AsyncIterable<ArchiveEntry>;
}

/** The entries of the artifact at `path`, in whatever format. `seen` is given every byte of the artifact that was read, in order; not for zip. */
export function entriesOf(
  disk: Disk,
  path: string,
  format: UnpackFormat,
  zip: ZipReader,
  seen: (part: Uint8Array) => void,
): AsyncIterable<ArchiveEntry> {
  switch (format.kind) {
    case "zip":
      return zip.entries(disk, path);
    case "tar":
      return readTar(watched(readFile(disk, path), seen));
    case "tar.gz":
      return readTar(gunzip(watched(readFile(disk, path), seen)));
    case "file":
      return single(disk, path, format, seen);
  }
}

/** An artifact that is one file is installed byte for byte, so that it can be served to others as it is. */
async function* single(
  disk: Disk,
  path: string,
  format: Extract<UnpackFormat, { kind: "file" }>,
  seen: (part: Uint8Array) => void,
): AsyncGenerator<ArchiveEntry> {
  const { size } = await disk.stat(path);
  const content = watched(readFile(disk, path), seen);
  yield { path: format.name, kind: "file", size, executable: format.executable, target: "", content };
}

async function* watched(
  parts: AsyncIterable<Uint8Array>,
  seen: (part: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  for await (const part of parts) {
    seen(part);
    yield part;
  }
}

/**
 * Unpacks into `folder`, which must exist and be empty. Nothing outside of it is touched, no link is followed, and no more bytes
 * are written than `limits` allow. Errors: `slot/unsafe-entry`, `slot/too-large`, `slot/bad-archive`, `disk/*`.
 */
export async function unpack(
  disk: Disk,
  folder: string,
  entries: AsyncIterable<ArchiveEntry>,
  limits: UnpackLimits,
): Promise<readonly SlotFile[]> {
  const gate = new EntryGate(limits);
  const folders = new Set<string>([""]);
  const written: SlotFile[] = [];
  const makeFolder = async (path: string): Promise<void> => {
    if (path === "" || folders.has(path)) return;
    await makeFolder(parentPath(path));
    await disk.makeDirectory(`${folder}/${path}`);
    folders.add(path);
  };
  for await (const entry of entries) {
    const path = gate.admit(entry);
    if (path === null) continue;
    if (entry.kind === "directory") {
      await makeFolder(path);
      continue;
    }
    await makeFolder(parentPath(path));
    if (entry.kind === "link") {
      await disk.link(`${folder}/${path}`, entry.target);
      written.push({ path, kind: "link", target: entry.target });
    } else {
      const sha256 = await writeEntry(disk, `${folder}/${path}`, entry);
      written.push({ path, kind: "file", size: entry.size, sha256, executable: entry.executable });
    }
  }
  for (const path of folders) if (path !== "") written.push({ path, kind: "directory" });
  // Deepest first: a folder's names are durable before the folder that names it is.
  const deepestFirst = [...folders].sort((a, b) => b.length - a.length);
  for (const path of deepestFirst) await disk.syncDirectory(path === "" ? folder : `${folder}/${path}`);
  return written.sort((a, b) => (a.path < b.path ? -1 : 1));
}

async function writeEntry(disk: Disk, path: string, entry: ArchiveEntry): Promise<string> {
  const mode = entry.executable ? 0o555 : 0o444;
  const file = await disk.open(path, "create", mode);
  const hash = createHash("sha256");
  let at = 0;
  try {
    for await (const part of entry.content) {
      if (at + part.length > entry.size) throw unsafe(entry.path, "it holds more bytes than its header says");
      await file.write(at, part);
      hash.update(part);
      at += part.length;
    }
    if (at !== entry.size) {
      throw new SlotError("slot/bad-archive", `The archive ends in the middle of ${quoteName(entry.path)}.`, {
        entry: entry.path.slice(0, 120),
      });
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return hash.digest("hex");
}

function parentPath(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf("/"), 0));
}
