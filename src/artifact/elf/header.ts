// A strict reader of ELF headers: what machine a file is for, what it is made of, and where its own bytes end.

import { ArtifactError } from "../errors.ts";
import { readRange, type ByteSource } from "../source.ts";
import { systemOf } from "./system.ts";

/** Where a part of the file lies. */
export type ElfRange = { readonly offset: number; readonly size: number };

export type ElfSegment = ElfRange & { readonly type: number; readonly align: number };

export type ElfSection = ElfRange & {
  readonly name: string;
  readonly type: number;
};

export type ElfHeader = {
  readonly bits: 32 | 64;
  readonly littleEndian: boolean;
  /** EI_OSABI as it stands in the file. */
  readonly abi: number;
  readonly machine: number;
  readonly type: ElfType;
  /** By Node's names: linux, freebsd, ... An ELF file that names no system is one for Linux. */
  readonly os: string;
  /** By Node's names: x64, arm64, ...; `machine-N` for one without a name. */
  readonly arch: string;
  readonly segments: readonly ElfSegment[];
  readonly sections: readonly ElfSection[];
  /** The first byte that no header, table, segment or section of the file claims. */
  readonly end: number;
};

export type ElfType = "relocatable" | "executable" | "shared" | "core";

/** Enough of a file to tell that it is an ELF file. */
export const ELF_MAGIC: readonly number[] = [0x7f, 0x45, 0x4c, 0x46];

/** The largest table that is read; 65,535 section headers of 64 bytes are 4 MiB. */
const MAX_TABLE = 8 * 1024 * 1024;
/** Section names of the largest debug builds are below this. */
const MAX_NAMES = 4 * 1024 * 1024;

/** System V ABI, e_machine: number, class, byte order, Node's `process.arch`. */
const MACHINES: readonly (readonly [machine: number, bits: 32 | 64, little: boolean, arch: string])[] = [
  [3, 32, true, "ia32"],
  [8, 32, false, "mips"],
  [8, 32, true, "mipsel"],
  [20, 32, false, "ppc"],
  [21, 64, false, "ppc64"],
  [21, 64, true, "ppc64le"],
  [22, 64, false, "s390x"],
  [40, 32, true, "arm"],
  [62, 32, true, "x32"],
  [62, 64, true, "x64"],
  [183, 64, true, "arm64"],
  [243, 32, true, "riscv32"],
  [243, 64, true, "riscv64"],
  [258, 64, true, "loong64"],
];

const TYPES: { readonly [e_type: number]: ElfType } = {
  1: "relocatable",
  2: "executable",
  3: "shared",
  4: "core",
};

const SHT_SYMTAB = 2;
const SHT_NOBITS = 8;
const SHN_XINDEX = 0xffff;
const PN_XNUM = 0xffff;

/** True if the bytes begin like an ELF file. */
export function looksLikeElf(start: Uint8Array): boolean {
  return ELF_MAGIC.every((byte, i) => start[i] === byte);
}

/**
 * Reads the header and both tables. `limit` is where the file's own bytes end at the latest: the start of a signature,
 * or the length of the file. Whatever points beyond it is refused.
 * Errors: `artifact/malformed`, `artifact/points-beyond`. Source: System V ABI, chapters 4 and 5.
 */
export async function readElfHeader(source: ByteSource, limit: number = source.size): Promise<ElfHeader> {
  const start = await readRange(source, 0, Math.min(64, limit), "header");
  if (!looksLikeElf(start)) throw malformed("it does not begin with the ELF magic");
  const [cls, data, version] = [start[4]!, start[5]!, start[6]!];
  if (cls !== 1 && cls !== 2) throw malformed(`its class ${cls} is neither 32 nor 64 bits`);
  if (data !== 1 && data !== 2) throw malformed(`its byte order ${data} is neither little nor big`);
  if (version !== 1) throw malformed(`its identification has version ${version}`);
  const bits = cls === 2 ? 64 : 32;
  const shape = bits === 64 ? SHAPE_64 : SHAPE_32;
  if (start.length < shape.header) throw malformed("it ends inside its header");
  const at = new Reader(start, data === 1, bits);

  const type = TYPES[at.u16(16)];
  if (type === undefined)
    throw malformed(`its type ${at.u16(16)} is not one of a file that runs or is linked`);
  if (at.u32(20) !== 1) throw malformed(`its header has version ${at.u32(20)}`);
  if (at.u16(shape.ehsize) !== shape.header)
    throw malformed(`its header claims ${at.u16(shape.ehsize)} bytes`);
  const machine = at.u16(18);
  const table = {
    phoff: at.word(shape.phoff, "the program header table"),
    shoff: at.word(shape.shoff, "the section header table"),
    phentsize: at.u16(shape.ehsize + 2),
    phnum: at.u16(shape.ehsize + 4),
    shentsize: at.u16(shape.ehsize + 6),
    shnum: at.u16(shape.ehsize + 8),
    shstrndx: at.u16(shape.ehsize + 10),
  };

  const raw = await readSections(source, at, shape, table, limit);
  // gABI: counts that do not fit into 16 bits stand in the first section header.
  const phnum = table.phnum === PN_XNUM && raw.length > 0 ? raw[0]!.info : table.phnum;
  const segments = await readSegments(source, at, shape, { ...table, phnum }, limit);
  const sections = await nameSections(source, raw, table.shstrndx, limit);

  let end = shape.header;
  const claim = (range: ElfRange, what: string): void => {
    if (range.offset + range.size > limit) throw beyond(what, range, limit);
    end = Math.max(end, range.offset + range.size);
  };
  if (table.shoff > 0)
    claim({ offset: table.shoff, size: raw.length * shape.sh }, "The section header table");
  if (table.phoff > 0) claim({ offset: table.phoff, size: phnum * shape.ph }, "The program header table");
  for (const [i, segment] of segments.entries()) if (segment.size > 0) claim(segment, `Segment ${i}`);
  for (const section of sections) {
    if (section.type !== SHT_NOBITS && section.type !== 0 && section.size > 0)
      claim(section, `Section "${section.name}"`);
  }
  return {
    bits,
    littleEndian: data === 1,
    abi: start[7]!,
    machine,
    type,
    os: systemOf(start[7]!, segments, sections),
    arch:
      MACHINES.find(([m, b, l]) => m === machine && b === bits && l === (data === 1))?.[3] ??
      `machine-${machine}`,
    segments,
    sections,
    end,
  };
}

