// What holds for every algorithm for patches.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { concat, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { ALGORITHM_NAMES, algorithmOf, isAlgorithm, recognizeAlgorithm } from "./algorithms.ts";
import { DeltaError } from "./errors.ts";

const old = toUtf8("a line of text that comes again and again, with a number: 1234567890. ".repeat(500));
const target = concat([old.subarray(300, 20_000), toUtf8("inserted"), old.subarray(20_000)]);
const expected = { length: target.length, sha256: sha256Hex(target) };
const code = (wanted: string) => (error: unknown) => error instanceof DeltaError && error.code === wanted;

describe("every algorithm for patches", () => {
  for (const name of ALGORITHM_NAMES) {
    const { make, apply } = algorithmOf(name);
    const patch = make(old, target);

    it(`${name} makes the new file, and is recognized by its first bytes`, () => {
      assert.deepEqual(concat([...apply(old, patch, expected)]), target);
      assert.equal(recognizeAlgorithm(patch), name);
    });

    it(`${name} refuses a damaged old file and a result that is not the signed one`, () => {
      const damaged = Uint8Array.from(old);
      // Wherever it is read.
      for (let i = 0; i < damaged.length; i += 7) damaged[i]! ^= 1;
      assert.throws(() => [...apply(damaged, patch, expected)], DeltaError);
      assert.throws(
        () => [...apply(old, patch, { ...expected, sha256: sha256Hex(old) })],
        code("delta/wrong-result"),
      );
    });

    it(`${name} makes no byte beyond the signed length`, () => {
      assert.throws(() => [...apply(old, patch, { ...expected, length: 100 })], DeltaError);
    });

    it(`${name} refuses a patch that is cut`, () => {
      assert.throws(() => [...apply(old, patch.subarray(0, -1), expected)], code("delta/malformed"));
    });
  }

  it("has a name that is its own", () => {
    assert.ok(isAlgorithm("hd1"));
    assert.ok(!isAlgorithm("toString"));
    assert.throws(() => algorithmOf("hd2"), code("delta/unknown-algorithm"));
    assert.equal(recognizeAlgorithm(old), null);
    assert.equal(recognizeAlgorithm(new Uint8Array(0)), null);
  });
});
