// A strict reader of OLE compound files, the file system inside an MSI: storages and streams as ranges of the file.

import { ArtifactError } from "../errors.ts";
import { joined, type Piece, type Range } from "../rewrite.ts";
import { readRange, type ByteSource } from "../source.ts";

/** [MS-CFB] 2.2: header signature. */
export const COMPOUND_MAGIC: readonly number[] = [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];

export type Entry = {
  /** UTF-16LE without the terminator, as it stands in the file: MSI packs two letters into one. */
  readonly name: Uint8Array;
  readonly clsid: Uint8Array;
  readonly stateBits: Uint8Array;
  /** Creation and modification time, sixteen bytes. */
  readonly times: Uint8Array;
};
export type Stream = Entry & {
  readonly kind: "stream";
  readonly size: number;
  readonly pieces: readonly Piece[];
};
export type Storage = Entry & { readonly kind: "storage"; readonly children: readonly (Stream | Storage)[] };

export type CompoundFile = {
  readonly majorVersion: 3 | 4;
  readonly root: Storage;
  /** Stretches of the file that belong to nothing in it; no digest covers them. Empty for one that is to be written. */
  readonly unowned: readonly Range[];
};

/** [MS-CFB] 2.1: sector numbers above are marks. */
const MAX_SECTOR = 0xffff_fffa;
const END_OF_CHAIN = 0xffff_fffe;
const NO_STREAM = 0xffff_ffff;
const MINI_SECTOR = 64;
const MINI_CUTOFF = 4096;
const ENTRY = 128;

/** Above, the format reserves a sector for locks in the middle; no installer is that large. */
export const MAX_COMPOUND: number = 2 ** 31 - 4096;
const MAX_DEPTH = 16;
const MAX_ENTRIES = 1 << 18;
/** Ranges of one file after joining neighbours. */
const MAX_PIECES = 1 << 18;

/**
 * Reads the header, the allocation tables and the directory; contents stay where they are.
 * No sector may belong to two owners, no chain may run in a circle or out of the file, no storage may have a name twice.
 * Errors: `artifact/malformed`, `artifact/unsupported`. Source: [MS-CFB] 2.2 to 2.6.
 */
export async function readCompound(source: ByteSource): Promise<CompoundFile> {
  if (source.size > MAX_COMPOUND) {
    throw new ArtifactError("artifact/unsupported", "Compound files of 2 GiB and more are not supported.", {
      size: source.size,
    });
  }
  const header = await readHeader(source);
  const sectors = new Sectors(source, header.sectorSize);
  const fat = await readFat(source, header, sectors);
  const directory = await readChain(
    source,
    sectors,
    chain(fat, header.firstDirectory, sectors, "the directory"),
  );
  const entries = directory.length / ENTRY;
  if (entries > MAX_ENTRIES) throw malformed(`its directory has ${entries} entries`);
  const rootEntry = rawEntry(directory, 0);
  if (rootEntry.type !== 5) throw malformed("its directory does not begin with the root");
  const mini = await readMini(source, header, sectors, fat, rootEntry);
  const budget = { pieces: MAX_PIECES };
  const visited = new Uint8Array(entries);
  visited[0] = 1;

  const read = (id: number, depth: number): Stream | Storage => {
    const raw = rawEntry(directory, id);
    const { name, clsid, stateBits, times } = raw;
    if (raw.type === 1) {
      return { kind: "storage", name, clsid, stateBits, times, children: readChildren(raw.child, depth + 1) };
    }
    if (raw.type !== 2) throw malformed(`entry ${id} of its directory has type ${raw.type}`);
    const size = streamSize(raw, header.majorVersion);
    const pieces =
      size < MINI_CUTOFF ? mini.take(raw.start, size) : take(fat, sectors, raw.start, size, `entry ${id}`);
    budget.pieces -= pieces.length;
    if (budget.pieces < 0) throw malformed("its streams are scattered over too many places");
    return { kind: "stream", name, clsid, stateBits, times, size, pieces };
  };
  const readChildren = (top: number, depth: number): readonly (Stream | Storage)[] => {
    if (depth > MAX_DEPTH) throw malformed(`its storages are nested more than ${MAX_DEPTH} deep`);
    const out: (Stream | Storage)[] = [];
    const names = new Set<string>();
    const waiting = [top];
    while (waiting.length > 0) {
      const id = waiting.pop()!;
      if (id === NO_STREAM) continue;
      if (id >= entries || visited[id] === 1)
        throw malformed(`its directory points to entry ${id} wrongly or twice`);
      visited[id] = 1;
      const raw = rawEntry(directory, id);
      waiting.push(raw.left, raw.right);
      const entry = read(id, depth);
      // [MS-CFB] 2.6.4: names are compared without case.
      const key = Buffer.from(entry.name).toString("utf16le").toUpperCase();
      if (names.has(key)) throw malformed("a storage has two entries of the same name");
      names.add(key);
      out.push(entry);
    }
    return out;
  };
  const { name, clsid, stateBits, times } = rootEntry;
  const root: Storage = {
    kind: "storage",
    name,
    clsid,
    stateBits,
    times,
    children: readChildren(rootEntry.child, 0),
  };
  return { majorVersion: header.majorVersion, root, unowned: sectors.unowned() };
}

