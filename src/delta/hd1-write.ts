// Steps become the streams of an hd1 patch, section by section.

import { constants, zstdCompressSync } from "node:zlib";
import { concat } from "../core/bytes.ts";
import { ByteBuffer } from "./byte-buffer.ts";
import {
  NEW_WORD,
  ONE_BYTE,
  SECTION,
  SECTION_HEADER,
  sectionBound,
  STREAMS,
  type StreamName,
} from "./hd1-format.ts";
import type { Step } from "./match.ts";
import { RecentWords } from "./recent-words.ts";

/** Takes steps in order; `finish` gives what follows the header. */
export class SectionWriter {
  readonly #old: Uint8Array;
  readonly #target: Uint8Array;
  readonly #level: number;
  readonly #streams: { readonly [S in StreamName]: ByteBuffer };
  readonly #sections: Uint8Array[] = [];
  #recent = new RecentWords();
  /** Bytes of the new file that are described. */
  #at = 0;
  /** Where the old file stands after the last step that was written. */
  #from = 0;
  #gap = 0;
  /** At the start of the section: to go back to if its streams become longer than they may. */
  #start = 0;

  constructor(old: Uint8Array, target: Uint8Array, level = 19) {
    this.#old = old;
    this.#target = target;
    this.#level = level;
    this.#streams = {
      steps: new ByteBuffer(),
      gaps: new ByteBuffer(),
      words: new ByteBuffer(),
      literals: new ByteBuffer(),
      extra: new ByteBuffer(),
    };
  }

  step(step: Step): void {
    let { from, add, extra } = step;
    while (add + extra > 0) {
      const room = SECTION - (this.#at - this.#start);
      const some = Math.min(add, room);
      const more = Math.min(extra, room - some);
      this.#put(from, some, more);
      from += some;
      add -= some;
      extra -= more;
      if (this.#at - this.#start === SECTION) this.#close();
    }
  }

  finish(): Uint8Array {
    if (this.#at > this.#start) this.#close();
    return concat(this.#sections);
  }

  #put(from: number, add: number, extra: number): void {
    const { steps, extra: fresh } = this.#streams;
    steps.varint(add);
    steps.varint(extra);
    steps.signed(from - this.#from);
    this.#differences(from, add);
    fresh.put(this.#target.subarray(this.#at + add, this.#at + add + extra));
    this.#at += add + extra;
    this.#from = from + add;
  }

  /** What differs between `add` bytes here and in the old file: gaps of equal bytes, and words or bytes that changed. */
  #differences(from: number, add: number): void {
    const [old, target] = [this.#old, this.#target];
    const { gaps, words, literals } = this.#streams;
    const here = this.#at;
    for (let i = 0; i < add;) {
      const [a, b] = [from + i, here + i];
      if (old[a] === target[b]) {
        this.#gap++;
        i++;
        continue;
      }
      gaps.varint(this.#gap);
      this.#gap = 0;
      if (add - i < 4) {
        words.byte(ONE_BYTE);
        literals.byte((target[b]! - old[a]!) & 0xff);
        i++;
        continue;
      }
      const difference =
        ((target[b]! | (target[b + 1]! << 8) | (target[b + 2]! << 16) | (target[b + 3]! << 24)) -
          (old[a]! | (old[a + 1]! << 8) | (old[a + 2]! << 16) | (old[a + 3]! << 24))) |
        0;
      const place = this.#recent.use(difference);
      if (place >= 0) words.byte(place);
      else {
        words.byte(NEW_WORD);
        literals.byte(difference & 0xff);
        literals.byte((difference >>> 8) & 0xff);
        literals.byte((difference >>> 16) & 0xff);
        literals.byte(difference >>> 24);
      }
      i += 4;
    }
  }

  #close(): void {
    const length = this.#at - this.#start;
    const streams = this.#streams;
    const total = STREAMS.reduce((sum, name) => sum + streams[name].length, 0);
    if (total > sectionBound(length)) {
      // Two files that have nothing in common: as it is.
      for (const name of STREAMS) streams[name].clear();
      streams.steps.varint(0);
      streams.steps.varint(length);
      streams.steps.signed(0);
      streams.extra.put(this.#target.subarray(this.#start, this.#at));
    }
    const head = new DataView(new ArrayBuffer(SECTION_HEADER));
    const packed = STREAMS.map((name, i) => {
      const raw = streams[name].view();
      const bytes = raw.length === 0 ? new Uint8Array(0) : this.#pack(raw);
      head.setUint32(i * 8, raw.length, true);
      head.setUint32(i * 8 + 4, bytes.length, true);
      return bytes;
    });
    this.#sections.push(new Uint8Array(head.buffer), ...packed);
    for (const name of STREAMS) streams[name].clear();
    // Each section is read for itself: nothing is remembered across its border.
    this.#recent = new RecentWords();
    this.#from = 0;
    this.#gap = 0;
    this.#start = this.#at;
  }

  #pack(raw: Uint8Array): Uint8Array {
    return zstdCompressSync(raw, {
      params: { [constants.ZSTD_c_compressionLevel]: this.#level },
      pledgedSrcSize: raw.length,
    });
  }
}
