// Strict JSON: one value, one meaning, or a refusal that says where.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { toUtf8 } from "./bytes.ts";
import { isJsonObject, parseJson, parseJsonText, type Json } from "./json.ts";

describe("strict JSON refuses", () => {
  const rows: readonly (readonly [string, string | Uint8Array, string])[] = [
    ["a member that appears twice", '{"a":1,"a":1}', "json/duplicate-member"],
    ["a member that appears twice under two spellings", '{"a":1,"\\u0061":2}', "json/duplicate-member"],
    ["__proto__ twice", '{"__proto__":1,"__proto__":2}', "json/duplicate-member"],
    ["2^53", "9007199254740992", "json/unsafe-number"],
    ["1e21", "1e21", "json/unsafe-number"],
    ["1.0, which has other spellings", "1.0", "json/unsafe-number"],
    ["-0", "-0", "json/unsafe-number"],
    ["a leading zero", "01", "json/syntax"],
    ["a plus sign", "+1", "json/syntax"],
    ["a lone minus", "-", "json/syntax"],
    ["NaN", "NaN", "json/syntax"],
    ["nesting of 65", `${"[".repeat(65)}${"]".repeat(65)}`, "json/too-deep"],
    ["nesting of 100,000", "[".repeat(100_000), "json/too-deep"],
    ["nesting of objects of 100,000", '{"a":'.repeat(100_000), "json/too-deep"],
    ["a byte order mark", "\ufeff{}", "json/syntax"],
    ["something after the value", "{} {}", "json/trailing-bytes"],
    ["a NUL after the value", "{}\0", "json/trailing-bytes"],
    ["a trailing comma", "[1,]", "json/syntax"],
    ["a comment", "[1/**/]", "json/syntax"],
    ["single quotes", "{'a':1}", "json/syntax"],
    ["a raw line break in a string", '"a\nb"', "json/syntax"],
    ["a string without an end", '"abc', "json/syntax"],
    ["a string that ends in a backslash", '"abc\\', "json/syntax"],
    ["an unknown escape", '"\\x41"', "json/syntax"],
    ["half a surrogate pair", '"\\ud800"', "json/bad-text"],
    ["surrogates in the wrong order", '"\\udc00\\ud800"', "json/bad-text"],
    ["half a surrogate pair as a member name", '{"\\ud800":1}', "json/bad-text"],
    ["nothing at all", "", "json/syntax"],
    ["white space that JSON does not know", "\u00a01", "json/syntax"],
    ["overlong UTF-8", Uint8Array.of(0x22, 0xc0, 0x80, 0x22), "bytes/bad-utf8"],
    ["an encoded surrogate", Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22), "bytes/bad-utf8"],
    ["a cut character", Uint8Array.of(0x22, 0xe2, 0x82), "bytes/bad-utf8"],
  ];
  for (const [name, text, code] of rows) {
    it(name, () => {
      assert.throws(() => parseJson(typeof text === "string" ? toUtf8(text) : text), { code });
    });
  }
});

describe("strict JSON", () => {
  it("takes the names of JavaScript's own members for names", () => {
    const value = parseJsonText('{"constructor":1,"__proto__":{"x":2},"toString":3}');
    assert.ok(isJsonObject(value));
    assert.deepEqual(Object.keys(value), ["constructor", "__proto__", "toString"]);
    assert.equal(parseJsonText("{}") instanceof Object, false);
    assert.equal((parseJsonText("{}") as { [name: string]: Json })["constructor"], undefined);
    assert.equal(Object.hasOwn(Object.prototype, "x"), false);
  });

  it("gives what JSON.parse gives, for everything it accepts", () => {
    const json = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: "small" },
        fc.string({ unit: "binary" }),
        fc.maxSafeInteger(),
        fc.boolean(),
        fc.constant(null),
        fc.array(tie("value"), { maxLength: 5 }),
        fc.dictionary(fc.string({ unit: "grapheme" }), tie("value"), { maxKeys: 5 }),
      ),
    })).value;
    fc.assert(
      fc.property(json, fc.constantFrom(0, 1, 2), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        assert.equal(JSON.stringify(parseJsonText(text)), JSON.stringify(JSON.parse(text)));
      }),
      { numRuns: 300 },
    );
  });

  it("accepts nothing that JSON.parse refuses", () => {
    const alphabet = [
      "{",
      "}",
      "[",
      "]",
      ",",
      ":",
      '"',
      "a",
      "\\",
      "u0041",
      "1",
      "-",
      "0",
      "e",
      ".",
      " ",
      "\n",
      "true",
      "null",
    ];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...alphabet), { maxLength: 12 }), (parts) => {
        const text = parts.join("");
        let accepted = true;
        try {
          parseJsonText(text);
        } catch {
          accepted = false;
        }
        if (accepted) assert.doesNotThrow(() => JSON.parse(text) as unknown, text);
      }),
      { numRuns: 3000 },
    );
  });
});
