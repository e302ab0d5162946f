// Cabinet files: where the signature lies, what is hashed, and the header with and without room for a signature.

import { concat } from "../../core/bytes.ts";
import type { HashName } from "../../der/algorithms.ts";
import { ArtifactError } from "../errors.ts";
import type { Range, Rewrite } from "../rewrite.ts";
import { hasher, pieces, readRange, type ByteSource } from "../source.ts";

/** A cabinet in its parts. */
export type Cabinet = {
  /** The header and the folder entries as a signed cabinet has them, but for place and size of the signature. */
  readonly head: Uint8Array;
  /** Where the files and the data lie in this file: everything after the folder entries. */
  readonly body: Range;
  /** The signature and its padding; null without one. */
  readonly signature: Range | null;
};

/** [MS-CAB] 2.1: "MSCF". */
export const CAB_MAGIC: readonly number[] = [0x4d, 0x53, 0x43, 0x46];

const PLAIN_HEADER = 36;
/** cbCFHeader, cbCFFolder, cbCFData and the twenty reserved bytes. */
const RESERVE = 24;
const FOLDER = 8;
const FLAG_PREVIOUS = 1;
const FLAG_NEXT = 2;
const FLAG_RESERVE = 4;
/** The first word of the reserved bytes, "a signature follows at". */
const RESERVE_KIND = 0x00100000;
const MAX_SIGNATURE = 1024 * 1024;

/**
 * Reads the header. Every field that the digest does not cover must have its one possible value, so that nothing can hide there.
 * Errors: `artifact/malformed`, `artifact/truncated`, `artifact/trailing-bytes`, `artifact/unsupported`. Source: [MS-CAB] 2.1, 2.2.
 */
export async function readCabinet(source: ByteSource): Promise<Cabinet> {
  const start = await readRange(source, 0, Math.min(source.size, PLAIN_HEADER + RESERVE), "header");
  if (!CAB_MAGIC.every((byte, i) => start[i] === byte)) throw malformed("it does not begin with MSCF");
  if (start.length < PLAIN_HEADER) throw malformed("it ends inside its header");
  const view = new DataView(start.buffer, start.byteOffset, start.byteLength);
  const u16 = (at: number): number => view.getUint16(at, true);
  const u32 = (at: number): number => view.getUint32(at, true);
  if (u32(4) !== 0 || u32(12) !== 0 || u32(20) !== 0) throw malformed("a reserved field is not zero");
  if (start[24] !== 3 || start[25] !== 1)
    throw malformed(`its version is ${start[25]}.${start[24]}, not 1.3`);
  const flags = u16(30);
  if ((flags & (FLAG_PREVIOUS | FLAG_NEXT)) !== 0 || u16(34) !== 0) {
    throw new ArtifactError(
      "artifact/unsupported",
      "The cabinet is one of a set; only single cabinets can be signed.",
      { format: "cab" },
    );
  }
  if ((flags & ~FLAG_RESERVE) !== 0) throw malformed(`its flags are ${flags}`);
  const folders = u16(26);
  const own = (flags & FLAG_RESERVE) === 0 ? null : await ownReserve(source);
  const signed = own === null && (flags & FLAG_RESERVE) !== 0;
  const headerSize = signed ? PLAIN_HEADER + RESERVE : PLAIN_HEADER + (own ?? 0);
  const size = u32(8);
  const signature = signed ? signatureOf(start, u32, source.size, size) : null;
  if (size > source.size) {
    throw new ArtifactError(
      "artifact/truncated",
      `The cabinet claims ${size} bytes and has ${source.size}: it was cut off.`,
      {
        claimed: size,
        length: source.size,
      },
    );
  }
  if (signature === null && size < source.size) {
    throw new ArtifactError("artifact/trailing-bytes", `${source.size - size} bytes follow the cabinet.`, {
      after: source.size - size,
    });
  }
  const headSize = headerSize + FOLDER * folders;
  const files = u32(16);
  if (files < headSize || files > size) throw malformed(`its files are said to begin at ${files}`);
  const table = await readRange(source, headSize - FOLDER * folders, FOLDER * folders, "folder table");
  return {
    head: signed ? concat([start, table]) : withReserve(start, table, size, headerSize),
    body: { offset: headSize, size: size - headSize },
    signature,
  };
}

/**
 * The size of reserved fields that hold no signature: room that somebody left for one, or for a use of his own. Null if a signature is there.
 * They are replaced by those of the signature, and so nothing may stand in them; reserved bytes of folders and data cannot be signed.
 */
async function ownReserve(source: ByteSource): Promise<number | null> {
  const sizes = await readRange(source, PLAIN_HEADER, 4, "header");
  const size = sizes[0]! | (sizes[1]! << 8);
  const rest = await readRange(source, PLAIN_HEADER + 4, size, "reserved fields");
  const kind = size < 4 ? 0 : new DataView(rest.buffer, rest.byteOffset).getUint32(0, true);
  if (size === RESERVE - 4 && kind === RESERVE_KIND && sizes[2] === 0 && sizes[3] === 0) return null;
  if (sizes[2] !== 0 || sizes[3] !== 0 || rest.some((byte) => byte !== 0)) {
    throw new ArtifactError(
      "artifact/unsupported",
      "The cabinet has data in its reserved fields, where a signature would stand; signing would remove that data.",
      { format: "cab", header: size, folder: sizes[2]!, data: sizes[3]! },
      { hint: "Make the cabinet without reserved fields, or with empty ones in its header only." },
    );
  }
  return 4 + size;
}

