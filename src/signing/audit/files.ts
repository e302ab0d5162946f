// The files of the audit log: where they are, how each is read, what a damaged one is called.

import { fromUtf8, toHex } from "../../core/bytes.ts";
import { makeDirectories, parentOf, readOrNull, type FileStore } from "../../core/disk.ts";
import { SigningError } from "../errors.ts";
import { openCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { leafOf, MAX_ENTRY, NO_ENTRY } from "./entry.ts";
import type { NoteKey } from "./note.ts";
import { bundledEntry, tilePath, TILE_WIDTH, TileTree } from "./tiles.ts";

/** Entries per file of `entries/`: 16 bundles of the tile layout. */
export const SEGMENT = 4096;
export const MAX_SEGMENT_BYTES = SEGMENT * (MAX_ENTRY + 1);
export const HEAD_SLOT = 1024;

/** Absolute path of the log's own folder. */
export type LogPlace = { readonly disk: FileStore; readonly folder: string };

export function segmentPath(folder: string, first: number): string {
  return `${folder}/entries/${String(first).padStart(12, "0")}.jsonl`;
}

export function headPath(folder: string): string {
  return `${folder}/head`;
}

export function blobPath(folder: string, sha256: string): string {
  return `${folder}/blobs/${sha256}`;
}

/** Splits a segment into complete lines and what follows the last of them. */
export function splitLines(bytes: Uint8Array): {
  readonly lines: readonly Uint8Array[];
  readonly rest: Uint8Array;
} {
  const lines: Uint8Array[] = [];
  let start = 0;
  for (;;) {
    const end = bytes.indexOf(0x0a, start);
    if (end < 0) return { lines, rest: bytes.subarray(start) };
    lines.push(bytes.subarray(start, end));
    start = end + 1;
  }
}

/** A checkpoint with the signed note that says it. */
export type Head = Checkpoint & { readonly note: string };

/** The newest checkpoint of the two slots of `head`, or null if there never was one. Errors: `signing/log-damaged`. */
export async function readHead(disk: FileStore, folder: string, key: NoteKey): Promise<Head | null> {
  const bytes = await readOrNull(disk, headPath(folder), 2 * HEAD_SLOT);
  if (bytes === null) return null;
  const found: Head[] = [];
  let damaged: unknown;
  for (const slot of [bytes.subarray(0, HEAD_SLOT), bytes.subarray(HEAD_SLOT)]) {
    const end = slot.indexOf(0);
    if (end === 0 || slot.length === 0) continue;
    try {
      const note = slot.subarray(0, end < 0 ? slot.length : end);
      found.push({ ...openCheckpoint(note, key), note: fromUtf8(note) });
    } catch (cause) {
      damaged = cause;
    }
  }
  found.sort((a, b) => b.size - a.size);
  if (found[0] !== undefined) return found[0];
  if (damaged === undefined) return null;
  throw new SigningError(
    "signing/log-damaged",
    "The head of the audit log holds no checkpoint of this log's key: either it was changed, or this folder belongs to another signer.",
    { folder },
    { cause: damaged },
  );
}

/** First entry numbers of the segments, ascending. */
export async function segmentsOf(disk: FileStore, folder: string): Promise<readonly number[]> {
  const names = await disk.list(`${folder}/entries`);
  return names.filter((name) => /^\d{12}\.jsonl$/.test(name)).map((name) => Number(name.slice(0, 12)));
}

export async function readSegment(disk: FileStore, folder: string, first: number): Promise<Uint8Array> {
  return disk.read(segmentPath(folder, first), MAX_SEGMENT_BYTES);
}

export async function leafBefore(disk: FileStore, folder: string, first: number): Promise<string> {
  if (first === 0) return NO_ENTRY;
  const last = splitLines(await readSegment(disk, folder, first - SEGMENT)).lines.at(-1);
  if (last === undefined) throw damaged(first - 1, "the segment before it is empty");
  return toHex(leafOf(last));
}

/** A full tile, from the tile files, or derived again from the entries if its file is not there. */
export async function readTile(
  disk: FileStore,
  folder: string,
  level: number,
  index: number,
): Promise<Uint8Array> {
  const stored = await readOrNull(disk, `${folder}/tiles/${tilePath(level, index)}`, TILE_WIDTH * 32);
  if (stored?.length === TILE_WIDTH * 32) return stored;
  const tree = new TileTree((l, i) => readTile(disk, folder, l, i));
  if (level === 0) {
    const start = index * TILE_WIDTH;
    const first = Math.floor(start / SEGMENT) * SEGMENT;
    const { lines } = splitLines(await readSegment(disk, folder, first));
    for (const bytes of lines.slice(start - first, start - first + TILE_WIDTH)) tree.push(leafOf(bytes));
  } else {
    for (let i = 0; i < TILE_WIDTH; i++) {
      const below = new TileTree(() => Promise.reject(new Error("unused")));
      const hashes = await readTile(disk, folder, level - 1, index * TILE_WIDTH + i);
      for (let at = 0; at < hashes.length; at += 32) below.push(hashes.subarray(at, at + 32));
      tree.push(below.root());
    }
  }
  const tile = tree.take()[0];
  if (tile === undefined) throw damaged(index * TILE_WIDTH ** (level + 1), "entries of its tile are missing");
  return tile.hashes;
}

/** The bytes of one entry, unchecked: from its bundle, or from its segment while the bundle is not written yet. */
export async function readEntryBytes(disk: FileStore, folder: string, n: number): Promise<Uint8Array | null> {
  const path = tilePath("entries", Math.floor(n / TILE_WIDTH));
  const bundle = await readOrNull(disk, `${folder}/tiles/${path}`, TILE_WIDTH * (MAX_ENTRY + 2));
  const found = bundle === null ? null : bundledEntry(bundle, n % TILE_WIDTH);
  if (found !== null) return found;
  const first = Math.floor(n / SEGMENT) * SEGMENT;
  return splitLines(await readSegment(disk, folder, first)).lines[n - first] ?? null;
}

/** Tiles are derived data: atomic by rename, durable when the system gets to it. */
export async function storeTile({ disk, folder }: LogPlace, path: string, bytes: Uint8Array): Promise<void> {
  const full = `${folder}/tiles/${path}`;
  await makeDirectories(disk, parentOf(full), 0o700);
  if (disk.replace !== undefined) return disk.replace(full, bytes, 0o600);
  const beside = `${full}.tmp`;
  const file = await disk.open(beside, "write", 0o600);
  try {
    await file.truncate(0);
    await file.write(0, bytes);
  } finally {
    await file.close();
  }
  await disk.rename(beside, full);
}

export function damaged(n: number, what: string, cause?: unknown): SigningError {
  return new SigningError(
    "signing/log-damaged",
    `Entry ${n} of the audit log: ${what}.`,
    { entry: n },
    { cause },
  );
}
