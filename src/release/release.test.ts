// Tests of the release room's documents: manifest, channel pointer, trusted keys, target names.
//
// A change that no test here notices, and why: the order of equal key ids when trusted keys are written, since no two are equal.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { signEnvelope } from "../core/dsse.ts";
import { stableJson } from "../core/stable-json.ts";
import type { Json } from "../core/json.ts";
import { localSigner } from "../keys/signer.ts";
import { sampleManifest, samplePointer } from "./_sample.ts";
import { openChannel, parseChannel, serialiseChannel, signChannel } from "./channel.ts";
import { artifactFileName, openRelease, parseRelease, serialiseRelease, signRelease } from "./manifest.ts";
import { isSlotPath } from "./slot-path.ts";
import { artifactTarget, channelTarget, parseTargetName, releaseTarget } from "./target-names.ts";
import { keysFor, parseTrustedKeys, serialiseTrustedKeys, type Grant } from "./trusted-keys.ts";

const signer = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
const stranger = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
const trusted = { keys: [signer.publicKey], threshold: 1 };
const bytesOf = (value: unknown): Uint8Array => stableJson(value as Json);

describe("release manifest", () => {
  it("survives writing and reading unchanged, in one spelling", () => {
    const bytes = serialiseRelease(sampleManifest({ notes: 'First line.\nSecond "line".' }));
    assert.deepEqual(serialiseRelease(parseRelease(bytes)), bytes);
  });

  it("names every bad field at once", () => {
    const bad = { ...sampleManifest(), version: "1.1", security: "no", entryPoint: { url: "x" } };
    assert.throws(() => parseRelease(bytesOf(bad)), {
      code: "schema/invalid",
      message: /version: .*security: .*url/s,
    });
  });

  it("carries a member that it does not know, and writes none of its own", () => {
    const [artifact] = sampleManifest().artifacts;
    const grown = { ...sampleManifest(), later: { a: 1 }, artifacts: [{ ...artifact!, chunks: "x" }] };
    const bytes = bytesOf(grown);
    const read = parseRelease(bytes);
    assert.deepEqual(serialiseRelease(read, read), bytes);
    assert.throws(() => serialiseRelease(read), { code: "schema/invalid", message: /later|chunks/ });
    const typo = { ...read, securty: true };
    assert.throws(() => serialiseRelease(typo, read), { code: "schema/invalid", message: /securty/ });
    const changed = { ...read, later: { a: 2 } };
    assert.throws(() => serialiseRelease(changed, read), { code: "schema/invalid", message: /later/ });
  });

  it("refuses what it does not know in what starts, watches or narrows", () => {
    const { entryPoint, health } = sampleManifest();
    for (const bad of [
      { entryPoint: { ...entryPoint!, user: "root" } },
      { health: { ...health!, host: "example.org" } },
      { dependencies: [{ product: "db", range: "*", unless: "x" }] },
      { publisher: { subject: "x", country: "y" } },
    ])
      assert.throws(() => parseRelease(bytesOf({ ...sampleManifest(), ...bad })), { code: "schema/invalid" });
  });

  it("is refused by name when it needs what this program does not know, whatever else it holds", async () => {
    const needs = { features: ["from-tomorrow"], version: "7.0.0" };
    const newer = bytesOf({ ...sampleManifest(), needs, health: { kind: "oracle" } });
    const bytes = await signEnvelope("release", newer, [signer]);
    const refusal = { code: "growth/needs-newer", message: /from-tomorrow.*7\.0\.0/ };
    assert.throws(() => openRelease(bytes, trusted, { product: "shop" }), refusal);
    // Nothing of it is read before its signature: whoever signs nothing sends nobody after a newer version.
    const forged = await signEnvelope("release", newer, [stranger]);
    assert.throws(() => openRelease(forged, trusted, { product: "shop" }), {
      code: "dsse/no-valid-signature",
    });
    const known = await signEnvelope("release", bytesOf({ ...sampleManifest(), needs }), [signer]);
    const read = openRelease(known, trusted, { product: "shop" }, ["from-tomorrow"]);
    assert.deepEqual(read.needs, needs);
  });

  it("refuses two artifacts that no device could tell apart", () => {
    const [artifact] = sampleManifest().artifacts;
    const bad = sampleManifest({ artifacts: [artifact!, { ...artifact! }] });
    assert.throws(() => parseRelease(bytesOf(bad)), { code: "release/ambiguous-artifacts" });
  });

  it("refuses an artifact under another product (arbitrary installation)", () => {
    const [artifact] = sampleManifest().artifacts;
    for (const target of [
      "products/other/1.1.0/shop.tar.gz",
      "trust/keys.json",
      "products/shop/1.1.0/../x",
    ]) {
      const bad = sampleManifest({ artifacts: [{ ...artifact!, target }] });
      assert.throws(() => parseRelease(bytesOf(bad)), { code: "release/bad-name" }, target);
    }
  });

  it("refuses programs outside of the slot", () => {
    for (const program of ["/bin/sh", "../sh", "bin/../../sh", "./sh", "C:\\x.exe", "", "bin/.. /x", "a/"]) {
      const bad = sampleManifest({ entryPoint: { command: [program] } });
      assert.throws(() => parseRelease(bytesOf(bad)), { code: "schema/invalid" }, program);
      assert.equal(isSlotPath(program), false, program);
    }
  });

  it("takes a signature beside an archive of its own product, never beside a single file", () => {
    const [artifact] = sampleManifest().artifacts;
    const beside = { target: `${artifact!.target}.sig`, length: 900, sha256: "d".repeat(64) };
    const withSignature = (signature: object, changes: object = {}): Uint8Array =>
      bytesOf({ ...sampleManifest(), artifacts: [{ ...artifact!, signature, ...changes }] });
    assert.deepEqual(parseRelease(withSignature(beside)).artifacts[0]!.signature, beside);
    const file = { format: "file", unpackedLength: artifact!.length };
    assert.throws(() => parseRelease(withSignature(beside, file)), { code: "release/wrong-document" });
    const elsewhere = { ...beside, target: "products/other/1.1.0/a.sig" };
    assert.throws(() => parseRelease(withSignature(elsewhere)), { code: "release/bad-name" });
    for (const bad of [{ length: 2 ** 20 + 1 }, { length: 0 }, { url: "x" }, { sha256: "d" }])
      assert.throws(() => parseRelease(withSignature({ ...beside, ...bad })), { code: "schema/invalid" });
  });

  const [sample] = sampleManifest().artifacts;
  const withArtifact = (changes: object) =>
    parseRelease(bytesOf({ ...sampleManifest(), artifacts: [{ ...sample!, ...changes }] })).artifacts[0]!;

  it("takes pieces of a power of two from 256 KiB to 64 MiB", () => {
    for (const pieceSize of [2 ** 18, 2 ** 20, 2 ** 26])
      assert.equal(withArtifact({ pieceSize }).pieceSize, pieceSize);
    for (const pieceSize of [0, 1, 2 ** 17, 2 ** 18 + 1, 3 * 2 ** 18, 2 ** 27, 2 ** 32, -(2 ** 18)])
      assert.throws(() => withArtifact({ pieceSize }), { code: "schema/invalid" }, String(pieceSize));
  });

  it("installs a single file under a name of its own or that of its target; an archive brings its names", () => {
    const file = { format: "file", unpackedLength: sample!.length };
    assert.equal(artifactFileName(withArtifact(file)), "shop-linux-x64.tar.gz");
    assert.equal(artifactFileName(withArtifact({ ...file, installAs: "bin/shop" })), "bin/shop");
    const wrong = { code: "release/wrong-document" };
    assert.throws(() => withArtifact({ installAs: "bin/shop" }), wrong);
    assert.throws(() => withArtifact({ ...file, unpackedLength: sample!.length + 1 }), wrong);
  });

  it("refuses a pin that pins nothing, which anybody's signature would fit", () => {
    assert.throws(() => parseRelease(bytesOf({ ...sampleManifest(), publisher: {} })), {
      code: "schema/invalid",
      message: /pins nothing/,
    });
    const publisher = { subject: "CN=Shop" };
    assert.deepEqual(parseRelease(bytesOf({ ...sampleManifest(), publisher })).publisher, publisher);
  });

  it("refuses a dependency whose range cannot be read", () => {
    const dependencies = (range: string) => [{ product: "db", range }];
    const read = (range: string) =>
      parseRelease(bytesOf(sampleManifest({ dependencies: dependencies(range) }))).dependencies;
    assert.deepEqual(read(">=1.0.0 <2.0.0"), dependencies(">=1.0.0 <2.0.0"));
    assert.throws(() => read("^1.0.0"), { code: "schema/invalid" });
  });

  it("wants a probe for what it starts, and an entry point for a probe of a process", () => {
    const { health: _, ...noProbe } = sampleManifest();
    assert.throws(() => parseRelease(bytesOf(noProbe)), { code: "release/bad-command" });
    const { entryPoint: __, ...noEntry } = sampleManifest();
    assert.throws(() => parseRelease(bytesOf(noEntry)), { code: "release/bad-command" });
  });

  it("opens only with a trusted signature, and only as the release that was asked for", async () => {
    const bytes = await signRelease(sampleManifest(), [signer]);
    assert.equal(openRelease(bytes, trusted, { product: "shop", version: "1.1.0" }).version, "1.1.0");
    assert.throws(() => openRelease(bytes, trusted, { product: "shop", version: "1.2.0" }), {
      code: "release/wrong-document",
    });
    assert.throws(() => openRelease(bytes, trusted, { product: "other" }), {
      code: "release/wrong-document",
    });
    const forged = await signRelease(sampleManifest(), [stranger]);
    assert.throws(() => openRelease(forged, trusted, { product: "shop" }), {
      code: "dsse/no-valid-signature",
    });
  });

  it("refuses a channel offered as a release", async () => {
    const bytes = await signChannel(samplePointer(), [signer]);
    assert.throws(() => openRelease(bytes, trusted, { product: "shop" }), { code: "dsse/wrong-type" });
    const disguised = await signEnvelope("release", serialiseChannel(samplePointer()), [signer]);
    assert.throws(() => openRelease(disguised, trusted, { product: "shop" }), { code: "schema/invalid" });
  });

  it("refuses a release in which any byte was changed", async () => {
    const bytes = await signRelease(sampleManifest(), [signer]);
    for (let at = 0; at < bytes.length - 1; at += 7) {
      const changed = Uint8Array.from(bytes);
      changed[at]! ^= 1;
      assert.throws(() => openRelease(changed, trusted, { product: "shop" }), `byte ${at}`);
    }
  });
});

