// One spelling per value, in both directions.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  BytesError,
  collect,
  equalBytes,
  fromBase64,
  fromBase64Url,
  fromHex,
  fromUtf8,
  toBase64,
  toBase64Url,
  toHex,
  toUtf8,
} from "./bytes.ts";

const refusal = (code: string) => (error: unknown) => error instanceof BytesError && error.code === code;

describe("bytes", () => {
  it("come back from every spelling", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
        assert.deepEqual(fromHex(toHex(bytes)), bytes);
        assert.deepEqual(fromBase64(toBase64(bytes)), bytes);
        assert.deepEqual(fromBase64Url(toBase64Url(bytes)), bytes);
      }),
    );
  });

  it("have one spelling: whatever decodes is what would have been written", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 12 }), (text) => {
        for (const [decode, encode] of [
          [fromHex, toHex],
          [fromBase64, toBase64],
          [fromBase64Url, toBase64Url],
        ] as const) {
          let decoded: Uint8Array | null = null;
          try {
            decoded = decode(text);
          } catch (error) {
            assert.ok(error instanceof BytesError);
          }
          if (decoded !== null) assert.equal(encode(decoded), text);
        }
      }),
    );
  });

  for (const text of ["AA", "aa0", "0g", " 00"]) {
    it(`are not read from the hex ${JSON.stringify(text)}`, () => {
      assert.throws(() => fromHex(text), refusal("bytes/bad-hex"));
    });
  }

  for (const text of ["QQ", "QQ=", "QR==", "Q Q=", "QQ==\n", "_-8="]) {
    it(`are not read from the base64 ${JSON.stringify(text)}`, () => {
      assert.throws(() => fromBase64(text), refusal("bytes/bad-base64"));
    });
  }

  it("refuse what is not UTF-8, and keep a byte order mark visible", () => {
    for (const bad of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]]) {
      assert.throws(() => fromUtf8(Uint8Array.from(bad)), refusal("bytes/bad-utf8"));
    }
    assert.equal(fromUtf8(toUtf8("\ufeffx")), "\ufeffx");
  });

  it("compare as unequal when lengths differ", () => {
    assert.equal(equalBytes(Uint8Array.of(1), Uint8Array.of(1, 2)), false);
    assert.equal(equalBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2)), true);
  });

  it("are collected up to the limit and not one byte further", async () => {
    const parts = async function* () {
      yield Uint8Array.of(1, 2);
      yield Uint8Array.of(3);
    };
    assert.deepEqual(await collect(parts(), 3), Uint8Array.of(1, 2, 3));
    await assert.rejects(collect(parts(), 2), refusal("bytes/too-long"));
  });
});
