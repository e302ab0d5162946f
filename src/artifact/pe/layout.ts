// The parts of a PE file that signing has to know: where the checksum, the certificate directory, the sections and the signatures are.

import { ArtifactError } from "../errors.ts";
import { pieces, readRange, type ByteSource } from "../source.ts";

export type Section = {
  readonly name: string;
  readonly virtualAddress: number;
  readonly virtualSize: number;
  /** PointerToRawData and SizeOfRawData: where its bytes are in the file. */
  readonly offset: number;
  readonly size: number;
};

export type PeLayout = {
  readonly size: number;
  /** Of "PE\0\0". */
  readonly headerOffset: number;
  /** PE32+ (64 bit) or PE32. */
  readonly plus: boolean;
  readonly machine: number;
  readonly characteristics: number;
  readonly subsystem: number;
  readonly checksumOffset: number;
  readonly checksum: number;
  /** Of the entry {file offset, size} for the certificate table. */
  readonly directoryOffset: number;
  /**
   * An entry that points to no certificate table: past the end of the file, to zeros, or into the program. A tool that knew nothing of
   * signatures cut the table off or moved it (rcedit, llvm-strip). It is no signature; signing and removing clear it.
   */
  readonly leftover: { readonly offset: number; readonly size: number } | null;
  /** Where the image ends: at the certificate table, at zeros in its place, or with the file. */
  readonly end: number;
  /** As the entry says, checked to lie within the file; null if the file has no signature. */
  readonly table: { readonly offset: number; readonly size: number } | null;
  readonly sizeOfHeaders: number;
  readonly sectionAlignment: number;
  readonly sections: readonly Section[];
};

/** 32-bit offsets: nothing beyond can be addressed by a certificate directory. */
export const PE_LIMIT = 0xffff_ffff;

/**
 * Reads the headers. Every offset is checked against the file before it is used.
 * Errors: `artifact/malformed`, `artifact/too-large`. Source: Microsoft's PE format page; offsets relative to "PE\0\0".
 */
export async function readLayout(source: ByteSource): Promise<PeLayout> {
  if (source.size > PE_LIMIT) {
    throw new ArtifactError(
      "artifact/too-large",
      `The file has ${source.size} bytes; a PE file cannot be signed beyond 4 GiB, because its certificate directory has 32 bits.`,
      { size: source.size },
    );
  }
  const dos = view(await readRange(source, 0, 64, "DOS header"));
  if (dos.getUint16(0, true) !== 0x5a4d) throw malformed("it does not begin with MZ");
  const headerOffset = dos.getUint32(0x3c, true);
  // Below 64 the PE header would overlap the DOS header; Windows loads such files, honest linkers do not write them.
  if (headerOffset < 64) throw malformed("its PE header lies within its DOS header");
  const head = view(await readRange(source, headerOffset, 24, "PE header"));
  if (head.getUint32(0, true) !== 0x4550) throw malformed('it has no "PE" mark');
  const optionalSize = head.getUint16(20, true);
  const sectionCount = head.getUint16(6, true);
  const optional = view(await readRange(source, headerOffset + 24, optionalSize, "optional header"));
  const magic = optionalSize >= 2 ? optional.getUint16(0, true) : 0;
  if (magic !== 0x10b && magic !== 0x20b) throw malformed("its optional header is neither PE32 nor PE32+");
  const plus = magic === 0x20b;
  const shift = plus ? 16 : 0;
  // Offsets 4.1 of the format: directory entry 4 ends at 128 + 8 within the optional header.
  if (optionalSize < 136 + shift)
    throw malformed("its optional header has no room for a certificate directory");
  if (optional.getUint32(92 + shift, true) < 5) throw malformed("it has no certificate directory");
  const tableBytes = await readRange(
    source,
    headerOffset + 24 + optionalSize,
    sectionCount * 40,
    "section table",
  );
  const sections = readSections(tableBytes);
  const directoryOffset = headerOffset + 152 + shift;
  const certificates = await certificatesOf(
    source,
    { offset: optional.getUint32(128 + shift, true), size: optional.getUint32(132 + shift, true) },
    sections,
    directoryOffset + 8,
  );
  return {
    size: source.size,
    headerOffset,
    plus,
    machine: head.getUint16(4, true),
    characteristics: head.getUint16(22, true),
    subsystem: optional.getUint16(68, true),
    checksumOffset: headerOffset + 88,
    checksum: optional.getUint32(64, true),
    directoryOffset,
    ...certificates,
    sizeOfHeaders: optional.getUint32(60, true),
    sectionAlignment: optional.getUint32(32, true),
    sections,
  };
}

