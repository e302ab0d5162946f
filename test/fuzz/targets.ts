// What is fuzzed: every parser that reads bytes from outside, with good input to begin from and what must hold for any input.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { readCatalog } from "../../src/artifact/cat/catalog.ts";
import { parseSignedData } from "../../src/artifact/cms.ts";
import { readDetached } from "../../src/artifact/detached/detached.ts";
import { readManifest, writeManifest } from "../../src/artifact/elf/manifest.ts";
import { attachToScript, parseScript } from "../../src/artifact/powershell/script.ts";
import { encoded } from "../../src/der/reader.ts";
import { SCRIPTS, tinyCat } from "../../src/testing/tiny-windows-files.ts";
import { canonicalJson } from "../../src/core/canonical-json.ts";
import { signEnvelope, verifyEnvelope } from "../../src/core/dsse.ts";
import { concat, fromUtf8, toUtf8 } from "../../src/core/bytes.ts";
import { sha256Hex } from "../../src/core/digest.ts";
import { parseInstant } from "../../src/core/instant.ts";
import { parseJson } from "../../src/core/json.ts";
import { parseRange, parseVersion } from "../../src/core/version.ts";
import { describeHd1 } from "../../src/delta/describe.ts";
import { applyHd1, makeHd1 } from "../../src/delta/hd1.ts";
import { parseTrustBundle, serialiseTrustBundle } from "../../src/identity/trust-bundle.ts";
import { parseTufKey } from "../../src/keys/public-key.ts";
import { localSigner } from "../../src/keys/signer.ts";
import { checkPath } from "../../src/mirror/source.ts";
import { formatTargets } from "./format-targets.ts";
import { parseMap } from "../../src/repository/client/map.ts";
import { matchesPattern } from "../../src/repository/glob.ts";
import type { Body, Signed } from "../../src/repository/metadata.ts";
import { parseRoleName, parseTargetName, roleFile, targetPath } from "../../src/repository/names.ts";
import {
  parseRoot,
  parseSnapshot,
  parseTargets,
  parseTimestamp,
} from "../../src/repository/parse-metadata.ts";
import {
  initialRoot,
  newTargets,
  storedSnapshot,
  storedTimestamp,
} from "../../src/repository/trusted-set.ts";
import { canonicalBody, writeMetadata } from "../../src/repository/publish/write-metadata.ts";
import { RepositorySimulator } from "../../src/testing/repository-simulator.ts";

/** The list inside an unsigned catalog. */
function catalogIn(catalog: Uint8Array): Uint8Array {
  return encoded(parseSignedData(catalog).content!);
}

/** The example of its page. */
function trustBundle(): Uint8Array {
  const page = readFileSync(new URL("../../spec/trust-bundle.md", import.meta.url), "utf8");
  return toUtf8(/```json\n([\s\S]*?)```/.exec(page)![1]!);
}

/** A patch that was accepted made the file that it was to make, and nothing else. */
function patchTargets(): readonly FuzzTarget[] {
  const old = toUtf8(Array.from({ length: 300 }, (_, i) => `line ${i * 7919} of the old file\n`).join(""));
  const target = toUtf8(fromUtf8(old).replaceAll("17", "71").slice(500).concat("and an end"));
  const expected = { length: target.length, sha256: sha256Hex(target) };
  const patch = makeHd1(old, target);
  return [
    {
      name: "patch",
      seeds: [patch],
      run: (bytes) => assert.deepEqual(concat([...applyHd1(old, bytes, expected)]), target),
    },
    { name: "patch that is looked at", seeds: [patch], run: (bytes) => void describeHd1(bytes) },
  ];
}

export type FuzzTarget = {
  readonly name: string;
  readonly seeds: readonly Uint8Array[];
  /** Reads the bytes; may throw `UpkeepError` only. Asserts what must hold if it accepts them. */
  readonly run: (bytes: Uint8Array) => void | Promise<void>;
};

