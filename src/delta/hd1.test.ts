// A patch by hd1 makes the new file, and one that breaks a rule of its page makes nothing.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { zstdCompressSync } from "node:zlib";
import { concat, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { buildPatch, type Written } from "./_patch-builder.ts";
import { DeltaError } from "./errors.ts";
import { HEADER_LENGTH, readHeader, SECTION } from "./hd1-format.ts";
import { applyHd1, makeHd1 } from "./hd1.ts";

/** Bytes like a program's: words that repeat, with a seed. */
function bytesOf(length: number, seed: number): Uint8Array {
  const out = new Uint8Array(length);
  let state = seed;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    out[i] = state >>> 24;
  }
  return out;
}

const expect = (target: Uint8Array) => ({ length: target.length, sha256: sha256Hex(target) });
const applied = (old: Uint8Array, patch: Uint8Array, target: Uint8Array): Uint8Array =>
  concat([...applyHd1(old, patch, expect(target))]);
const roundTrip = (old: Uint8Array, target: Uint8Array): number => {
  const patch = makeHd1(old, target);
  assert.deepEqual(applied(old, patch, target), target);
  return patch.length;
};

function refusal(action: () => unknown): DeltaError {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof DeltaError, String(error));
    return error;
  }
  assert.fail("nothing was refused");
}

describe("a patch by hd1", () => {
  const old = bytesOf(300_000, 1);

  it("makes the new file from the old one, whatever they are", () => {
    const empty = new Uint8Array(0);
    roundTrip(empty, empty);
    roundTrip(old, empty);
    roundTrip(empty, bytesOf(1000, 2));
    roundTrip(old.subarray(0, 7), old.subarray(0, 9));
    roundTrip(old, bytesOf(200_000, 3));
    roundTrip(new Uint8Array(100_000), new Uint8Array(70_001));
    roundTrip(old, old.subarray(100_000));
    roundTrip(old.subarray(100_000), old);
  });

  it("of equal files is a few bytes beyond its header", () => {
    assert.ok(roundTrip(old, old) < HEADER_LENGTH + 80);
  });

  it("finds what moved, what was inserted and what was removed", () => {
    const moved = concat([
      old.subarray(150_000),
      toUtf8("something new"),
      old.subarray(0, 70_000),
      old.subarray(90_000, 150_000),
    ]);
    assert.ok(roundTrip(old, moved) < 300);
  });

  it("spends one byte for a difference that came before, as when code moved and its addresses with it", () => {
    const target = Uint8Array.from(old);
    const view = new DataView(target.buffer);
    for (let at = 0; at + 4 <= target.length; at += 60)
      view.setInt32(at, (view.getInt32(at, true) + 0x1230) | 0, true);
    // 5,000 addresses, each changed by the same distance.
    assert.ok(roundTrip(old, target) < 300);
  });

  it("crosses the border of sections", () => {
    const half = bytesOf(1 << 20, 5);
    const large = concat(Array.from({ length: 17 }, () => half));
    const target = Uint8Array.from(concat([toUtf8("x"), large]));
    target[SECTION - 2]! ^= 1;
    target[SECTION + 1]! ^= 1;
    roundTrip(large, target);
  });

  it("is the same bytes when it is made again", () => {
    const target = concat([old.subarray(5), old.subarray(0, 5000)]);
    assert.deepEqual(makeHd1(old, target), makeHd1(old, target));
  });

  it("reports how far it is, and its end", () => {
    const seen: number[] = [];
    const large = bytesOf(3 << 20, 9);
    makeHd1(old, large, (bytes) => seen.push(bytes));
    assert.ok(seen.length > 1);
    assert.equal(seen.at(-1), large.length);
  });

  it("holds the vectors of its page", () => {
    const folder = new URL("../../test/vectors/delta/", import.meta.url);
    const read = (name: string) => new Uint8Array(readFileSync(new URL(name, folder)));
    const target = read("new.bin");
    assert.deepEqual(applied(read("old.bin"), read("patch.hd1"), target), target);
    const header = readHeader(read("patch.hd1"));
    assert.equal(header.from, sha256Hex(read("old.bin")));
    assert.equal(header.to, sha256Hex(target));
  });
});

describe("a patch that is not for this", () => {
  const old = bytesOf(5000, 1);
  const target = concat([old.subarray(0, 4000), toUtf8("more")]);
  const patch = makeHd1(old, target);
  const codeOf = (given: Uint8Array, base = old, wanted = expect(target)): string =>
    refusal(() => [...applyHd1(base, given, wanted)]).code;

  it("file is refused before anything is made", () => {
    assert.equal(codeOf(patch, old.subarray(1)), "delta/wrong-base");
    assert.equal(codeOf(patch, old, { ...expect(target), length: 1 }), "delta/wrong-result");
    assert.equal(codeOf(patch, old, { ...expect(target), sha256: sha256Hex(old) }), "delta/wrong-result");
  });

  it("damaged old file never gives its last section", () => {
    const damaged = Uint8Array.from(old);
    damaged[17]! ^= 1;
    const parts: Uint8Array[] = [];
    const error = refusal(() => {
      for (const part of applyHd1(damaged, patch, expect(target))) parts.push(part);
    });
    assert.equal(error.code, "delta/wrong-result");
    assert.deepEqual(parts, []);
  });

  it("size of file is refused by its header alone", () => {
    const huge = Uint8Array.from(patch);
    huge.fill(0xff, 8, 16);
    assert.equal(codeOf(huge), "delta/too-large");
  });
});

