// The form of an hd1 patch (spec/delta.md): its header, its sections, and the bounds that hold before anything is allocated.

import { equalBytes, toHex, toUtf8 } from "../core/bytes.ts";
import { DeltaError, malformed } from "./errors.ts";

/** Bytes of the new file that one section makes. */
export const SECTION = 2 ** 24;
/** Positions are 31 bits: the largest file that patches are made from and for. */
export const MAX_FILE = 2 ** 31 - 1;
export const HEADER_LENGTH = 88;
/** Of a section: two lengths for each stream. */
export const SECTION_HEADER = 40;

/** The streams of a section, in order. */
export const STREAMS = ["steps", "gaps", "words", "literals", "extra"] as const;
export type StreamName = (typeof STREAMS)[number];

/** Differences of words that both sides remember. */
export const REMEMBERED = 254;
/** In `words`: a difference that is not among them follows in `literals`, as four bytes. */
export const NEW_WORD = 254;
/** In `words`: one byte differs, and its difference follows in `literals`. */
export const ONE_BYTE = 255;

/** What the streams of one section may hold together, unpacked. */
export function sectionBound(length: number): number {
  return 2 * length + 1024;
}

export type PatchHeader = {
  readonly oldLength: number;
  readonly newLength: number;
  /** SHA-256, lower-case hex. */
  readonly from: string;
  readonly to: string;
};

const MAGIC = toUtf8("UPKDhd1\0");

export function writeHeader(header: PatchHeader): Uint8Array {
  const bytes = Buffer.alloc(HEADER_LENGTH);
  bytes.set(MAGIC, 0);
  bytes.writeBigUInt64LE(BigInt(header.oldLength), 8);
  bytes.writeBigUInt64LE(BigInt(header.newLength), 16);
  bytes.write(header.from, 24, "hex");
  bytes.write(header.to, 56, "hex");
  return new Uint8Array(bytes);
}

/** True if the bytes begin as an hd1 patch does. */
export function isHd1(patch: Uint8Array): boolean {
  return patch.length >= MAGIC.length && equalBytes(patch.subarray(0, MAGIC.length), MAGIC);
}

/** Errors: `delta/malformed`, `delta/too-large`. */
export function readHeader(patch: Uint8Array): PatchHeader {
  if (!isHd1(patch)) throw malformed("it does not begin as a patch of the algorithm hd1");
  if (patch.length < HEADER_LENGTH) throw malformed("it ends within its header");
  const view = new DataView(patch.buffer, patch.byteOffset, HEADER_LENGTH);
  const length = (at: number): number => {
    const value = view.getBigUint64(at, true);
    if (value > BigInt(MAX_FILE)) {
      throw new DeltaError(
        "delta/too-large",
        `The patch is for a file of ${value} bytes; at most ${MAX_FILE} can be patched.`,
        { limit: MAX_FILE },
      );
    }
    return Number(value);
  };
  return {
    oldLength: length(8),
    newLength: length(16),
    from: toHex(patch.subarray(24, 56)),
    to: toHex(patch.subarray(56, 88)),
  };
}