function signatureOf(start: Uint8Array, u32: (at: number) => number, length: number, size: number): Range {
  if (start.length < PLAIN_HEADER + RESERVE) throw malformed("it ends inside its header");
  const [offset, count] = [u32(44), u32(48)];
  // [52, 56) is not hashed; with anything but zeros it would be a place to hide in.
  if (u32(52) !== 0) throw malformed("a reserved field that no digest covers is not zero");
  if (offset !== size || count === 0 || count > MAX_SIGNATURE) {
    throw malformed(`its signature is said to be ${count} bytes at ${offset}`);
  }
  if (offset + count > length) {
    throw new ArtifactError(
      "artifact/truncated",
      `The cabinet claims a signature up to byte ${offset + count} and has ${length}: it was cut off.`,
      { claimed: offset + count, length },
    );
  }
  if (offset + count < length) {
    throw new ArtifactError(
      "artifact/trailing-bytes",
      `${length - offset - count} bytes follow the signature: something was appended after signing.`,
      { after: length - offset - count },
    );
  }
  return { offset, size: count };
}

/** The header that a signed cabinet has: everything behind it moves by the reserved bytes. */
function withReserve(start: Uint8Array, table: Uint8Array, size: number, headerSize: number): Uint8Array {
  const head = concat([start.subarray(0, PLAIN_HEADER), new Uint8Array(RESERVE), table]);
  const view = new DataView(head.buffer);
  const moved = PLAIN_HEADER + RESERVE - headerSize;
  if (size + moved > 0xffff_ffff) throw malformed("it has no room for a signature below 4 GiB");
  shift(view, moved, table.length / FOLDER, PLAIN_HEADER + RESERVE);
  view.setUint16(30, FLAG_RESERVE, true);
  view.setUint16(36, 20, true);
  view.setUint32(40, RESERVE_KIND, true);
  return head;
}

/** Moves cbCabinet, coffFiles and every folder's coffCabStart. */
function shift(view: DataView, by: number, folders: number, table: number): void {
  for (const at of [8, 16, ...Array.from({ length: folders }, (_, i) => table + FOLDER * i)]) {
    const moved = view.getUint32(at, true) + by;
    if (moved < 0 || moved > 0xffff_ffff) throw malformed("an offset does not fit into 32 bits");
    view.setUint32(at, moved, true);
  }
}

/**
 * What Authenticode hashes of a cabinet: all of it as it is when signed, but reserved1, the cabinet's number,
 * the sizes of the reserved fields and the place of the signature. The same before and after signing.
 */
export async function cabinetDigest(
  source: ByteSource,
  cabinet: Cabinet,
  algorithm: HashName,
): Promise<Uint8Array> {
  const { head, body } = cabinet;
  const hash = hasher(algorithm);
  hash.update(head.subarray(0, 4)).update(head.subarray(8, 34)).update(head.subarray(56));
  for await (const part of pieces(source, body.offset, body.offset + body.size)) hash.update(part);
  return new Uint8Array(hash.digest());
}

/** The cabinet with this signature and no other; padded to eight bytes, the padding inside the counted size. */
export function attachToCabinet(cabinet: Cabinet, cms: Uint8Array): Rewrite {
  const padded = new Uint8Array(Math.ceil(cms.length / 8) * 8);
  padded.set(cms);
  if (padded.length > MAX_SIGNATURE) throw malformed(`a signature of ${cms.length} bytes is too large`);
  const head = cabinet.head.slice();
  const view = new DataView(head.buffer);
  view.setUint32(44, head.length + cabinet.body.size, true);
  view.setUint32(48, padded.length, true);
  return [head, cabinet.body, padded];
}

/** The cabinet as it was before it was signed. */
export function removeFromCabinet(cabinet: Cabinet): Rewrite {
  const whole = PLAIN_HEADER + RESERVE;
  const head = concat([cabinet.head.subarray(0, PLAIN_HEADER), cabinet.head.subarray(whole)]);
  const view = new DataView(head.buffer);
  shift(view, -RESERVE, (head.length - PLAIN_HEADER) / FOLDER, PLAIN_HEADER);
  view.setUint16(30, 0, true);
  return [head, cabinet.body];
}

/** The signature without its padding of at most seven zeros is for the caller to find: DER says where it ends. */
export async function cabinetSignature(source: ByteSource, cabinet: Cabinet): Promise<Uint8Array | null> {
  return cabinet.signature === null
    ? null
    : readRange(source, cabinet.signature.offset, cabinet.signature.size, "signature");
}

function malformed(what: string): ArtifactError {
  return new ArtifactError("artifact/malformed", `The cabinet is malformed: ${what}.`, { format: "cab" });
}