describe("a malformed patch", () => {
  const old = toUtf8("abcdefgh");
  const target = toUtf8("abcdefghXY");
  /** Copies 8 bytes, adds two. */
  const good = { steps: [8, 2, 0], extra: [0x58, 0x59] };
  const base: Written = { old, target, sections: [good] };
  const what = (written: Written): string => {
    const error = refusal(() => [...applyHd1(old, buildPatch(written), expect(target))]);
    assert.equal(error.code, "delta/malformed");
    return String(error.facts["what"]);
  };
  const section = (change: Written["sections"][number]): string =>
    what({ ...base, sections: [{ ...good, ...change }] });

  it("is told from a good one, which is taken", () => {
    assert.deepEqual(applied(old, buildPatch(base), target), target);
    const changed = {
      steps: [8, 2, 0],
      gaps: [0, 3],
      words: [254, 255],
      literals: [1, 0, 0, 0, 2],
      extra: [0x58, 0x59],
    };
    const other = toUtf8("bbcdefgjXY");
    assert.deepEqual(applied(old, buildPatch({ old, target: other, sections: [changed] }), other), other);
  });

  for (const [name, sentence, run] of [
    ["ends within its header", "it ends within its header", () => cut(HEADER_LENGTH - 1)],
    [
      "ends within a section's header",
      "it ends within the header of a section",
      () => cut(HEADER_LENGTH + 39),
    ],
    ["ends within a stream", "it ends within a stream", () => cut(HEADER_LENGTH + 45)],
    ["begins as something else", "it does not begin as a patch of the algorithm hd1", () => altered(0)],
    ["goes on after its end", "bytes follow its last section", () => longer()],
    ["has a step that makes nothing", "a step makes nothing", () => section({ steps: [0, 0, 0, 8, 2, 0] })],
    [
      "makes more than its section",
      "a step makes more than its section",
      () => section({ steps: [8, 3, 0] }),
    ],
    ["reads before the old file", "a step leaves the old file", () => section({ steps: [8, 2, 1] })],
    ["reads beyond the old file", "a step leaves the old file", () => section({ steps: [8, 2, 2] })],
    ["has too little new", "a stream ends too early", () => section({ extra: [0x58] })],
    ["has too much new", "a stream is longer than its section needs", () => section({ extra: [1, 2, 3] })],
    ["has too few steps", "a stream ends too early", () => section({ steps: [8, 1, 0], extra: [0x58] })],
    ["has a change without its difference", "a stream ends too early", () => section({ gaps: [0] })],
    [
      "has a word without bytes",
      "a stream ends too early",
      () => section({ gaps: [0], words: [254], literals: [1, 2, 3] }),
    ],
    [
      "changes a word across the end of its step",
      "a changed word leaves its step",
      () => section({ gaps: [5], words: [254], literals: [1, 0, 0, 0] }),
    ],
    [
      "names a difference that it has not given",
      "it names a difference that it has not given",
      () => section({ gaps: [0], words: [0] }),
    ],
    [
      "changes what it does not make",
      "a change lies beyond its section",
      () => section({ gaps: [8], words: [255], literals: [1] }),
    ],
    [
      "spells a number too long",
      "a number is not in its shortest spelling",
      () => section({ steps: [0x88, 0, 2, 0] }),
    ],
    [
      "holds a number that is too large",
      "a number is too large",
      () => section({ steps: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1] }),
    ],
    [
      "unpacks to more than its section allows",
      "the streams of a section are longer than the section allows",
      () => what({ ...base, head: (view) => view.setUint32(0, 1045, true) }),
    ],
    [
      "holds a stream of another length",
      "a stream has another length than its section says",
      () => what({ ...base, head: (view) => view.setUint32(0, 4, true) }),
    ],
    [
      "holds a longer stream than it says",
      "a stream cannot be decompressed",
      () => what({ ...base, head: (view) => view.setUint32(0, 2, true) }),
    ],
    [
      "has bytes in an empty stream",
      "an empty stream has bytes",
      () => what({ ...base, head: (view) => view.setUint32(0, 0, true) }),
    ],
    ["is compressed wrongly", "a stream cannot be decompressed", () => altered(HEADER_LENGTH + 41)],
  ] as const) {
    it(`that ${name} is refused`, () => assert.equal(run(), sentence));
  }

  it("that would unpack without end (a decompression bomb) stops at the length that it declares", () => {
    const bomb = new Uint8Array(zstdCompressSync(new Uint8Array(1 << 26)));
    const patch = buildPatch({ ...base, sections: [] });
    const head = new DataView(new ArrayBuffer(40));
    head.setUint32(0, 100, true);
    head.setUint32(4, bomb.length, true);
    const error = refusal(() => [
      ...applyHd1(old, concat([patch, new Uint8Array(head.buffer), bomb]), expect(target)),
    ]);
    assert.equal(error.facts["what"], "a stream cannot be decompressed");
  });

  function refused(patch: Uint8Array): string {
    const error = refusal(() => [...applyHd1(old, patch, expect(target))]);
    assert.equal(error.code, "delta/malformed");
    return String(error.facts["what"]);
  }
  function cut(length: number): string {
    return refused(buildPatch(base).subarray(0, length));
  }
  function longer(): string {
    return refused(concat([buildPatch(base), Uint8Array.of(0)]));
  }
  function altered(at: number): string {
    const bytes = buildPatch(base);
    bytes[at]! ^= 0xff;
    return refused(bytes);
  }
});