/** Sections that `strip` would have taken away: the symbol table and debug information. Their names, in file order. */
export function strippableSections(header: ElfHeader): readonly string[] {
  return header.sections
    .filter(
      (section) =>
        section.type === SHT_SYMTAB || /^\.z?debug/.test(section.name) || section.name === ".gdb_index",
    )
    .map((section) => section.name);
}

const NT_GNU_BUILD_ID = 3;
const MAX_NOTE = 64 * 1024;

/** The GNU build id, or null. Looked for in note segments and, for files without segments, note sections. */
export async function readBuildId(source: ByteSource, header: ElfHeader): Promise<Uint8Array | null> {
  const PT_NOTE = 4;
  const SHT_NOTE = 7;
  const ranges = [
    ...header.segments.filter((segment) => segment.type === PT_NOTE),
    ...header.sections.filter((section) => section.type === SHT_NOTE),
  ].filter((range) => range.size > 0 && range.size <= MAX_NOTE);
  for (const range of ranges.slice(0, 16)) {
    const bytes = await readRange(source, range.offset, range.size, "note");
    const found = buildIdIn(new Reader(bytes, header.littleEndian, header.bits));
    if (found !== null) return found;
  }
  return null;
}

/** gABI note entries: name size, descriptor size, type, then both padded to four bytes. */
function buildIdIn(at: Reader): Uint8Array | null {
  const length = at.bytes.length;
  for (let offset = 0; offset + 12 <= length;) {
    const [nameSize, size, type] = [at.u32(offset), at.u32(offset + 4), at.u32(offset + 8)];
    const name = offset + 12;
    const desc = name + pad4(nameSize);
    const next = desc + pad4(size);
    if (next > length) return null;
    const gnu = nameSize === 4 && at.u32(name) === (at.little ? 0x00554e47 : 0x474e5500);
    if (gnu && type === NT_GNU_BUILD_ID && size >= 4 && size <= 64) return at.bytes.slice(desc, desc + size);
    offset = next;
  }
  return null;
}

function pad4(size: number): number {
  return Math.ceil(size / 4) * 4;
}

type Shape = {
  readonly header: number;
  readonly phoff: number;
  readonly shoff: number;
  readonly ehsize: number;
  readonly ph: number;
  readonly sh: number;
};
const SHAPE_32: Shape = { header: 52, phoff: 28, shoff: 32, ehsize: 40, ph: 32, sh: 40 };
const SHAPE_64: Shape = { header: 64, phoff: 32, shoff: 40, ehsize: 52, ph: 56, sh: 64 };

type Table = {
  readonly phoff: number;
  readonly shoff: number;
  readonly phentsize: number;
  readonly phnum: number;
  readonly shentsize: number;
  readonly shnum: number;
  readonly shstrndx: number;
};

type RawSection = ElfRange & {
  readonly nameAt: number;
  readonly type: number;
  readonly link: number;
  readonly info: number;
};

