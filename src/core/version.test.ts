// SemVer as written in its own specification, and the ranges of dependencies.
//
// A change that no test here notices, and why: `x < y` as `x <= y` in compareVersions, since equal identifiers were passed over above it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { compareVersions, inRange, isVersion, parseRange, parseVersion, VersionError } from "./version.ts";

const order = (a: string, b: string): number => compareVersions(parseVersion(a), parseVersion(b));

describe("a version", () => {
  it("orders the example of SemVer 2.0.0 section 11.4", () => {
    const rising = [
      "1.0.0-alpha",
      "1.0.0-alpha.1",
      "1.0.0-alpha.1.0",
      "1.0.0-alpha.beta",
      "1.0.0-beta",
      "1.0.0-beta.2",
      "1.0.0-beta.11",
      "1.0.0-rc.1",
      "1.0.0",
      "1.0.1",
      "1.1.0",
      "2.0.0",
      "10.0.0",
    ];
    for (let i = 0; i < rising.length; i++) {
      for (let j = 0; j < rising.length; j++) {
        assert.equal(order(rising[i]!, rising[j]!), Math.sign(i - j), `${rising[i]} against ${rising[j]}`);
      }
    }
  });

  it("puts numbers before words, whichever stands first", () => {
    assert.deepEqual([order("1.0.0-9", "1.0.0-a"), order("1.0.0-a", "1.0.0-9")], [-1, 1]);
  });

  it("may have 128 characters, and not one more", () => {
    assert.ok(isVersion(`1.0.0-${"a".repeat(122)}`));
    assert.ok(!isVersion(`1.0.0-${"a".repeat(123)}`));
  });

  it("ignores build metadata in precedence", () => {
    assert.equal(order("1.0.0+linux", "1.0.0+windows"), 0);
  });

  for (const bad of [
    "",
    "1",
    "1.2",
    "v1.2.3",
    "01.2.3",
    "1.2.3-",
    "1.2.3-01",
    "1.2.3-a..b",
    "1.2.3+",
    " 1.2.3",
    "1.2.3\n",
    "1.2.9007199254740993",
    `1.2.3-${"a".repeat(200)}`,
  ]) {
    it(`refuses ${JSON.stringify(bad.slice(0, 30))}`, () => {
      assert.throws(
        () => parseVersion(bad),
        (error) => error instanceof VersionError && error.code === "version/malformed",
      );
    });
  }

  it("says the same of a text whether asked or told to parse", () => {
    for (const text of ["1.2.3", "1.2.3-rc.1+5", "1.02.3", "x", "1.2.9007199254740993"]) {
      let parsed = true;
      try {
        parseVersion(text);
      } catch {
        parsed = false;
      }
      assert.equal(isVersion(text), parsed, text);
    }
  });
});

describe("a range", () => {
  for (const [range, version, inside] of [
    ["*", "0.0.1-a", true],
    [">=1.2.0 <2.0.0", "1.2.0", true],
    [">=1.2.0 <2.0.0", "1.9.9", true],
    [">=1.2.0 <2.0.0", "2.0.0", false],
    [">=1.2.0 <2.0.0", "1.2.0-rc.1", false],
    [">1.0.0", "1.0.0", false],
    [">1.0.0", "1.0.1", true],
    ["<=1.0.0", "1.0.0", true],
    ["<=1.0.0", "0.9.9", true],
    ["<=1.0.0", "1.0.1", false],
    ["<1.0.0", "1.0.0", false],
    ["=1.0.0", "1.0.0", true],
    ["1.0.0", "1.0.0", true],
    ["=1.0.0", "1.0.1", false],
  ] as const) {
    it(`${range} ${inside ? "holds" : "does not hold"} ${version}`, () => {
      assert.equal(inRange(parseVersion(version), parseRange(range)), inside);
    });
  }

  for (const bad of ["", "^1.0.0", ">= 1.0.0", "1.x", ">=1.0.0  <2.0.0", "1.0.0 ||"]) {
    it(`refuses ${JSON.stringify(bad)}`, () => {
      assert.throws(
        () => parseRange(bad),
        (error) => error instanceof VersionError && error.code === "version/bad-range",
      );
    });
  }
});
