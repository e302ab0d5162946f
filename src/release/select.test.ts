// Tests of platforms and of choosing a release.
//
// Changes that no test here notices, and why. In platform.ts: one step more in a loop that compares what is not there on either side.
// In select.ts: "not newer" for "older" after the same version was answered; a recall on a channel that there is none of, which points nowhere.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sampleManifest, samplePointer } from "./_sample.ts";
import type { Artifact, ReleaseManifest } from "./manifest.ts";
import { bestFit, formatSelector, misfit, parseSelector, type Platform } from "./platform.ts";
import { choose, describeObstacle, type Surroundings } from "./select.ts";
import { releaseTarget } from "./target-names.ts";

const platform: Platform = {
  os: "linux",
  arch: "x64",
  libc: "glibc",
  osVersion: "6.1.0",
  hardware: null,
};
const around = (
  changes: Partial<Surroundings> & { version?: string | null; sha256?: string; floor?: string } = {},
): Surroundings => ({
  installed: {
    version: changes.version === undefined ? "1.0.0" : changes.version,
    sha256: changes.sha256 === undefined ? "0".repeat(64) : changes.sha256,
    floor: changes.floor ?? null,
  },
  platform,
  channel: samplePointer(),
  skipped: null,
  others: new Map(),
  ...changes,
});
const candidate = (manifest: ReleaseManifest = sampleManifest()) => ({ manifest, sha256: "d".repeat(64) });
const codes = (manifest: ReleaseManifest, surroundings: Surroundings): readonly string[] => {
  const choice = choose(candidate(manifest), surroundings);
  if (choice.kind !== "refused") return [choice.kind];
  for (const obstacle of choice.obstacles) assert.ok(describeObstacle(obstacle).length > 20);
  return choice.obstacles.map((obstacle) => obstacle.code);
};