async function readSections(
  source: ByteSource,
  header: Reader,
  shape: Shape,
  table: Table,
  limit: number,
): Promise<readonly RawSection[]> {
  if (table.shoff === 0) {
    if (table.shnum !== 0) throw malformed("it counts section headers and has no table of them");
    return [];
  }
  if (table.shentsize !== shape.sh)
    throw malformed(`its section headers claim ${table.shentsize} bytes each`);
  let count = table.shnum;
  if (count === 0) {
    const first = await readTable(source, table.shoff, shape.sh, limit, "The section header table");
    const reader = new Reader(first, header.little, header.bits);
    count =
      header.bits === 64
        ? reader.word(32, "the count of sections")
        : reader.word(20, "the count of sections");
    if (count === 0) return [];
  }
  const bytes = await readTable(source, table.shoff, count * shape.sh, limit, "The section header table");
  const at = new Reader(bytes, header.little, header.bits);
  const wide = header.bits === 64;
  return Array.from({ length: count }, (_, i) => {
    const base = i * shape.sh;
    return {
      nameAt: at.u32(base),
      type: at.u32(base + 4),
      offset: at.word(base + (wide ? 24 : 16), `section ${i}`),
      size: at.word(base + (wide ? 32 : 20), `section ${i}`),
      link: at.u32(base + (wide ? 40 : 24)),
      info: at.u32(base + (wide ? 44 : 28)),
    };
  });
}

async function readSegments(
  source: ByteSource,
  header: Reader,
  shape: Shape,
  table: Table,
  limit: number,
): Promise<readonly ElfSegment[]> {
  if (table.phoff === 0) {
    if (table.phnum !== 0) throw malformed("it counts program headers and has no table of them");
    return [];
  }
  if (table.phnum === 0) return [];
  if (table.phentsize !== shape.ph)
    throw malformed(`its program headers claim ${table.phentsize} bytes each`);
  const bytes = await readTable(
    source,
    table.phoff,
    table.phnum * shape.ph,
    limit,
    "The program header table",
  );
  const at = new Reader(bytes, header.little, header.bits);
  const wide = header.bits === 64;
  return Array.from({ length: table.phnum }, (_, i) => {
    const base = i * shape.ph;
    return {
      type: at.u32(base),
      offset: at.word(base + (wide ? 8 : 4), `segment ${i}`),
      size: at.word(base + (wide ? 32 : 16), `segment ${i}`),
      align: at.word(base + (wide ? 48 : 28), `segment ${i}`),
    };
  });
}

async function nameSections(
  source: ByteSource,
  raw: readonly RawSection[],
  index: number,
  limit: number,
): Promise<readonly ElfSection[]> {
  const which = index === SHN_XINDEX && raw.length > 0 ? raw[0]!.link : index;
  const table = which === 0 ? undefined : raw[which];
  if (which !== 0 && table === undefined)
    throw malformed(`section names are said to be in section ${which}, which it does not have`);
  let names: Uint8Array = new Uint8Array(0);
  if (table !== undefined && table.type !== SHT_NOBITS) {
    if (table.size > MAX_NAMES) throw malformed(`its section names take ${table.size} bytes`);
    if (table.offset + table.size > limit) throw beyond("The section name table", table, limit);
    names = await readRange(source, table.offset, table.size, "section name table");
  }
  return raw.map(({ nameAt, type, offset, size }) => {
    const end = names.indexOf(0, nameAt);
    // A name is shown and compared, never used as a place; 200 characters are more than any real one has.
    const text =
      nameAt >= names.length
        ? ""
        : Buffer.from(names.subarray(nameAt, end < 0 ? nameAt + 200 : Math.min(end, nameAt + 200))).toString(
            "latin1",
          );
    return { name: text, type, offset, size };
  });
}

async function readTable(
  source: ByteSource,
  offset: number,
  size: number,
  limit: number,
  what: string,
): Promise<Uint8Array> {
  // The count is checked before anything is allocated by it.
  if (size > MAX_TABLE) throw malformed(`${what.toLowerCase()} would take ${size} bytes`);
  if (offset + size > limit) throw beyond(what, { offset, size }, limit);
  return readRange(source, offset, size, what);
}

class Reader {
  readonly bytes: Uint8Array;
  readonly little: boolean;
  readonly bits: 32 | 64;
  readonly #view: DataView;

  constructor(bytes: Uint8Array, little: boolean, bits: 32 | 64) {
    this.bytes = bytes;
    this.little = little;
    this.bits = bits;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  u16(offset: number): number {
    return this.#view.getUint16(offset, this.little);
  }

  u32(offset: number): number {
    return this.#view.getUint32(offset, this.little);
  }

  /** An offset or size of the file's class. A number beyond 2^48 is no place in a file. */
  word(offset: number, what: string): number {
    if (this.bits === 32) return this.u32(offset);
    const value = this.#view.getBigUint64(offset, this.little);
    if (value > 0xffff_ffff_ffffn) throw malformed(`an offset or size of ${what} is ${value}`);
    return Number(value);
  }
}

function malformed(what: string): ArtifactError {
  return new ArtifactError("artifact/malformed", `The ELF file is malformed: ${what}.`, { format: "elf" });
}

function beyond(what: string, range: ElfRange, limit: number): ArtifactError {
  return new ArtifactError(
    "artifact/points-beyond",
    `${what} reaches to byte ${range.offset + range.size}, but the file's own bytes end at ${limit}: the file was cut off, or its headers were changed.`,
    { offset: range.offset, size: range.size, limit },
  );
}
