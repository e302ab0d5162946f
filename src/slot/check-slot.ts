// The one place where an installed slot is believed: it holds what its record says, all of it and nothing else.

import { createHash } from "node:crypto";
import { DiskError, statOrNull, type Disk, type FileStat } from "../core/disk.ts";
import { quoteName } from "../core/raw-name.ts";
import { SlotError } from "./errors.ts";
import { sameSlot, slotPath, type Layout, type SlotId } from "./layout.ts";
import { readRecord, RECORD_NAME, type SlotFile, type SlotRecord } from "./record.ts";

/** By path: what the disk said of a file when its bytes were read last (`FileStat.stamp`). */
export type Stamps = ReadonlyMap<string, string>;

export type SlotCheck = {
  /** Files with these stamps are not read again. Absent: every byte is read. */
  readonly known?: Stamps;
  /** Anything added is damage: of a slot that was just made. Else it is told, and has to be put aside before a start. */
  readonly exact?: boolean;
  /** Called between parts, for a check that leaves room for others. */
  readonly pace?: () => Promise<void>;
};

/** What a check did. */
export type Checked = {
  readonly stamps: Stamps;
  /** When the youngest of its files was changed last, by the disk's clock. */
  readonly changedMs: number;
  readonly files: number;
  /** Bytes read; fewer than the slot has if stamps were believed. */
  readonly bytes: number;
  /** Entries that the record does not know, the topmost of each; a program may have made them while it ran. */
  readonly added: readonly string[];
};

/** A file may be read by all and executed, and never written; special bits have no business here. */
const FORBIDDEN_IN_FILE = 0o7222;
/** Its owner makes and removes slots; the setgid bit is inherited on some systems. */
const FORBIDDEN_IN_FOLDER = 0o5022;

/**
 * The whole check of an installed slot: its place, its record, every entry. `digest` is that of the record if it is known.
 * Errors: `slot/damaged`, `disk/*`.
 */
export async function checkInstalled(
  disk: Disk,
  layout: Layout,
  id: SlotId,
  digest: string | null,
  check: SlotCheck = {},
): Promise<Checked & { readonly record: SlotRecord }> {
  const path = slotPath(layout, id);
  const found = await statOrNull(disk, path);
  if (found === null) throw damaged(path, ".", "is missing");
  if (found.kind !== "directory") throw damaged(path, ".", `is a ${found.kind} and not a directory`);
  const stat = await at(path, RECORD_NAME, () => disk.stat(`${path}/${RECORD_NAME}`));
  if (stat.kind !== "file") throw damaged(path, RECORD_NAME, `is a ${stat.kind} and not a file`);
  const record = await at(path, RECORD_NAME, () => readRecord(disk, layout, id, digest));
  if (!sameSlot(record.id, id)) throw damaged(path, RECORD_NAME, "is the record of another slot");
  return { ...(await checkSlot(disk, path, record.files, check)), record };
}

/**
 * Compares a folder with the list of what it must hold: nothing missing or changed, no other kind, link or mode, and what was added.
 * Errors: `slot/damaged`, `disk/*`.
 */
export async function checkSlot(
  disk: Disk,
  path: string,
  files: readonly SlotFile[],
  check: SlotCheck = {},
): Promise<Checked> {
  const stamps = new Map<string, string>();
  let [changedMs, bytes] = [0, 0];
  for (const file of files) {
    const name = `${path}/${file.path}`;
    // Read before the content: what changes later has another stamp.
    const stat = await at(path, file.path, () => disk.stat(name));
    const wrong = await oddity(disk, name, file, stat);
    if (wrong !== null) throw damaged(path, file.path, wrong);
    if (file.kind !== "file") continue;
    if (check.known?.get(file.path) !== stat.stamp) {
      const found = await at(path, file.path, () => digestOf(disk, name, file.size, check));
      bytes += file.size;
      if (found !== file.sha256)
        throw damaged(path, file.path, "has other bytes", { expected: file.sha256, found });
    }
    stamps.set(file.path, stat.stamp);
    changedMs = Math.max(changedMs, stat.changedMs);
  }
  const known = new Set(files.map((file) => file.path));
  const added: string[] = [];
  for await (const name of walk(disk, path, "", (inner) => known.has(inner))) {
    if (name === RECORD_NAME || known.has(name)) continue;
    if (check.exact === true) throw damaged(path, name, "was added");
    added.push(name);
  }
  return { stamps, changedMs, files: files.length, bytes, added };
}

const PART = 256 * 1024;

/** Of exactly `size` bytes, which the file was just seen to have: a slot of many small files is read in few calls. */
async function digestOf(disk: Disk, name: string, size: number, { pace }: SlotCheck): Promise<string> {
  const hash = createHash("sha256");
  const file = await disk.open(name, "read");
  try {
    for (let at = 0; at < size;) {
      const part = await file.read(at, Math.min(PART, size - at));
      if (part.length === 0) break;
      hash.update(part);
      at += part.length;
      await pace?.();
    }
  } finally {
    await file.close();
  }
  return hash.digest("hex");
}

/** What of an entry, but for its bytes, is not as it was made; null if nothing. */
async function oddity(disk: Disk, name: string, file: SlotFile, stat: FileStat): Promise<string | null> {
  if (stat.kind !== file.kind) return `is a ${stat.kind} and not a ${file.kind}`;
  switch (file.kind) {
    case "link":
      return (await disk.readLink(name)) === file.target ? null : "points elsewhere";
    case "directory":
      return (stat.mode & FORBIDDEN_IN_FOLDER) === 0 ? null : `has the mode ${stat.mode.toString(8)}`;
    case "file":
      if (stat.size !== file.size) return `has ${stat.size} bytes instead of ${file.size}`;
      if (((stat.mode & 0o111) !== 0) !== file.executable) return "has another executable bit";
      return (stat.mode & FORBIDDEN_IN_FILE) === 0 ? null : `has the mode ${stat.mode.toString(8)}`;
  }
}

/** What is gone, may not be read or is a link where a folder was is damage; a disk that cannot answer is not. */
async function at<T>(path: string, entry: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
    switch (error.code) {
      case "disk/missing":
        throw damaged(path, entry, "is missing");
      case "disk/wrong-kind":
        throw damaged(path, entry, "is of another kind");
      case "disk/read-only":
        throw damaged(path, entry, "may not be read");
      default:
        throw error;
    }
  }
}

/** Every entry below; of folders that are not `known` only their own names. */
async function* walk(
  disk: Disk,
  path: string,
  prefix: string,
  known: (inner: string) => boolean,
): AsyncGenerator<string> {
  for (const name of await disk.list(prefix === "" ? path : `${path}/${prefix}`)) {
    const inner = prefix === "" ? name : `${prefix}/${name}`;
    yield inner;
    if (known(inner) && (await disk.stat(`${path}/${inner}`)).kind === "directory")
      yield* walk(disk, path, inner, known);
  }
}

function damaged(
  path: string,
  entry: string,
  what: string,
  facts: { readonly expected?: string; readonly found?: string } = {},
): SlotError {
  const subject =
    entry === "." ? "" : `${/^[\x21-\x7e]{1,200}$/.test(entry) ? entry : quoteName(entry, 200)} `;
  return new SlotError("slot/damaged", `The slot ${path} is damaged: ${subject}${what}.`, {
    path,
    entry,
    ...facts,
  });
}