describe("choosing a release", () => {
  it("installs a newer one, and the first one", () => {
    assert.deepEqual(codes(sampleManifest(), around()), ["install"]);
    assert.deepEqual(codes(sampleManifest(), around({ version: null })), ["install"]);
  });

  it("does nothing for the same version and refuses an older one (rollback attack)", () => {
    const sha256 = "a".repeat(64);
    assert.deepEqual(codes(sampleManifest(), around({ version: "1.1.0", sha256 })), ["current"]);
    assert.deepEqual(codes(sampleManifest(), around({ version: "1.1.0+other.build", sha256 })), ["current"]);
    assert.deepEqual(codes(sampleManifest(), around({ version: "1.2.0" })), ["older"]);
  });

  it("never takes other bytes under the same number for what is installed, nor installs them (substitution attack)", () => {
    assert.deepEqual(codes(sampleManifest(), around({ version: "1.1.0" })), ["same-number"]);
    assert.deepEqual(codes(sampleManifest({ version: "1.1.0+b" }), around({ version: "1.1.0+a" })), [
      "same-number",
    ]);
    const recalled = [{ version: "1.1.0+thief", reason: "not ours", since: "2026-11-21T04:00:00Z" }];
    const channel = samplePointer({ recalled });
    assert.deepEqual(codes(sampleManifest(), around({ version: "1.1.0+thief", channel })), ["install"]);
    const elsewhere = samplePointer({ recalled, version: "1.2.0" });
    assert.deepEqual(codes(sampleManifest(), around({ version: "1.1.0+thief", channel: elsewhere })), [
      "same-number",
    ]);
  });

  it("changes nothing that an installed product needs, forward or back, and names both", () => {
    const others = (range: string) =>
      new Map([["app", { version: "4.0.0", dependencies: [{ product: "shop", range }] }]]);
    assert.deepEqual(codes(sampleManifest(), around({ others: others("<2.0.0") })), ["install"]);
    const refused = choose(candidate(), around({ others: others("<1.1.0") }));
    assert.ok(refused.kind === "refused");
    assert.equal(refused.obstacles[0]!.code, "dependant-version");
    assert.match(describeObstacle(refused.obstacles[0]!), /app 4\.0\.0.*needs shop <1\.1\.0.*1\.1\.0/);
    const recalled = [{ version: "1.2.0", reason: "loses orders", since: "2026-11-21T04:00:00Z" }];
    const back = around({
      version: "1.2.0",
      channel: samplePointer({ recalled }),
      others: others(">=1.2.0"),
    });
    assert.deepEqual(codes(sampleManifest(), back), ["dependant-version"]);
    const unrelated = new Map([
      ["app", { version: "1.0.0", dependencies: [{ product: "db", range: "<1.0.0" }] }],
    ]);
    assert.deepEqual(codes(sampleManifest(), around({ others: unrelated })), ["install"]);
  });

  it("goes back only from a recalled version, only to where the channel points, and never below the floor", () => {
    const recalled = [{ version: "1.2.0", reason: "loses orders", since: "2026-11-21T04:00:00Z" }];
    const channel = samplePointer({ recalled });
    const choice = choose(candidate(), around({ version: "1.2.0", channel }));
    assert.equal(choice.kind === "install" && choice.goesBack, true);
    assert.deepEqual(codes(sampleManifest(), around({ version: "1.3.0", channel })), ["older"]);
    assert.deepEqual(codes(sampleManifest({ version: "1.0.0" }), around({ version: "1.2.0", channel })), [
      "older",
    ]);
    assert.deepEqual(codes(sampleManifest(), around({ version: "1.2.0", channel, floor: "1.1.1" })), [
      "below-floor",
    ]);
    assert.deepEqual(codes(sampleManifest({ version: "1.2.0" }), around({ channel })), ["recalled"]);
  });

  it("takes a release that is the very floor, and none below (rollback attack)", () => {
    assert.deepEqual(codes(sampleManifest(), around({ floor: "1.1.0" })), ["install"]);
    assert.deepEqual(codes(sampleManifest(), around({ floor: "1.1.1" })), ["below-floor"]);
    assert.deepEqual(codes(sampleManifest(), around({ version: null, floor: "1.1.1" })), ["below-floor"]);
  });

  it("never goes back from a bundle without a channel: nobody signed a recall", () => {
    assert.deepEqual(codes(sampleManifest(), around({ version: "1.2.0", channel: null })), ["older"]);
    assert.deepEqual(codes(sampleManifest(), around({ channel: null })), ["install"]);
  });

  it("does not go back because another version was recalled, or because none was", () => {
    const recalled = [{ version: "1.3.0", reason: "loses orders", since: "2026-11-21T04:00:00Z" }];
    for (const list of [recalled, []])
      assert.deepEqual(
        codes(sampleManifest(), around({ version: "1.2.0", channel: samplePointer({ recalled: list }) })),
        ["older"],
      );
  });

  it("says for which platform there is no artifact", () => {
    const choice = choose(candidate(), around({ platform: { ...platform, arch: "arm64" } }));
    assert.ok(choice.kind === "refused");
    assert.match(describeObstacle(choice.obstacles[0]!), /1\.1\.0 has no artifact for linux-arm64-glibc/);
  });

  it("goes directly from the very minimum, and by a step from below", () => {
    const manifest = sampleManifest({ version: "3.0.0", minimumFrom: "2.0.0" });
    assert.deepEqual(codes(manifest, around({ version: "2.0.0" })), ["install"]);
    assert.deepEqual(codes(manifest, around({ version: "2.0.0-rc.1" })), ["minimum-from"]);
  });

  it("passes over a release that failed here, or was left by hand, and says which", () => {
    for (const skipped of ["failed-here", "left-by-hand"] as const)
      assert.deepEqual(codes(sampleManifest(), around({ skipped })), [skipped]);
    assert.match(describeObstacle({ code: "left-by-hand", version: "1.1.0" }), /1\.1\.0 was left by hand/);
    assert.doesNotMatch(describeObstacle({ code: "left-by-hand", version: "1.1.0" }), /fail/);
  });

  it("collects every obstacle", () => {
    const manifest = sampleManifest({
      dependencies: [
        { product: "db", range: ">=2.0.0" },
        { product: "cache", range: "*" },
      ],
      minimumFrom: "1.0.5",
    });
    const surroundings = around({
      platform: { ...platform, arch: "arm64" },
      others: new Map([["db", { version: "1.9.0", dependencies: [] }]]),
      floor: "1.1.1",
    });
    assert.deepEqual(codes(manifest, surroundings), [
      "below-floor",
      "no-artifact",
      "dependency-version",
      "dependency-missing",
      "minimum-from",
    ]);
  });

  it("takes the lowest step that bridges a minimum, and never steps in a circle", () => {
    const step = (version: string) => ({
      version,
      target: releaseTarget("shop", version),
      sha256: "e".repeat(64),
    });
    const channel = samplePointer({ version: "3.0.0", steps: [step("1.5.0"), step("2.0.0"), step("2.5.0")] });
    const three = sampleManifest({ version: "3.0.0", minimumFrom: "2.0.0" });
    const first = choose(candidate(three), around({ channel }));
    assert.equal(first.kind === "step" && first.step.version, "2.0.0");
    const two = sampleManifest({ version: "2.0.0", minimumFrom: "1.2.0" });
    const second = choose(candidate(two), around({ channel }));
    assert.equal(second.kind === "step" && second.step.version, "1.5.0");
    const odd = sampleManifest({ version: "1.5.0", minimumFrom: "1.4.0" });
    assert.deepEqual(codes(odd, around({ channel })), ["minimum-from"]);
  });
});

