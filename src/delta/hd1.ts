// The algorithm hd1: makes a patch from one file to another, and applies it (spec/delta.md).

import { createHash } from "node:crypto";
import { constants, zstdDecompressSync } from "node:zlib";
import { concat } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { DeltaError, malformed } from "./errors.ts";
import {
  HEADER_LENGTH,
  MAX_FILE,
  NEW_WORD,
  ONE_BYTE,
  readHeader,
  SECTION,
  SECTION_HEADER,
  sectionBound,
  STREAMS,
  writeHeader,
  type PatchHeader,
} from "./hd1-format.ts";
import { SectionWriter } from "./hd1-write.ts";
import { matchSteps } from "./match.ts";
import { RecentWords } from "./recent-words.ts";

/** Errors: `delta/too-large`. */
export function makeHd1(
  old: Uint8Array,
  target: Uint8Array,
  onProgress: (bytes: number) => void = () => {},
): Uint8Array {
  for (const { length } of [old, target]) {
    if (length <= MAX_FILE) continue;
    throw new DeltaError(
      "delta/too-large",
      `A patch is made for files of at most ${MAX_FILE} bytes; this one has ${length}.`,
      { length, limit: MAX_FILE },
    );
  }
  const writer = new SectionWriter(old, target);
  matchSteps(old, target, (step) => writer.step(step), onProgress);
  const header = writeHeader({
    oldLength: old.length,
    newLength: target.length,
    from: sha256Hex(old),
    to: sha256Hex(target),
  });
  return concat([header, writer.finish()]);
}

/** What the signed description of the new file says; nothing is allocated beyond it. */
export type Expected = { readonly length: number; readonly sha256: string };

/**
 * The new file, a section at a time: at most 16 MiB each. The last section is given only when the whole has the digest that is expected.
 * Errors: `delta/malformed`, `delta/wrong-base`, `delta/wrong-result`, `delta/too-large`.
 */
export function* applyHd1(old: Uint8Array, patch: Uint8Array, expected: Expected): Generator<Uint8Array> {
  const header = readHeader(patch);
  checkHeader(header, old, expected);
  const digest = createHash("sha256");
  let at = HEADER_LENGTH;
  let left = header.newLength;
  while (left > 0) {
    const length = Math.min(left, SECTION);
    const section = readSection(patch, at, length);
    at = section.end;
    const made = makeSection(old, section.streams, length);
    digest.update(made);
    left -= length;
    if (left === 0) {
      if (at !== patch.length) throw malformed("bytes follow its last section");
      checkResult(digest.digest("hex"), expected);
    }
    yield made;
  }
  if (header.newLength === 0) {
    if (at !== patch.length) throw malformed("bytes follow its last section");
    checkResult(digest.digest("hex"), expected);
  }
}

function checkHeader(header: PatchHeader, old: Uint8Array, expected: Expected): void {
  if (header.newLength !== expected.length || header.to !== expected.sha256) {
    throw new DeltaError("delta/wrong-result", "The patch makes another file than the one that is wanted.", {
      expected: expected.sha256,
      found: header.to,
      expectedLength: expected.length,
      foundLength: header.newLength,
    });
  }
  if (header.oldLength !== old.length) {
    throw new DeltaError(
      "delta/wrong-base",
      `The patch is for an old file of ${header.oldLength} bytes; this one has ${old.length}.`,
      { expectedLength: header.oldLength, foundLength: old.length },
    );
  }
}

/** Either the patch is wrong or the old file is: which, tells the digest of the old file, and the caller may look. */
function checkResult(found: string, expected: Expected): void {
  if (found === expected.sha256) return;
  throw new DeltaError(
    "delta/wrong-result",
    "The patch made another file than the one that it names: the old file is damaged, or the patch is wrong.",
    { expected: expected.sha256, found },
  );
}

type Section = { readonly streams: readonly Uint8Array[]; readonly end: number };