type Header = {
  readonly majorVersion: 3 | 4;
  readonly sectorSize: number;
  readonly fatSectors: number;
  readonly firstDirectory: number;
  readonly firstMiniFat: number;
  readonly firstDifat: number;
  readonly difat: readonly number[];
};

async function readHeader(source: ByteSource): Promise<Header> {
  const bytes = await readRange(source, 0, Math.min(512, source.size), "header");
  if (!COMPOUND_MAGIC.every((byte, i) => bytes[i] === byte))
    throw malformed("it does not begin with the magic");
  if (bytes.length < 512) throw malformed("it ends inside its header");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const majorVersion = view.getUint16(26, true);
  if (majorVersion !== 3 && majorVersion !== 4) throw malformed(`its version is ${majorVersion}`);
  const shift = majorVersion === 3 ? 9 : 12;
  if (
    view.getUint16(28, true) !== 0xfffe ||
    view.getUint16(30, true) !== shift ||
    view.getUint16(32, true) !== 6
  ) {
    throw malformed("its byte order or sector sizes are not those of its version");
  }
  if (view.getUint32(56, true) !== MINI_CUTOFF) throw malformed("its limit for small streams is not 4096");
  // [MS-CFB] 2.2: in version 4 the header fills a sector, with zeros.
  const rest = await readRange(source, 512, Math.max(0, Math.min(1 << shift, source.size) - 512), "header");
  if (rest.some((byte) => byte !== 0)) throw malformed("something stands behind its header");
  return {
    majorVersion,
    sectorSize: 1 << shift,
    fatSectors: view.getUint32(44, true),
    firstDirectory: view.getUint32(48, true),
    firstMiniFat: view.getUint32(60, true),
    firstDifat: view.getUint32(68, true),
    difat: Array.from({ length: 109 }, (_, i) => view.getUint32(76 + 4 * i, true)),
  };
}

/** The sectors of the file, and which of them have an owner. */
class Sectors {
  readonly size: number;
  readonly count: number;
  readonly length: number;
  readonly #owned: Uint8Array;

  constructor(source: ByteSource, size: number) {
    this.size = size;
    this.length = source.size;
    // The last sector may be cut short by writers that do not pad.
    this.count = Math.max(0, Math.ceil((source.size - size) / size));
    this.#owned = new Uint8Array(this.count);
  }

