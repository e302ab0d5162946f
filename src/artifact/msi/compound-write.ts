// Writes an OLE compound file from a tree of streams: one canonical layout, contents copied and never held.

import { compareBytes } from "../../core/bytes.ts";
import { ArtifactError } from "../errors.ts";
import { joined, type Piece, type Rewrite } from "../rewrite.ts";
import { COMPOUND_MAGIC, MAX_COMPOUND, type CompoundFile, type Storage, type Stream } from "./compound.ts";

const FREE = 0xffff_ffff;
const END_OF_CHAIN = 0xffff_fffe;
const FAT_SECTOR = 0xffff_fffd;
const DIFAT_SECTOR = 0xffff_fffc;
const NO_STREAM = 0xffff_ffff;
const MINI_SECTOR = 64;
const MINI_CUTOFF = 4096;
const ENTRY = 128;
const DIFAT_IN_HEADER = 109;
const RED = 0;
const BLACK = 1;

/**
 * Header, large streams, stream of small streams, its table, directory, allocation table, list of the allocation table.
 * The same tree always gives the same bytes. Errors: `artifact/unsupported` from 2 GiB on.
 */
export function writeCompound(file: CompoundFile): Rewrite {
  const sectorSize = file.majorVersion === 3 ? 512 : 4096;
  const perSector = sectorSize / 4;
  const entries = flatten(file.root);
  const pieces: Piece[] = [];
  const fat: number[] = [];
  /** Lays pieces into the next sectors, padded, as one chain; the first sector, or the mark of an empty chain. */
  const lay = (content: Rewrite, size: number): number => {
    const count = Math.ceil(size / sectorSize);
    if (count === 0) return END_OF_CHAIN;
    const first = fat.length;
    for (let i = 1; i < count; i++) fat.push(first + i);
    fat.push(END_OF_CHAIN);
    for (const piece of content) pieces.push(piece);
    if (size % sectorSize !== 0) pieces.push(new Uint8Array(sectorSize - (size % sectorSize)));
    if (fat.length * sectorSize > MAX_COMPOUND) {
      throw new ArtifactError(
        "artifact/unsupported",
        "The signed file would reach 2 GiB, which its format cannot hold.",
        {},
      );
    }
    return first;
  };

  const starts = new Map<Flat, number>();
  const mini: Piece[] = [];
  const miniFat: number[] = [];
  for (const entry of entries) {
    if (entry.item.kind !== "stream") continue;
    const { size, pieces: content } = entry.item;
    if (size >= MINI_CUTOFF) {
      starts.set(entry, lay(content, size));
    } else if (size === 0) {
      starts.set(entry, END_OF_CHAIN);
    } else {
      starts.set(entry, miniFat.length);
      const count = Math.ceil(size / MINI_SECTOR);
      for (let i = 1; i < count; i++) miniFat.push(miniFat.length + 1);
      miniFat.push(END_OF_CHAIN);
      for (const piece of content) mini.push(piece);
      mini.push(new Uint8Array(count * MINI_SECTOR - size));
    }
  }
  const miniSize = miniFat.length * MINI_SECTOR;
  const miniStart = lay(mini, miniSize);
  const miniTable = words(miniFat, Math.ceil(miniFat.length / perSector) * perSector);
  const miniFatStart = lay([miniTable], miniTable.length);
  const directory = directoryBytes(entries, starts, { start: miniStart, size: miniSize }, sectorSize);
  const directoryStart = lay([directory], directory.length);

  // The table describes itself as well: grow until it covers everything.
  const others = fat.length;
  let fatSectors = 0;
  let difatSectors = 0;
  for (;;) {
    const total = others + fatSectors + difatSectors;
    const needFat = Math.ceil(total / perSector);
    const needDifat = Math.ceil(Math.max(0, needFat - DIFAT_IN_HEADER) / (perSector - 1));
    if (needFat === fatSectors && needDifat === difatSectors) break;
    [fatSectors, difatSectors] = [needFat, needDifat];
  }
  const fatStart = fat.length;
  for (let i = 0; i < fatSectors; i++) fat.push(FAT_SECTOR);
  const difatStart = fat.length;
  for (let i = 0; i < difatSectors; i++) fat.push(DIFAT_SECTOR);
  pieces.push(words(fat, fatSectors * perSector));
  for (let i = 0; i < difatSectors; i++) {
    const from = DIFAT_IN_HEADER + i * (perSector - 1);
    const count = Math.min(perSector - 1, fatSectors - from);
    const list = Array.from({ length: perSector }, (_, k) => (k < count ? fatStart + from + k : FREE));
    list[perSector - 1] = i + 1 < difatSectors ? difatStart + i + 1 : END_OF_CHAIN;
    pieces.push(words(list, perSector));
  }

  const header = new Uint8Array(sectorSize);
  const view = new DataView(header.buffer);
  header.set(COMPOUND_MAGIC);
  view.setUint16(24, 0x3e, true);
  view.setUint16(26, file.majorVersion, true);
  view.setUint16(28, 0xfffe, true);
  view.setUint16(30, file.majorVersion === 3 ? 9 : 12, true);
  view.setUint16(32, 6, true);
  // [MS-CFB] 2.2: version 3 files say 0 here.
  view.setUint32(40, file.majorVersion === 3 ? 0 : directory.length / sectorSize, true);
  view.setUint32(44, fatSectors, true);
  view.setUint32(48, directoryStart, true);
  view.setUint32(56, MINI_CUTOFF, true);
  view.setUint32(60, miniFatStart, true);
  view.setUint32(64, miniTable.length / sectorSize, true);
  view.setUint32(68, difatSectors > 0 ? difatStart : END_OF_CHAIN, true);
  view.setUint32(72, difatSectors, true);
  for (let i = 0; i < DIFAT_IN_HEADER; i++)
    view.setUint32(76 + 4 * i, i < fatSectors ? fatStart + i : FREE, true);
  return joined([header, ...pieces]);
}

