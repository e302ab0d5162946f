// Which patches a publisher makes, and what their names say.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sampleManifest } from "./_sample.ts";
import type { Artifact } from "./manifest.ts";
import { patchBase, patchBases, patchFile, type EarlierRelease } from "./patches.ts";
import { artifactTarget } from "./target-names.ts";

const hex = (digit: string): string => digit.repeat(64);
const artifact = (change: Partial<Artifact>): Artifact => {
  const { signature: _, ...rest } = sampleManifest().artifacts[0]!;
  return { ...rest, format: "tar", ...change };
};
const earlier = (version: string, change: Partial<Artifact>, offered = false): EarlierRelease => ({
  version,
  artifacts: [artifact(change)],
  offered,
});
const wanted = artifact({ sha256: hex("f") });
const versions = (releases: readonly EarlierRelease[], wished: readonly string[] | null = null) =>
  patchBases(releases, "2.0.0", wanted, wished).map(({ version }) => version);

describe("the name of a patch", () => {
  const ends = { from: hex("a"), to: hex("b"), algorithm: "hd1" };
  const target = artifactTarget("shop", "2.0.0", patchFile(ends));

  it("says which artifact it is from", () => {
    assert.equal(patchBase(target, ends.to, "hd1"), ends.from);
  });

  it("says nothing about another artifact, another algorithm, or in another form", () => {
    assert.equal(patchBase(target, hex("c"), "hd1"), null);
    assert.equal(patchBase(target, ends.to, "hd2"), null);
    assert.equal(patchBase(`${target}x`, ends.to, "hd1"), null);
    assert.equal(patchBase(artifactTarget("shop", "2.0.0", "shop.hd1"), ends.to, "hd1"), null);
    assert.equal(patchBase("elsewhere", ends.to, "hd1"), null);
  });
});

describe("patches of a release", () => {
  it("are made from the last three releases of the platform, and from each that a channel points to", () => {
    const all = ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0"].map((version, i) =>
      earlier(version, { sha256: hex(String(i)) }, version === "1.0.0"),
    );
    assert.deepEqual(versions(all), ["1.4.0", "1.3.0", "1.2.0", "1.0.0"]);
  });

  it("are made from the versions that are asked for instead", () => {
    const all = ["1.0.0", "1.1.0"].map((version, i) => earlier(version, { sha256: hex(String(i)) }, true));
    assert.deepEqual(versions(all, ["1.0.0"]), ["1.0.0"]);
    assert.deepEqual(versions(all, []), []);
  });

  it("are not made from a later version, another platform, another format, or the same bytes", () => {
    assert.deepEqual(versions([earlier("2.0.1", { sha256: hex("1") })]), []);
    assert.deepEqual(versions([earlier("1.0.0", { sha256: hex("1"), arch: "arm64" })]), []);
    assert.deepEqual(versions([earlier("1.0.0", { sha256: hex("1"), format: "file" })]), []);
    assert.deepEqual(versions([earlier("1.0.0", { sha256: hex("f") })]), []);
    assert.deepEqual(
      versions([earlier("1.0.0", { sha256: hex("1") }), earlier("1.1.0", { sha256: hex("1") })]),
      ["1.1.0"],
    );
  });

  it("are not made for archives, whose bytes no device has again", () => {
    const zip = artifact({ format: "zip", sha256: hex("f") });
    assert.deepEqual(
      patchBases([earlier("1.0.0", { format: "zip", sha256: hex("1") })], "2.0.0", zip, null),
      [],
    );
  });
});