/** The same keys and files for a whole run. */
export async function fuzzTargets(): Promise<readonly FuzzTarget[]> {
  const now = parseInstant("2026-11-21T04:00:00Z");
  const repo = await RepositorySimulator.create({ now });
  repo.addTarget("p/1.0.0/file", toUtf8("content"), "targets", { note: 'a "quoted" \\ text' });
  repo.delegate("targets", "product", { paths: ["p/*", "q/[a-c]?"], terminating: true });
  repo.delegate("targets", "bin", { pathHashPrefixes: ["0", "1f"] });
  await repo.publish();
  const file = (name: string): Uint8Array => repo.source.files.get(`metadata/${name}`)!;
  const files = {
    root: file("2.root.json") ?? file("1.root.json"),
    timestamp: file("timestamp.json"),
    snapshot: file("2.snapshot.json"),
    targets: file("2.targets.json"),
  };
  const root = initialRoot(files.root);
  const snapshot = storedSnapshot(root, files.snapshot);
  const delegator = { keys: root.signed.keys, role: root.signed.roles.targets };

  /** What reads must write back; what verifies must be what was signed. */
  const metadata = <T extends Body>(
    name: keyof typeof files,
    parse: (bytes: Uint8Array) => Signed<T>,
    verify: (bytes: Uint8Array) => Signed<T>,
  ): readonly FuzzTarget[] => {
    const signed = parse(files[name]).canonical;
    return [
      {
        name: `${name} metadata`,
        seeds: [files[name]],
        run: (bytes) => {
          const first = parse(bytes);
          assert.deepEqual(canonicalBody(first.signed), first.canonical, "a member was lost");
          const again = parse(writeMetadata(first.signed, first.signatures));
          assert.deepEqual(again.canonical, first.canonical);
        },
      },
      {
        name: `${name} signature`,
        seeds: [files[name]],
        run: (bytes) => assert.deepEqual(verify(bytes).canonical, signed, "something else was believed"),
      },
    ];
  };

  const signer = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
  const body = toUtf8('{"product":"p"}');
  const envelope = await signEnvelope("release", body, [signer]);
  const text = (name: string, seeds: readonly string[], run: (text: string) => void): FuzzTarget => ({
    name,
    seeds: seeds.map(toUtf8),
    run: (bytes) => run(fromUtf8(bytes)),
  });

  return [
    {
      name: "strict JSON",
      seeds: [toUtf8('{"a":[1,-2,{"b":null}],"c":"\\u00e9\\n","d":true}'), files.targets],
      run: (bytes) => {
        const value = parseJson(bytes);
        // Whatever we accept means the same to everybody else.
        assert.equal(JSON.stringify(value), JSON.stringify(JSON.parse(fromUtf8(bytes))));
        canonicalJson(value);
      },
    },
    ...metadata("root", parseRoot, initialRoot),
    ...metadata("timestamp", parseTimestamp, (bytes) => storedTimestamp(root, bytes)),
    ...metadata("snapshot", parseSnapshot, (bytes) => storedSnapshot(root, bytes)),
    ...metadata("targets", parseTargets, (bytes) => newTargets(snapshot, "targets", delegator, bytes, now)),
    {
      name: "map file",
      seeds: [
        toUtf8(
          '{"repositories":{"a":["https://a.test"],"b":[]},"mapping":[{"paths":["*"],"repositories":["a","b"],"threshold":2,"terminating":true}]}',
        ),
      ],
      run: (bytes) => {
        const { mapping, repositories } = parseMap(bytes);
        for (const entry of mapping) {
          assert.ok(entry.threshold >= 1 && entry.threshold <= entry.repositories.length);
          assert.ok(entry.repositories.every((name) => repositories.has(name) && !/[/\\]|^\./.test(name)));
        }
      },
    },
    {
      name: "signed envelope",
      seeds: [envelope],
      run: (bytes) => {
        const verified = verifyEnvelope(bytes, "release", [signer.publicKey], { limit: 100_000 });
        assert.deepEqual(verified.body, body, "something else was believed");
      },
    },
    {
      name: "public key",
      seeds: [
        canonicalJson(signer.publicKey.tuf),
        canonicalJson(repo.signers.get("root")![0]!.publicKey.tuf),
      ],
      run: (bytes) => void parseTufKey(parseJson(bytes)),
    },
    text("target name", ["p/1.0.0/file", "a/../b", "%2e%2e/x"], (name) => {
      const path = checkPath({ name: "any" }, targetPath(parseTargetName(name)));
      assert.ok(new URL(path, "https://host.test/base/").href.startsWith("https://host.test/base/"), path);
    }),
    text("role name", ["product.x", "../up", "a/b"], (name) => {
      const path = checkPath({ name: "any" }, roleFile(parseRoleName(name), 1));
      assert.ok(!path.includes("/"));
    }),
    text("path pattern", ["p/*/[a-c]?*\np/1/ab", "*a*a*a*b\naaaaaaaaaaaaaaaaaaaaaaaa"], (pair) => {
      const [pattern, ...rest] = pair.split("\n");
      matchesPattern(pattern!, rest.join("\n"));
    }),
    text("version", ["1.2.3-rc.1+build", "10.20.30"], (version) => {
      assert.equal(parseVersion(version).text, version);
    }),
    text("version range", [">=1.2.0 <2.0.0", "*"], (range) => void parseRange(range)),
    ...formatTargets(),
    text("instant", ["2026-11-21T04:00:00Z"], (instant) => void parseInstant(instant)),
    {
      name: "script",
      seeds: Object.values(SCRIPTS).flatMap((script) => [
        script,
        attachToScript(parseScript(script), new Uint8Array(300).fill(7)),
      ]),
      run: (bytes) => {
        const script = parseScript(bytes);
        // What is found is what would be written, so nothing can stand in the block that is not the signature.
        if (script.cms !== null) assert.deepEqual(attachToScript(script, script.cms), bytes);
      },
    },
    {
      name: "program manifest",
      seeds: [
        writeManifest({
          product: "p",
          version: "1.0.0",
          release: 2 ** 40,
          os: "linux",
          arch: "x64",
          channel: "stable",
          buildId: "00112233",
          length: 123_456,
          merkleRoot: "ab".repeat(32),
        }),
      ],
      run: (bytes) =>
        assert.deepEqual(writeManifest(readManifest(bytes)), bytes, "two spellings of one manifest"),
    },
    {
      name: "trust bundle",
      seeds: [trustBundle()],
      run: (bytes) => {
        const bundle = parseTrustBundle(bytes);
        assert.deepEqual(parseTrustBundle(serialiseTrustBundle(bundle)), bundle);
      },
    },
    ...patchTargets(),
    { name: "catalog", seeds: [catalogIn(tinyCat())], run: (bytes) => void readCatalog(bytes) },
    { name: "signature beside a file", seeds: [tinyCat()], run: (bytes) => void readDetached(bytes) },
  ];
}