  /** Errors: `artifact/malformed` if the sector is not in the file or has an owner already. */
  own(sector: number, what: string): void {
    if (sector >= this.count)
      throw malformed(`${what} is said to be in sector ${sector}, which the file does not have`);
    if (this.#owned[sector] === 1)
      throw malformed(`sector ${sector} belongs to ${what} and to something else`);
    this.#owned[sector] = 1;
  }

  /** What nobody owns, neighbours joined. */
  unowned(): readonly Range[] {
    const out: Range[] = [];
    for (let sector = 0; sector < this.count; sector++) {
      if (this.#owned[sector] === 1) continue;
      const from = sector;
      while (sector + 1 < this.count && this.#owned[sector + 1] === 0) sector++;
      const offset = this.offset(from);
      out.push({ offset, size: this.offset(sector) + this.present(sector) - offset });
    }
    return out;
  }

  offset(sector: number): number {
    return (sector + 1) * this.size;
  }

  /** Bytes of the sector that are really in the file. */
  present(sector: number): number {
    return Math.min(this.size, this.length - this.offset(sector));
  }
}

async function readFat(source: ByteSource, header: Header, sectors: Sectors): Promise<Uint32Array> {
  if (header.fatSectors === 0 || header.fatSectors > sectors.count) {
    throw malformed(`its allocation table is said to take ${header.fatSectors} sectors`);
  }
  const places: number[] = [];
  const add = (sector: number): void => {
    if (places.length < header.fatSectors) places.push(sector);
    else if (sector !== NO_STREAM)
      throw malformed("it lists more sectors of its allocation table than it counts");
  };
  header.difat.forEach(add);
  const perSector = header.sectorSize / 4;
  for (let at = header.firstDifat; places.length < header.fatSectors;) {
    if (at >= MAX_SECTOR) throw malformed("it lists fewer sectors of its allocation table than it counts");
    sectors.own(at, "the list of the allocation table");
    const view = await readSector(source, sectors, at);
    for (let i = 0; i < perSector - 1; i++) add(view.getUint32(4 * i, true));
    at = view.getUint32(4 * (perSector - 1), true);
  }
  const fat = new Uint32Array(header.fatSectors * perSector);
  for (const [n, place] of places.entries()) {
    sectors.own(place, "the allocation table");
    const view = await readSector(source, sectors, place);
    for (let i = 0; i < perSector; i++) fat[n * perSector + i] = view.getUint32(4 * i, true);
  }
  return fat;
}

async function readSector(source: ByteSource, sectors: Sectors, sector: number): Promise<DataView> {
  if (sectors.present(sector) < sectors.size) throw malformed("it ends inside a table");
  const bytes = await readRange(source, sectors.offset(sector), sectors.size, "table");
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The sectors of one chain, each owned by it from now on; a circle meets its own sector and is refused. */
function chain(fat: Uint32Array, first: number, sectors: Sectors, what: string): readonly number[] {
  const out: number[] = [];
  for (let at = first; at !== END_OF_CHAIN;) {
    sectors.own(at, what);
    out.push(at);
    if (at >= fat.length) throw malformed(`${what} leaves the allocation table`);
    at = fat[at]!;
  }
  return out;
}

async function readChain(
  source: ByteSource,
  sectors: Sectors,
  places: readonly number[],
): Promise<Uint8Array> {
  const out = new Uint8Array(places.length * sectors.size);
  for (const [i, sector] of places.entries()) {
    const view = await readSector(source, sectors, sector);
    out.set(new Uint8Array(view.buffer, view.byteOffset, view.byteLength), i * sectors.size);
  }
  return out;
}

/** The ranges of a stream in full sectors. */
function take(
  fat: Uint32Array,
  sectors: Sectors,
  first: number,
  size: number,
  what: string,
): readonly Piece[] {
  if (size > sectors.length) throw malformed(`${what} claims ${size} bytes, more than the file has`);
  const places = chain(fat, first, sectors, what);
  if (places.length !== Math.ceil(size / sectors.size)) {
    throw malformed(`${what} claims ${size} bytes and has ${places.length} sectors`);
  }
  return joined(
    places.map((sector, i) => {
      const want = Math.min(sectors.size, size - i * sectors.size);
      if (sectors.present(sector) < want) throw malformed(`${what} reaches beyond the end of the file`);
      return { offset: sectors.offset(sector), size: want };
    }),
  );
}

type Mini = { readonly take: (first: number, size: number) => readonly Piece[] };

/** Streams below 4096 bytes live in sectors of 64 bytes inside the root's own stream. */
async function readMini(
  source: ByteSource,
  header: Header,
  sectors: Sectors,
  fat: Uint32Array,
  root: RawEntry,
): Promise<Mini> {
  const size = streamSize(root, header.majorVersion);
  const places = size === 0 ? [] : chain(fat, root.start, sectors, "the stream of small streams");
  if (size > places.length * header.sectorSize)
    throw malformed("its stream of small streams is shorter than it claims");
  const table =
    header.firstMiniFat >= MAX_SECTOR
      ? new Uint8Array(0)
      : await readChain(
          source,
          sectors,
          chain(fat, header.firstMiniFat, sectors, "the table of small streams"),
        );
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  const count = Math.min(
    table.length / 4,
    Math.floor(size / MINI_SECTOR) + (size % MINI_SECTOR === 0 ? 0 : 1),
  );
  const owned = new Uint8Array(count);
  const perSector = header.sectorSize / MINI_SECTOR;
  return {
    take: (first, wanted) => {
      if (wanted === 0) return [];
      const pieces: Piece[] = [];
      let at = first;
      for (let left = wanted; left > 0; left -= MINI_SECTOR) {
        if (at >= count || owned[at] === 1)
          throw malformed(`small sector ${at} is not there or belongs to two streams`);
        owned[at] = 1;
        const sector = places[Math.floor(at / perSector)]!;
        const within = (at % perSector) * MINI_SECTOR;
        const piece = Math.min(MINI_SECTOR, left);
        if (sectors.present(sector) < within + piece)
          throw malformed("a small stream reaches beyond the end of the file");
        pieces.push({ offset: sectors.offset(sector) + within, size: piece });
        at = view.getUint32(4 * at, true);
      }
      if (at !== END_OF_CHAIN) throw malformed("a small stream has more sectors than it claims bytes");
      return joined(pieces);
    },
  };
}

type RawEntry = Entry & {
  readonly type: number;
  readonly left: number;
  readonly right: number;
  readonly child: number;
  readonly start: number;
  readonly sizeLow: number;
  readonly sizeHigh: number;
};

/** [MS-CFB] 2.6.1. */
function rawEntry(directory: Uint8Array, id: number): RawEntry {
  const bytes = directory.subarray(id * ENTRY, (id + 1) * ENTRY);
  if (bytes.length < ENTRY) throw malformed("its directory is empty");
  const view = new DataView(bytes.buffer, bytes.byteOffset, ENTRY);
  const nameSize = view.getUint16(64, true);
  const type = bytes[66]!;
  if (
    type !== 0 &&
    (nameSize < 2 || nameSize > 64 || nameSize % 2 !== 0 || view.getUint16(nameSize - 2, true) !== 0)
  ) {
    throw malformed(`the name of entry ${id} of its directory has ${nameSize} bytes`);
  }
  return {
    name: bytes.slice(0, Math.max(0, nameSize - 2)),
    type,
    left: view.getUint32(68, true),
    right: view.getUint32(72, true),
    child: view.getUint32(76, true),
    clsid: bytes.slice(80, 96),
    stateBits: bytes.slice(96, 100),
    times: bytes.slice(100, 116),
    start: view.getUint32(116, true),
    sizeLow: view.getUint32(120, true),
    sizeHigh: view.getUint32(124, true),
  };
}

/** [MS-CFB] 2.6.3: version 3 files may have anything in the upper half. */
function streamSize(entry: RawEntry, majorVersion: 3 | 4): number {
  if (majorVersion === 4 && entry.sizeHigh !== 0) throw malformed("a stream claims more than 4 GiB");
  return entry.sizeLow;
}

function malformed(what: string): ArtifactError {
  return new ArtifactError("artifact/malformed", `The compound file is malformed: ${what}.`, {
    format: "msi",
  });
}