describe("channel pointer", () => {
  it("survives signing and opening, and refuses another channel's name", async () => {
    const bytes = await signChannel(samplePointer(), [signer]);
    assert.deepEqual(openChannel(bytes, trusted, { product: "shop", channel: "stable" }).version, "1.1.0");
    assert.throws(() => openChannel(bytes, trusted, { product: "shop", channel: "beta" }), {
      code: "release/wrong-document",
    });
  });

  it("refuses a pointer that contradicts itself", () => {
    const recalled = [{ version: "1.1.0", reason: "corrupts orders", since: "2026-11-21T04:00:00Z" }];
    const step = (version: string) => ({
      version,
      target: releaseTarget("shop", version),
      sha256: "e".repeat(64),
    });
    for (const bad of [
      samplePointer({ recalled }),
      samplePointer({ target: "products/shop/1.0.0/release.json" }),
      samplePointer({ steps: [step("1.0.0"), step("0.9.0")] }),
      samplePointer({ steps: [step("1.0.0"), step("1.0.0")] }),
      samplePointer({ steps: [step("1.1.0")] }),
    ]) {
      assert.throws(() => parseChannel(bytesOf(bad)), { code: "release/wrong-document" });
    }
  });
});

describe("trusted keys", () => {
  const list = (grants: readonly Grant[]) =>
    serialiseTrustedKeys({
      keys: new Map([signer, stranger].map(({ publicKey }) => [publicKey.keyid, publicKey])),
      grants,
    });
  const grant = (products: Grant["products"], keyid: string): Grant => ({
    kind: "release",
    products,
    keyids: [keyid],
    threshold: 1,
  });

  it("carries a grant for a kind of document that it does not know, which gives its keys no other power", () => {
    const later = { ...grant("*", stranger.publicKey.keyid), kind: "from-tomorrow" };
    const bytes = list([grant("*", signer.publicKey.keyid), later]);
    const trusted = parseTrustedKeys(bytes);
    assert.deepEqual(serialiseTrustedKeys(trusted), bytes);
    assert.deepEqual(keysFor(trusted, "release", "shop").keys[0]!.keyid, signer.publicKey.keyid);
    for (const kind of ["channel", "assignment"] as const)
      assert.throws(() => keysFor(trusted, kind, null), { code: "release/no-key" });
    assert.throws(() => list([{ ...later, kind: "Release " }]), { code: "schema/invalid" });
  });

  it("prefers the grant that names the product, and knows when nobody may sign", () => {
    const parsed = parseTrustedKeys(
      list([grant("*", signer.publicKey.keyid), grant(["shop"], stranger.publicKey.keyid)]),
    );
    assert.equal(keysFor(parsed, "release", "shop").keys[0]!.keyid, stranger.publicKey.keyid);
    assert.equal(keysFor(parsed, "release", "other").keys[0]!.keyid, signer.publicKey.keyid);
    assert.throws(() => keysFor(parsed, "license", "shop"), { code: "release/no-key" });
  });

  it("refuses ambiguous grants, missing keys, impossible thresholds and keys under a foreign id", () => {
    const two = [grant(["shop"], signer.publicKey.keyid), grant(["shop"], stranger.publicKey.keyid)];
    assert.throws(() => list(two), { code: "release/bad-keys" });
    assert.throws(() => list([grant("*", "0".repeat(64))]), { code: "release/bad-keys" });
    assert.throws(() => list([{ ...grant("*", signer.publicKey.keyid), threshold: 2 }]), {
      code: "release/bad-keys",
    });
    const text = fromUtf8(list([]));
    const swapped = text.replace(`"keyid": "${signer.publicKey.keyid}"`, `"keyid": "${"1".repeat(64)}"`);
    assert.notEqual(swapped, text);
    assert.throws(() => parseTrustedKeys(toUtf8(swapped)), { code: "release/bad-keys" });
    const once = JSON.parse(text) as { keys: unknown[]; grants: unknown[] };
    const twice = { ...once, keys: [...once.keys, once.keys[0]] };
    assert.throws(() => parseTrustedKeys(toUtf8(JSON.stringify(twice))), { code: "release/bad-keys" });
  });
});