describe("platforms", () => {
  const artifact = (text: string, more: Partial<Artifact> = {}): Artifact => ({
    ...sampleManifest().artifacts[0]!,
    ...parseSelector(text),
    ...more,
  });

  it("say why an artifact is not for a device; an unknown fact is never a fit", () => {
    assert.equal(misfit(artifact("any"), platform), null);
    assert.equal(misfit(artifact("windows-x64"), platform), "os");
    assert.equal(misfit(artifact("linux-arm64"), platform), "arch");
    assert.equal(misfit(artifact("linux-x64-musl"), platform), "libc");
    assert.equal(misfit(artifact("linux-x64", { minimumOs: "6.2" }), platform), "os-too-old");
    assert.equal(misfit(artifact("linux-x64", { minimumOs: "5.10" }), platform), null);
    assert.equal(
      misfit(artifact("linux-x64", { minimumOs: "5.10" }), { ...platform, osVersion: null }),
      "os-version-unknown",
    );
    assert.equal(misfit(artifact("linux-x64", { hardware: ["rev-b"] }), platform), "hardware");
  });

  it("choose the artifact that says most about whom it is for", () => {
    const all = [
      artifact("any"),
      artifact("linux-x64"),
      artifact("linux-x64-glibc"),
      artifact("linux-x64-glibc", { minimumOs: "6.0" }),
      artifact("linux-x64-glibc", { minimumOs: "7.0" }),
    ];
    assert.equal(bestFit(all, platform)?.minimumOs, "6.0");
    assert.equal(bestFit(all, { ...platform, os: "darwin", libc: null })?.os, "any");
  });

  it("fit at the very version of the system, and on the named hardware only", () => {
    assert.equal(misfit(artifact("linux-x64", { minimumOs: "6.1" }), platform), null);
    assert.equal(misfit(artifact("linux-x64", { minimumOs: "6.1.0.1" }), platform), "os-too-old");
    const some = artifact("linux-x64", { hardware: ["rev-a", "rev-b"] });
    assert.equal(misfit(some, { ...platform, hardware: "rev-b" }), null);
    assert.equal(misfit(some, { ...platform, hardware: "rev-c" }), "hardware");
    assert.equal(misfit(some, { ...platform, hardware: null }), "hardware");
  });

  it("prefer hardware to system, system to processor, that to library, and all of them to a newer system", () => {
    const here = { ...platform, hardware: "rev-a" };
    const best = (...all: readonly Artifact[]) => {
      for (const order of [all, all.toReversed()]) assert.equal(bestFit(order, here), all[0]);
    };
    best(artifact("any", { hardware: ["rev-a"] }), artifact("linux-x64-glibc", { minimumOs: "6.0" }));
    best(artifact("linux"), artifact("any", { arch: "x64", libc: "glibc", minimumOs: "6.0" }));
    best(artifact("linux-x64"), artifact("linux", { libc: "glibc", minimumOs: "6.0" }));
    best(artifact("linux-x64-glibc"), artifact("linux-x64", { minimumOs: "6.0" }));
    const [one, two] = [["rev-a"], ["rev-a", "rev-b"]].map((hardware) => artifact("linux", { hardware }));
    assert.equal(bestFit([one!, two!], here), one);
    assert.equal(bestFit([two!, one!], here), two);
  });

  it("have one spelling", () => {
    for (const text of ["any", "linux", "linux-x64", "linux-x64-musl", "windows-arm64"])
      assert.equal(formatSelector(parseSelector(text)), text);
    for (const text of ["", "Linux", "linux-x86", "windows-x64-musl", "linux-x64-glibc-2", "bsd"])
      assert.throws(() => parseSelector(text), { code: "release/bad-platform" }, text);
  });
});
