// Feeds: what they say of a release, that hostile texts stay texts, and that what does not fit is refused.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, sign, verify } from "node:crypto";
import { describe, it } from "node:test";
import type { Artifact, ReleaseManifest } from "../release/manifest.ts";
import { homebrewFeed, wingetFeed } from "./catalogs.ts";
import { electronFeed } from "./electron.ts";
import type { FeedRelease } from "./feed.ts";
import { sparkleFeed, sparkleItems } from "./sparkle.ts";

const bytes = Buffer.from("program");
const digest = (algorithm: string): string => createHash(algorithm).update(bytes).digest("hex");

function artifact(os: Artifact["os"], arch: Artifact["arch"], file: string): Artifact {
  return {
    os,
    arch,
    target: `products/desk/1.1.0/${file}`,
    format: "file",
    length: bytes.length,
    sha256: digest("sha256"),
    sha512: digest("sha512"),
    pieceSize: 2 ** 20,
    merkleRoot: digest("sha256"),
    unpackedLength: bytes.length,
    deltas: [],
  };
}

function release(
  artifacts: readonly Artifact[],
  more: Partial<ReleaseManifest> = {},
  channel = "stable",
): FeedRelease {
  const manifest: ReleaseManifest = {
    product: "desk",
    version: "1.1.0",
    channel: "stable",
    published: "2026-11-28T10:00:00Z",
    security: false,
    artifacts: [...artifacts],
    dependencies: [],
    ...more,
  };
  return {
    manifest,
    channel,
    items: artifacts.map((one) => ({ artifact: one, url: `https://u.example/targets/${one.target}` })),
  };
}

const linux = artifact("linux", "x64", "desk.AppImage");
const windows = artifact("windows", "x64", "desk.exe");
const mac = artifact("darwin", "any", "desk.zip");
const DESCRIBED = {
  id: "Example.Desk",
  publisher: "Example",
  title: "Desk",
  license: "MIT",
  summary: "a desk",
  homepage: "https://desk.example",
};

describe("a feed for electron-updater", () => {
  it("has a file for each system, with size and SHA-512 in base64", () => {
    const files = electronFeed(release([linux, windows, artifact("linux", "arm64", "arm.AppImage")]));
    assert.deepEqual(
      files.map(({ name }) => name),
      ["latest.yml", "latest-linux.yml", "latest-linux-arm64.yml"],
    );
    const text = files[1]!.text;
    assert.match(text, /^version: "1\.1\.0"$/m);
    assert.ok(text.includes(`sha512: "${createHash("sha512").update(bytes).digest("base64")}"`));
    assert.match(text, /size: 7/);
  });

  it("is called by the channel unless that is stable", () => {
    assert.equal(electronFeed(release([windows], {}, "beta"))[0]!.name, "beta.yml");
  });

  it("lets no text of a release become structure", () => {
    const notes = 'x"\npath: "https://evil.example/x"\n- &a *b';
    const [{ text } = { text: "" }] = electronFeed(release([windows], { notes }));
    assert.equal(text.split("\n").filter((line) => line.startsWith("path:")).length, 1);
    assert.ok(text.includes(JSON.stringify(notes)));
  });

  it("is refused where two files claim one place, and where there is none", () => {
    const twice = [linux, { ...artifact("linux", "x64", "musl.AppImage"), libc: "musl" as const }];
    assert.throws(() => electronFeed(release(twice)), { code: "feed/ambiguous" });
    assert.throws(() => electronFeed(release([artifact("any", "any", "data.csv")])), {
      code: "feed/nothing-fits",
    });
  });
});

describe("an appcast", () => {
  it("carries a signature that verifies over the bytes, and says what is critical", () => {
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    const made = release([mac, windows], { security: true, notes: "<b>& bad\u0000</b>" }, "beta");
    const signed = sparkleItems(made).map((item) => ({
      item,
      signature: sign(null, bytes, privateKey).toString("base64"),
    }));
    const [{ text } = { text: "" }] = sparkleFeed(made, signed, {
      title: "Desk & Co",
      link: "https://u.example/appcast.xml",
    });
    const signatures = [...text.matchAll(/sparkle:edSignature="([^"]+)"/g)].map(([, found]) =>
      Buffer.from(found!, "base64"),
    );
    assert.equal(signatures.length, 2);
    for (const found of signatures) assert.ok(verify(null, bytes, publicKey, found));
    assert.equal(text.match(/<sparkle:criticalUpdate\/>/g)?.length, 2);
    assert.match(text, /<sparkle:channel>beta</);
    assert.match(text, /sparkle:os="windows-x64"/);
    for (const raw of ["<b>", "\u0000", "Desk & Co"]) assert.ok(!text.includes(raw), raw);
  });

  it("has no room for two programs for macOS", () => {
    const two = [artifact("darwin", "x64", "a.zip"), artifact("darwin", "arm64", "b.zip")];
    assert.throws(() => sparkleItems(release(two)), { code: "feed/ambiguous" });
    assert.throws(() => sparkleItems(release([linux])), { code: "feed/nothing-fits" });
  });
});

describe("a manifest for a catalog", () => {
  it("is three files for winget, with the digest as winget writes it", () => {
    const files = wingetFeed(release([windows]), DESCRIBED);
    assert.deepEqual(
      files.map(({ name }) => name),
      ["Example.Desk.yaml", "Example.Desk.installer.yaml", "Example.Desk.locale.en-US.yaml"],
    );
    assert.ok(files[1]!.text.includes(`InstallerSha256: ${digest("sha256").toUpperCase()}`));
    assert.match(files[1]!.text, /InstallerType: exe/);
  });

  it("asks for the texts that a catalog wants, by the option's name", () => {
    const { id: _, ...rest } = DESCRIBED;
    assert.throws(() => wingetFeed(release([windows]), rest), { code: "feed/needs-text", message: /--id/ });
  });

  it("is a formula for Homebrew in which no text runs", () => {
    const [{ text } = { text: "" }] = homebrewFeed(release([linux]), {
      ...DESCRIBED,
      summary: "#{`id`} '\nend",
    });
    assert.match(text, /class Desk < Formula/);
    assert.ok(text.includes("desc '#{`id`} \\' end'"));
    assert.ok(text.includes(`sha256 '${digest("sha256")}'`));
  });
});