type Flat = {
  readonly item: Stream | Storage;
  readonly root: boolean;
  left: number;
  right: number;
  child: number;
  colour: number;
};

/** Directory entries in the order of their numbers, each storage's children as a balanced search tree. */
function flatten(root: Storage): readonly Flat[] {
  const out: Flat[] = [];
  const add = (item: Stream | Storage, isRoot: boolean): number => {
    out.push({ item, root: isRoot, left: NO_STREAM, right: NO_STREAM, child: NO_STREAM, colour: BLACK });
    return out.length - 1;
  };
  const fill = (id: number): void => {
    const { item } = out[id]!;
    if (item.kind !== "storage") return;
    const sorted = item.children.toSorted((a, b) => compareNames(a.name, b.name));
    const ids = sorted.map((child) => add(child, false));
    out[id]!.child = balance(out, ids, Math.floor(Math.log2(ids.length + 1)));
    for (const child of ids) fill(child);
  };
  fill(add(root, true));
  return out;
}

/** [MS-CFB] 2.6.4: a red-black tree. All levels but an unfilled last one are black, the last one is red. */
function balance(out: readonly Flat[], ids: readonly number[], black: number): number {
  if (ids.length === 0) return NO_STREAM;
  const middle = Math.floor(ids.length / 2);
  const id = ids[middle]!;
  const node = out[id]!;
  node.colour = black > 0 ? BLACK : RED;
  node.left = balance(out, ids.slice(0, middle), black - 1);
  node.right = balance(out, ids.slice(middle + 1), black - 1);
  return id;
}

/** [MS-CFB] 2.6.4: shorter first, then by upper-case code unit. */
function compareNames(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return a.length - b.length;
  const [x, y] = [upper(a), upper(b)];
  for (let i = 0; i < x.length; i++) if (x[i] !== y[i]) return x[i]! - y[i]!;
  return compareBytes(a, b);
}

function upper(name: Uint8Array): readonly number[] {
  return Array.from({ length: name.length / 2 }, (_, i) => {
    const unit = name[2 * i]! | (name[2 * i + 1]! << 8);
    const big = String.fromCharCode(unit).toUpperCase();
    return big.length === 1 ? big.charCodeAt(0) : unit;
  });
}

function directoryBytes(
  entries: readonly Flat[],
  starts: ReadonlyMap<Flat, number>,
  mini: { readonly start: number; readonly size: number },
  sectorSize: number,
): Uint8Array {
  const perSector = sectorSize / ENTRY;
  const bytes = new Uint8Array(Math.ceil(entries.length / perSector) * sectorSize);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < bytes.length / ENTRY; i++) {
    const at = i * ENTRY;
    const entry = entries[i];
    view.setUint32(at + 68, entry?.left ?? NO_STREAM, true);
    view.setUint32(at + 72, entry?.right ?? NO_STREAM, true);
    view.setUint32(at + 76, entry?.child ?? NO_STREAM, true);
    if (entry === undefined) continue;
    const { item } = entry;
    bytes.set(item.name, at);
    view.setUint16(at + 64, item.name.length + 2, true);
    bytes[at + 66] = entry.root ? 5 : item.kind === "stream" ? 2 : 1;
    bytes[at + 67] = entry.colour;
    bytes.set(item.clsid, at + 80);
    bytes.set(item.stateBits, at + 96);
    bytes.set(item.times, at + 100);
    const place = entry.root
      ? mini
      : item.kind === "stream"
        ? { start: starts.get(entry)!, size: item.size }
        : { start: 0, size: 0 };
    view.setUint32(at + 116, place.start, true);
    view.setUint32(at + 120, place.size, true);
  }
  return bytes;
}

function words(values: readonly number[], count: number): Uint8Array {
  const bytes = new Uint8Array(count * 4);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) view.setUint32(4 * i, values[i] ?? FREE, true);
  return bytes;
}
