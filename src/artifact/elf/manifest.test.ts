// The manifest: one spelling, and every wrong field named.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readManifest, writeManifest, type Manifest } from "./manifest.ts";

describe("the manifest", () => {
  const manifest: Manifest = {
    product: "example",
    version: "1.2.3",
    release: 2 ** 40,
    os: "linux",
    arch: "arm64",
    length: 12345,
    merkleRoot: "ab".repeat(32),
  };

  it("has one spelling", () => {
    for (const one of [manifest, { ...manifest, channel: "beta" }, { ...manifest, buildId: "0011223344" }]) {
      assert.deepEqual(readManifest(writeManifest(one)), one);
    }
  });

  it("names every field that is wrong", () => {
    assert.throws(() => writeManifest({ ...manifest, product: "a b", release: -1, merkleRoot: "AB" }), {
      code: "artifact/bad-manifest",
      message: /product, release, merkleRoot/,
    });
  });
});
