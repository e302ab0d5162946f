// Canonical JSON: the bytes that signatures cover, the same for everybody.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { canonicalize } from "@tufjs/canonical-json";
import fc from "fast-check";
import { compareBytes, toUtf8 } from "./bytes.ts";
import { canonicalJson, canonicalJsonText } from "./canonical-json.ts";
import { parseJsonText, type Json } from "./json.ts";

const canonical = (text: string): string => canonicalJsonText(parseJsonText(text));

describe("canonical JSON", () => {
  const rows: readonly (readonly [string, string, string])[] = [
    [
      "sorts members and drops white space",
      '{ "b" : [1, 2], "a" : {"d":null,"c":true} }',
      '{"a":{"c":true,"d":null},"b":[1,2]}',
    ],
    ["escapes quotes and backslashes only", '"a\\"b\\\\c\\/d"', '"a\\"b\\\\c/d"'],
    ["leaves line breaks raw, so that PEM keys have one form", '"a\\nb\\tc"', '"a\nb\tc"'],
    [
      "sorts names of digits like other names",
      '{"10":1,"9":2,"zeta":3,"2":4}',
      '{"10":1,"2":4,"9":2,"zeta":3}',
    ],
    [
      "sorts by code point, also above U+FFFF",
      '{"\\ud83d\\ude00":1,"\\ufffd":2}',
      '{"\ufffd":2,"\u{1f600}":1}',
    ],
    ["keeps composed and decomposed letters apart", '{"e\\u0301":1,"\\u00e9":2}', '{"e\u0301":1,"\u00e9":2}'],
    ["sorts the empty name first", '{"a":1,"":2}', '{"":2,"a":1}'],
    ["keeps names that are prefixes in order", '{"ab":1,"a":2}', '{"a":2,"ab":1}'],
    [
      "writes the largest integers exactly",
      "[9007199254740991,-9007199254740991]",
      "[9007199254740991,-9007199254740991]",
    ],
  ];
  for (const [name, text, expected] of rows) {
    it(name, () => {
      assert.equal(canonical(text), expected);
    });
  }

  it("refuses fractions, infinities, large numbers and broken texts", () => {
    for (const value of [1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      assert.throws(() => canonicalJson(value), { code: "canonical-json/not-a-number" });
    }
    assert.throws(() => canonicalJson("\ud800"), { code: "canonical-json/bad-text" });
    assert.throws(() => canonicalJson({ "\udc00": 1 }), { code: "canonical-json/bad-text" });
  });

  it("is the same for large values, which are written in pieces", () => {
    const value = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`n${i}`, [i, String(i)]]));
    assert.equal(canonicalJsonText(value), canonicalize(value));
  });

  // Texts below U+D800: above, the other implementation sorts by UTF-16 unit, which no other TUF implementation does.
  const text = fc.string({ unit: fc.integer({ min: 0, max: 0xd7ff }).map((c) => String.fromCharCode(c)) });
  const json = fc.letrec<{ value: Json }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      text,
      fc.maxSafeInteger().map((n) => n + 0),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie("value"), { maxLength: 6 }),
      fc.dictionary(text, tie("value"), { maxKeys: 6, noNullPrototype: true }),
    ),
  })).value;

  it("agrees with @tufjs/canonical-json wherever that one is right", () => {
    fc.assert(
      fc.property(json, (value) => {
        assert.equal(canonicalJsonText(value), canonicalize(value));
      }),
      { numRuns: 1000 },
    );
  });

  it("sorts every two names like their UTF-8 bytes", () => {
    const name = fc.string({ unit: "binary", maxLength: 4 });
    fc.assert(
      fc.property(name, name, (a, b) => {
        if (a === b) return;
        const first = canonicalJsonText({ [a]: 1, [b]: 2 });
        const expected =
          compareBytes(toUtf8(a), toUtf8(b)) < 0
            ? canonicalJsonText({ [a]: 1 })
            : canonicalJsonText({ [b]: 2 });
        assert.ok(first.startsWith(expected.slice(0, -1)));
      }),
      { numRuns: 2000 },
    );
  });

  it("of a value does not depend on the order of its members", () => {
    fc.assert(
      fc.property(fc.dictionary(text, json, { maxKeys: 8, noNullPrototype: true }), (value) => {
        const reversed = Object.fromEntries(Object.entries(value).toReversed());
        assert.deepEqual(canonicalJson(reversed), canonicalJson(value));
      }),
      { numRuns: 200 },
    );
  });
});
