// Tests of the DER reader and writer: what is written is read back, what DER does not allow is refused.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { equalBytes, fromHex, toHex } from "../core/bytes.ts";
import { DerError, type DerErrorCode } from "./errors.ts";
import * as r from "./reader.ts";
import * as w from "./writer.ts";

const refuses = (code: DerErrorCode, action: () => unknown): void => {
  assert.throws(action, (error) => error instanceof DerError && error.code === code);
};
const read = (hex: string): r.Der => r.parseDer(fromHex(hex));

describe("the DER reader", () => {
  it("refuses what is not exactly one value", () => {
    for (const hex of ["", "30", "3001", "300100ff", "020100ff", "30800000", "3003020100ff"]) {
      assert.throws(() => read(hex), DerError, hex);
    }
  });

  it("refuses lengths that are not minimal or not definite", () => {
    refuses("der/not-canonical", () => read("04810141"));
    refuses("der/not-canonical", () => read(`04820080${"00".repeat(128)}`));
    refuses("der/not-canonical", () => read("3080020100000000".slice(0, 14)));
    refuses("der/malformed", () => read("0485ffffffffff"));
    refuses("der/malformed", () => read("0484ffffffff"));
  });

  it("refuses what nests deeper than anything real", () => {
    let bytes = new Uint8Array(0) as Uint8Array;
    for (let i = 0; i < 70; i++) bytes = w.sequence(bytes);
    refuses("der/too-deep", () => r.parseDer(bytes));
  });

  it("refuses constructed strings, primitive sequences, high tags and end-of-contents marks", () => {
    refuses("der/not-canonical", () => read("2403040141"));
    refuses("der/malformed", () => read("1000"));
    refuses("der/unexpected", () => read("1f8101 00".replace(" ", "")));
    refuses("der/not-canonical", () => read("30020000"));
  });

  it("refuses second spellings of booleans, integers, bit strings and identifiers", () => {
    refuses("der/not-canonical", () => r.readBoolean(read("010101")));
    refuses("der/not-canonical", () => r.readIntegerBytes(read("02020001")));
    refuses("der/not-canonical", () => r.readIntegerBytes(read("0202ff80")));
    refuses("der/malformed", () => r.readIntegerBytes(read("0200")));
    refuses("der/not-canonical", () => r.readBits(read("03020181")));
    refuses("der/malformed", () => r.readBits(read("03020881")));
    refuses("der/not-canonical", () => r.readOid(read("06032a8001")));
    refuses("der/malformed", () => r.readOid(read("06022a80")));
    refuses("der/unexpected", () => r.readSmallInteger(read("0201ff")));
  });

  it("refuses a SET OF out of order", () => {
    refuses("der/not-canonical", () => r.setOf(read("3106020102020101")));
    assert.equal(r.setOf(read("3106020101020102")).length, 2);
  });

  it("refuses times without seconds, with zones, or that do not exist", () => {
    const time = (text: string, tag = 0x17): number =>
      r.readTime(r.parseDer(w.element(tag, new TextEncoder().encode(text))));
    for (const text of [
      "2601010000Z",
      "260101000000+0100",
      "260230000000Z",
      "261301000000Z",
      "260101246000Z",
    ])
      refuses("der/unexpected", () => time(text));
    refuses("der/unexpected", () => time("20260101000000.10Z", 0x18));
    assert.equal(time("500101000000Z"), Date.UTC(1950, 0, 1));
    assert.equal(time("491231235959Z"), Date.UTC(2049, 11, 31, 23, 59, 59));
    assert.equal(time("20260101000000.25Z", 0x18), Date.UTC(2026, 0, 1) + 250);
  });

  it("never throws anything but its own error, whatever the bytes", () => {
    const visit = (value: r.Der): void => {
      for (const look of [
        r.readBoolean,
        r.readIntegerBytes,
        r.readBits,
        r.readOid,
        r.readTime,
        r.readString,
        r.setOf,
      ]) {
        try {
          look(value);
        } catch (error) {
          assert.ok(error instanceof DerError);
        }
      }
      if ((value.tag & 0x20) !== 0) r.children(value).forEach(visit);
    };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          visit(r.parseDer(bytes));
        } catch (error) {
          assert.ok(error instanceof DerError);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("the DER writer", () => {
  it("writes numbers, identifiers and times that read back as they were", () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31 - 1), (n) => assert.equal(r.readSmallInteger(r.parseDer(w.integer(n))), n)),
    );
    for (const dotted of [
      "1.2.840.113549.1.1.11",
      "2.5.29.37",
      "2.999.1",
      "1.3.6.1.4.1.311.2.1.4",
      "0.9.2342.19200300.100.1.25",
    ]) {
      assert.equal(r.readOid(r.parseDer(w.oid(dotted))), dotted);
    }
    for (const at of [
      Date.UTC(1951, 0, 1),
      Date.UTC(2049, 11, 31, 23, 59, 59),
      Date.UTC(2050, 0, 1),
      Date.UTC(9999, 11, 31),
    ]) {
      assert.equal(r.readTime(r.parseDer(w.time(at))), at);
    }
  });

  it("sorts sets and chooses the length form by size", () => {
    assert.equal(toHex(w.setOf(w.integer(2), w.integer(1))), "3106020101020102");
    for (const size of [0, 127, 128, 255, 256, 65_535, 65_536]) {
      const bytes = new Uint8Array(size).fill(7);
      assert.ok(equalBytes(r.readOctets(r.parseDer(w.octets(bytes))), bytes));
    }
  });

  it("writes named bits without trailing zeros", () => {
    assert.equal(toHex(w.namedBits([0])), "03020780");
    assert.equal(toHex(w.namedBits([5, 6])), "03020106");
    assert.equal(toHex(w.namedBits([0, 8])), "0303078080");
  });
});