describe("target names", () => {
  it("are read back as what they were made from", () => {
    for (const name of [
      channelTarget("shop", "stable"),
      releaseTarget("shop", "1.0.0-rc.1+b7"),
      artifactTarget("shop", "1.0.0", "shop_x64.tar.gz"),
    ]) {
      assert.notEqual(parseTargetName(name), null, name);
    }
    assert.deepEqual(parseTargetName("products/shop/1.0.0/release.json"), {
      kind: "release",
      product: "shop",
      version: "1.0.0",
    });
  });

  it("refuse names that mean something else somewhere (path traversal)", () => {
    for (const file of [
      "../x",
      "a/b",
      "CON",
      "nul.txt",
      "x.",
      ".hidden",
      "a b",
      "",
      "release.json",
      "x\\y",
      "%2e",
    ]) {
      assert.throws(() => artifactTarget("shop", "1.0.0", file), { code: "release/bad-name" }, file);
    }
    assert.throws(() => releaseTarget("../shop", "1.0.0"), { code: "release/bad-name" });
    assert.throws(() => releaseTarget("shop", "latest"), { code: "release/bad-name" });
    for (const name of [
      "products/shop/1.0.0",
      "products/shop/1.0.0/a/b",
      "x/shop/1.0.0/a",
      "products/shop/latest/a",
    ])
      assert.equal(parseTargetName(name), null, name);
  });
});
