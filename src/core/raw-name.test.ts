// Names that are not UTF-8: nothing is lost on the way to text and back, and a terminal sees no raw byte.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { quoteName, rawBytes, rawName, showName } from "./raw-name.ts";

const latin = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"));

describe("the text of a raw name", () => {
  it("is the plain text where the name is UTF-8", () => {
    for (const name of ["a", "Größe", "日本", "😀.txt", "\uFEFFbom"]) {
      const bytes = new Uint8Array(Buffer.from(name));
      assert.equal(rawName(bytes), name);
      assert.deepEqual(rawBytes(name), bytes);
    }
  });

  it("gives back every byte of a name that is not", () => {
    const names = [
      "Gr\xFC.txt",
      "\xC3",
      "\xC3(",
      "\xED\xA0\x80",
      "\xC0\xAF",
      "\xF4\x90\x80\x80",
      "\xE0\x80\x80",
      "\xF0\x80\x80\x80",
      "\xF5aaa",
      "a\x80\xBFz",
    ];
    for (const name of names) {
      const text = rawName(latin(name));
      assert.equal(text.isWellFormed(), false, name);
      assert.deepEqual(rawBytes(text), latin(name), name);
    }
    for (let a = 0; a < 256; a++)
      for (let b = 0; b < 256; b++) {
        const bytes = Uint8Array.of(a, b, 0x41);
        assert.deepEqual(rawBytes(rawName(bytes)), bytes);
      }
  });

  it("keeps what is UTF-8 readable beside what is not", () => {
    assert.equal(rawName(Uint8Array.of(...Buffer.from("ö😀"), 0xfc, 0x2e)), "ö😀\udcfc.");
  });
});

describe("a name that is shown", () => {
  it("steers no terminal and tells every byte", () => {
    assert.equal(showName("a\u001b[31mred\u0007\u009b"), "a\\x1B[31mred\\x07\\x9B");
    assert.equal(showName("Gr\udcfc.txt"), "Gr\\xFC.txt");
    assert.equal(showName("exe\u202efdp"), "exe\\u202Efdp");
    assert.equal(showName("a\u2028b\ud800"), "a\\u2028b\\uD800");
    assert.equal(showName("Größe 日本 😀"), "Größe 日本 😀");
    assert.equal(quoteName("x".repeat(200), 10), `"${"x".repeat(10)}…"`);
  });
});
