// Tests of elements around bytes that are not at hand: filled, they are what the writer would have written.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { around, filled, gapOf } from "./gap.ts";
import { OCTET_STRING, SEQUENCE } from "./tags.ts";
import { integer, octets, sequence } from "./writer.ts";

describe("an element with a gap", () => {
  it("is, filled, the element itself, at every length of a length", () => {
    for (const length of [0, 1, 100, 120, 127, 128, 250, 255, 256, 65_530, 65_535, 65_536, 16_777_216]) {
      const bytes = new Uint8Array(length).fill(7);
      const wanted = sequence(integer(1), sequence(octets(bytes), integer(2)), integer(3));
      const inner = around(SEQUENCE, [], gapOf(OCTET_STRING, length), [integer(2)]);
      const got = filled(around(SEQUENCE, [integer(1)], inner, [integer(3)]), bytes);
      assert.equal(Buffer.compare(got, wanted), 0, String(length));
    }
  });

  it("takes exactly the bytes that were promised", () => {
    assert.throws(() => filled(gapOf(OCTET_STRING, 3), new Uint8Array(4)));
  });
});