/** The lengths are checked before a byte is unpacked. */
function readSection(patch: Uint8Array, start: number, length: number): Section {
  if (patch.length - start < SECTION_HEADER) throw malformed("it ends within the header of a section");
  const view = new DataView(patch.buffer, patch.byteOffset + start, SECTION_HEADER);
  const lengths = STREAMS.map((_, i) => ({
    raw: view.getUint32(i * 8, true),
    packed: view.getUint32(i * 8 + 4, true),
  }));
  if (lengths.reduce((sum, { raw }) => sum + raw, 0) > sectionBound(length))
    throw malformed("the streams of a section are longer than the section allows");
  let at = start + SECTION_HEADER;
  const streams: Uint8Array[] = [];
  for (const { raw, packed } of lengths) {
    if (packed > patch.length - at) throw malformed("it ends within a stream");
    streams.push(unpack(patch.subarray(at, at + packed), raw));
    at += packed;
  }
  return { streams, end: at };
}

function unpack(packed: Uint8Array, raw: number): Uint8Array {
  if (raw === 0) {
    if (packed.length > 0) throw malformed("an empty stream has bytes");
    return new Uint8Array(0);
  }
  let bytes: Uint8Array;
  try {
    bytes = zstdDecompressSync(packed, {
      maxOutputLength: raw,
      // Memory is bounded by the section, whatever the frame asks for.
      params: { [constants.ZSTD_d_windowLogMax]: 25 },
    });
  } catch (cause) {
    throw malformed("a stream cannot be decompressed", { cause });
  }
  if (bytes.length !== raw) throw malformed("a stream has another length than its section says");
  return bytes;
}

/** Reads one stream forward. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  byte(): number {
    if (this.atEnd) throw malformed("a stream ends too early");
    return this.#bytes[this.#at++]!;
  }

  /** At most five bytes, in the shortest spelling. */
  varint(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte >= 0x80) continue;
      if (byte === 0 && shift > 0) throw malformed("a number is not in its shortest spelling");
      return value;
    }
    throw malformed("a number is too large");
  }

  signed(): number {
    const value = this.varint();
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#at) throw malformed("a stream ends too early");
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }
}

function makeSection(old: Uint8Array, streams: readonly Uint8Array[], length: number): Uint8Array {
  const readers = streams.map((bytes) => new Reader(bytes));
  const [steps, gaps, words, literals, extra] = readers as [Reader, Reader, Reader, Reader, Reader];
  const out = new Uint8Array(length);
  const recent = new RecentWords();
  let at = 0;
  let from = 0;
  /** Equal bytes until the next change, over steps; infinite after the last one. */
  let gap = gaps.atEnd ? Number.POSITIVE_INFINITY : gaps.varint();
  while (at < length) {
    const add = steps.varint();
    const fresh = steps.varint();
    from += steps.signed();
    if (add + fresh === 0) throw malformed("a step makes nothing");
    if (add + fresh > length - at) throw malformed("a step makes more than its section");
    if (from < 0 || from > old.length - add) throw malformed("a step leaves the old file");
    out.set(old.subarray(from, from + add), at);
    let place = gap;
    while (place < add) {
      const kind = words.byte();
      const here = at + place;
      if (kind === ONE_BYTE) {
        out[here] = (out[here]! + literals.byte()) & 0xff;
        place += 1;
      } else {
        if (add - place < 4) throw malformed("a changed word leaves its step");
        let difference: number;
        if (kind === NEW_WORD) {
          difference =
            literals.byte() | (literals.byte() << 8) | (literals.byte() << 16) | (literals.byte() << 24);
          recent.add(difference);
        } else {
          if (kind >= recent.count) throw malformed("it names a difference that it has not given");
          difference = recent.at(kind);
        }
        const before = out[here]! | (out[here + 1]! << 8) | (out[here + 2]! << 16) | (out[here + 3]! << 24);
        const after = (before + difference) | 0;
        out[here] = after & 0xff;
        out[here + 1] = (after >>> 8) & 0xff;
        out[here + 2] = (after >>> 16) & 0xff;
        out[here + 3] = after >>> 24;
        place += 4;
      }
      place += gaps.atEnd ? Number.POSITIVE_INFINITY : gaps.varint();
    }
    gap = place - add;
    from += add;
    at += add;
    out.set(extra.take(fresh), at);
    at += fresh;
  }
  if (Number.isFinite(gap)) throw malformed("a change lies beyond its section");
  if (!readers.every((reader) => reader.atEnd)) throw malformed("a stream is longer than its section needs");
  return out;
}