/** What the entry points to: a table, or nothing that could be one. */
async function certificatesOf(
  source: ByteSource,
  entry: { readonly offset: number; readonly size: number },
  sections: readonly Section[],
  headersEnd: number,
): Promise<Pick<PeLayout, "table" | "leftover" | "end">> {
  const { offset, size } = entry;
  const whole = { table: null, leftover: null, end: source.size };
  if (offset === 0 && size === 0) return whole;
  // 32-bit values added as doubles cannot wrap round.
  if (offset === 0 || size === 0 || offset + size > source.size) return { ...whole, leftover: entry };
  if (offset < headersEnd) throw malformed("its certificate table lies within its headers");
  const table = { table: entry, leftover: null, end: offset };
  const head = view(await readRange(source, offset, Math.min(8, size), "certificate table"));
  // WIN_CERTIFICATE: length, revision 2.0, PKCS#7. What begins so is judged as a table, with all that is wrong in it.
  if (head.byteLength === 8 && head.getUint16(4, true) === 0x0200 && head.getUint16(6, true) === 2)
    return table;
  const last = Math.max(0, ...sections.map((section) => section.offset + section.size));
  if (await isZero(source, offset, offset + size)) {
    const behind = offset >= last && offset + size === source.size;
    return { table: null, leftover: entry, end: behind ? offset : source.size };
  }
  return offset < last ? { ...whole, leftover: entry } : table;
}

async function isZero(source: ByteSource, from: number, to: number): Promise<boolean> {
  for await (const piece of pieces(source, from, to)) if (piece.some((byte) => byte !== 0)) return false;
  return true;
}

function readSections(bytes: Uint8Array): readonly Section[] {
  const table = view(bytes);
  return Array.from({ length: bytes.length / 40 }, (_, i) => {
    const at = i * 40;
    const name = Buffer.from(bytes.subarray(at, at + 8))
      .toString("latin1")
      .replace(/\0+$/, "")
      .replace(/[^ -~]/g, "?");
    return {
      name,
      virtualSize: table.getUint32(at + 8, true),
      virtualAddress: table.getUint32(at + 12, true),
      size: table.getUint32(at + 16, true),
      offset: table.getUint32(at + 20, true),
    };
  });
}

/** For people, about an entry that points to no signature. */
export function leftoverText(entry: { readonly offset: number; readonly size: number }): string {
  return `The file's certificate entry points to ${entry.size} bytes at ${entry.offset}, where no signature is: a tool cut the signature off and left the entry behind.`;
}

/** End of what the signature covers, before padding. */
export function imageEnd(layout: PeLayout): number {
  return layout.end;
}

export function align8(length: number): number {
  return Math.ceil(length / 8) * 8;
}

const MACHINES: { readonly [machine: number]: string } = {
  0x14c: "x86",
  0x8664: "x64",
  0xaa64: "arm64",
  0x1c4: "arm",
  0x200: "ia64",
  0xebc: "EFI byte code",
};

/** `x64`, `arm64`, ..., or `machine 0x1234`. */
export function machineName(machine: number): string {
  return MACHINES[machine] ?? `machine 0x${machine.toString(16)}`;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function malformed(what: string): ArtifactError {
  return new ArtifactError(
    "artifact/malformed",
    `The file is not a PE program that can be used: ${what}.`,
    {},
  );
}
