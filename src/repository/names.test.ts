// Names of targets and roles: what is refused, and that no path escapes.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { checkPath } from "../mirror/source.ts";
import {
  encodeSegment,
  isTargetName,
  parseRoleName,
  parseTargetName,
  roleFile,
  targetPath,
} from "./names.ts";

describe("a target name", () => {
  const bad: readonly (readonly [string, string])[] = [
    ["that is empty", ""],
    ["with a .. segment", "a/../b"],
    ["that is ..", ".."],
    ["with a . segment", "a/./b"],
    ["that begins with a slash", "/etc/passwd"],
    ["that ends with a slash", "a/"],
    ["with two slashes in a row", "a//b"],
    ["with a backslash", "a\\b"],
    ["with a NUL", "a\0b"],
    ["with a line break", "a\nb"],
    ["with a C1 control character", "a\u0085b"],
    ["with half a surrogate pair", "a\ud800"],
    ["with a segment of 300 bytes", "é".repeat(150)],
    ["of 1025 characters", `${"a/".repeat(512)}b`],
  ];
  for (const [name, text] of bad) {
    it(`${name} is refused`, () => {
      assert.throws(() => parseTargetName(text), { code: "repository/bad-name" });
      assert.equal(isTargetName(text), false);
    });
  }

  it("that only looks like an escape is a name, and its path is encoded", () => {
    const rows: readonly (readonly [string, string])[] = [
      ["%2e%2e/x", "%252e%252e/x"],
      ["a?b#c", "a%3Fb%23c"],
      ["...", "..."],
      ["a b+c", "a%20b%2Bc"],
      ["http://x".replace("//", "/"), "http%3A/x"],
      ["constructor", "constructor"],
      ["CON", "CON"],
      ["ü", "%C3%BC"],
    ];
    for (const [name, path] of rows) assert.equal(targetPath(parseTargetName(name)), path);
  });

  it("has the digest before its last segment in consistent snapshots", () => {
    assert.equal(targetPath(parseTargetName("a/b/c.tar.gz"), "00ff"), "a/b/00ff.c.tar.gz");
  });

  it("of any kind gives a path that every source accepts and that decodes to the name", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (text) => {
        if (!isTargetName(text)) return;
        const path = checkPath({ name: "any" }, targetPath(text));
        assert.equal(path.split("/").map(decodeURIComponent).join("/"), text);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("a role name", () => {
  for (const text of [
    "",
    "root",
    "targets",
    "snapshot",
    "timestamp",
    "a\0b",
    "a\n",
    "\udfff",
    "é".repeat(60),
    "x".repeat(240),
  ]) {
    it(`${JSON.stringify(text.slice(0, 20))} is refused`, () => {
      assert.throws(() => parseRoleName(text), { code: "repository/bad-name" });
    });
  }

  it("of any kind is one file name, never a path", () => {
    for (const [name, file] of [
      ["product.x", "7.product.x.json"],
      ["../up", "7...%2Fup.json"],
      ["a/b", "7.a%2Fb.json"],
      ["!'()*", "7.%21%27%28%29%2A.json"],
      ["12", "7.12.json"],
    ] as const) {
      assert.equal(roleFile(parseRoleName(name), 7), file);
    }
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        const encoded = encodeSegment(text);
        assert.match(encoded, /^[A-Za-z0-9._~%-]*$/);
        assert.equal(decodeURIComponent(encoded), text);
      }),
    );
  });
});
