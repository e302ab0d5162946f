// The enrolment token's text: one spelling, nothing leaks.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { formatToken, newToken, parseToken } from "./token.ts";

const random = { bytes: (n: number) => new Uint8Array(randomBytes(n)) };
const pins = { caSpkiSha256: "1".repeat(64), rootSha256: "2".repeat(64) };

describe("an enrolment token", () => {
  it("comes back from its text", () => {
    const token = newToken(random, pins);
    assert.deepEqual(parseToken(`  ${formatToken(token)}\n`), token);
  });

  it("is never the same twice", () => {
    assert.notEqual(newToken(random, pins).secret, newToken(random, pins).secret);
  });

  it("is refused when it is not whole, and the error does not repeat it", () => {
    const text = formatToken(newToken(random, pins));
    const secret = text.split(".")[2]!;
    for (const bad of [
      "",
      text.slice(1),
      text.slice(0, -1),
      `${text}A`,
      text.replace("upkeep1", "upkeep2"),
      text.replace(".", ". "),
      text.split(".").slice(0, 4).join("."),
      // Another spelling of the same bytes: the last character of 43 has two spare bits.
      `${text.slice(0, -1)}${String.fromCharCode(text.charCodeAt(text.length - 1) + 1)}`,
    ]) {
      assert.throws(
        () => parseToken(bad),
        (error: Error) =>
          error.message.includes("enrollment token") && !JSON.stringify(error).includes(secret),
        bad,
      );
    }
  });
});
