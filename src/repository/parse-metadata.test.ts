// Metadata files: what they say survives reading and writing, and what we would not have written is refused.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { canonicalJson } from "../core/canonical-json.ts";
import type { Json } from "../core/json.ts";
import { RepositorySimulator } from "../testing/repository-simulator.ts";
import { parseRoot, parseSnapshot, parseTargets, parseTimestamp } from "./parse-metadata.ts";
import { canonicalBody, writeMetadata } from "./publish/write-metadata.ts";
import type { RepositoryError } from "./errors.ts";

const parsers = {
  root: parseRoot,
  timestamp: parseTimestamp,
  snapshot: parseSnapshot,
  targets: parseTargets,
};
type Kind = keyof typeof parsers;

async function examples(): Promise<{ readonly [K in Kind]: Uint8Array }> {
  const repo = await RepositorySimulator.create({ now: Date.parse("2026-11-21T04:00:00Z") });
  repo.addTarget("file", toUtf8("x"), "targets", { any: ["thing", 1, null] });
  repo.delegate("targets", "by-path", { paths: ["p/*"], terminating: true });
  repo.delegate("targets", "by-prefix", { pathHashPrefixes: ["0a", "f"] });
  repo.targets.extra = { "x-owner": "somebody" };
  repo.root.extra = { "x-more": { deep: [1] } };
  repo.timestamp.snapshot = {
    version: 1,
    length: 100,
    hashes: { sha256: "0".repeat(64) },
    extra: { "x-a": 1 },
  };
  await repo.publish();
  const file = (name: string): Uint8Array => repo.source.files.get(`metadata/${name}`)!;
  return {
    root: file("2.root.json"),
    timestamp: file("timestamp.json"),
    snapshot: file("2.snapshot.json"),
    targets: file("2.targets.json"),
  };
}

type Node = { [name: string]: Node };

/** The file with the member at `path` set to `value`, or removed; then as bytes. */
function edited(bytes: Uint8Array, path: string, value: unknown): Uint8Array {
  const document = JSON.parse(Buffer.from(bytes).toString("utf8")) as Node;
  const names = path.split("/");
  const last = names.pop()!;
  const at = names.reduce((node, name) => node[name]!, document);
  if (value === undefined) delete at[last];
  else at[last] = value as Node;
  return toUtf8(JSON.stringify(document));
}

describe("each kind of metadata", () => {
  for (const kind of Object.keys(parsers) as Kind[]) {
    it(`${kind}: what is read and written again says the same, unknown members included`, async () => {
      const bytes = (await examples())[kind];
      const first = parsers[kind](bytes);
      assert.deepEqual(first.bytes, bytes);
      assert.deepEqual(canonicalBody(first.signed), first.canonical);
      const second = parsers[kind](writeMetadata(first.signed, first.signatures));
      assert.deepEqual(second.canonical, first.canonical);
      assert.deepEqual(second.signed, first.signed);
    });

    it(`${kind}: the signed form is that of what was received, however it was laid out`, async () => {
      const bytes = (await examples())[kind];
      const document = JSON.parse(Buffer.from(bytes).toString("utf8")) as { signed: Json };
      const pretty = parsers[kind](toUtf8(JSON.stringify(document, null, 3)));
      assert.deepEqual(pretty.canonical, canonicalJson(document.signed));
      assert.deepEqual(pretty.canonical, parsers[kind](bytes).canonical);
    });

    it(`${kind}: is not taken for another kind`, async () => {
      const bytes = (await examples())[kind];
      for (const other of Object.keys(parsers) as Kind[]) {
        if (other !== kind) assert.throws(() => parsers[other](bytes), { code: "repository/malformed" });
      }
    });
  }
});

describe("metadata is refused", () => {
  const sig = { keyid: "a", sig: "00" };
  const rows: readonly (readonly [string, Kind, string, unknown, string])[] = [
    ["with version 0", "root", "signed/version", 0, "signed.version"],
    ["with version -5", "timestamp", "signed/version", -5, "signed.version"],
    ["with a version that is a text", "targets", "signed/version", "1", "signed.version"],
    ["without a version", "targets", "signed/version", undefined, "signed.version"],
    ["with spec_version 2.0.0", "root", "signed/spec_version", "2.0.0", "signed.spec_version"],
    ["with a year alone as expiry", "root", "signed/expires", "2040", "signed.expires"],
    ["with an expiry in local time", "root", "signed/expires", "2040-01-01T00:00:00", "signed.expires"],
    [
      "with an expiry in another zone",
      "root",
      "signed/expires",
      "2040-01-01T00:00:00+14:00",
      "signed.expires",
    ],
    [
      "with fractions of a second in the expiry",
      "root",
      "signed/expires",
      "2040-01-01T00:00:00.5Z",
      "signed.expires",
    ],
    ["that expires on 30 February", "root", "signed/expires", "2040-02-30T00:00:00Z", "signed.expires"],
    ["with threshold 0", "root", "signed/roles/timestamp/threshold", 0, "signed.roles.timestamp.threshold"],
    [
      "with a threshold that is a text",
      "root",
      "signed/roles/root/threshold",
      "1",
      "signed.roles.root.threshold",
    ],
    [
      "with a key id twice in a role",
      "root",
      "signed/roles/root/keyids",
      ["a", "a"],
      "signed.roles.root.keyids",
    ],
    ["whose root knows no targets role", "root", "signed/roles/targets", undefined, "signed.roles.targets"],
    ["whose key is null", "root", "signed/keys/x", null, "signed.keys.x"],
    [
      "whose consistent_snapshot is null",
      "root",
      "signed/consistent_snapshot",
      null,
      "signed.consistent_snapshot",
    ],
    ["without signatures", "root", "signatures", undefined, "signatures"],
    ["with a key id twice among the signatures", "root", "signatures", [sig, sig], "signatures.1.keyid"],
    ["with a signature that is null", "root", "signatures", [null], "signatures.0"],
    [
      "with 1025 signatures",
      "root",
      "signatures",
      Array.from({ length: 1025 }, (_, i) => ({ keyid: `${i}`, sig: "" })),
      "signatures",
    ],
    [
      "whose timestamp lists something else",
      "timestamp",
      "signed/meta/other.json",
      { version: 1 },
      "signed.meta.other.json",
    ],
    ["whose timestamp lists nothing", "timestamp", "signed/meta", {}, "signed.meta.snapshot.json"],
    [
      "with a snapshot length of -1",
      "timestamp",
      "signed/meta/snapshot.json/length",
      -1,
      "signed.meta.snapshot.json.length",
    ],
    [
      "whose snapshot lists a file that is no role",
      "snapshot",
      "signed/meta/readme.txt",
      { version: 1 },
      "signed.meta.readme.txt",
    ],
    [
      "whose snapshot lists a role without a version",
      "snapshot",
      "signed/meta/x.json",
      {},
      "signed.meta.x.json.version",
    ],
    [
      "with a target of negative length",
      "targets",
      "signed/targets/file/length",
      -1,
      "signed.targets.file.length",
    ],
    ["with a target without hashes", "targets", "signed/targets/x", { length: 1 }, "signed.targets.x.hashes"],
    [
      "with a target with empty hashes",
      "targets",
      "signed/targets/x",
      { length: 1, hashes: {} },
      "signed.targets.x.hashes",
    ],
    [
      "with upper-case hex",
      "targets",
      "signed/targets/x",
      { length: 1, hashes: { sha256: "A".repeat(64) } },
      "signed.targets.x.hashes.sha256",
    ],
    [
      "with a short digest",
      "targets",
      "signed/targets/x",
      { length: 1, hashes: { sha512: "a".repeat(64) } },
      "signed.targets.x.hashes.sha512",
    ],
    [
      "with a digest that is a number",
      "targets",
      "signed/targets/x",
      { length: 1, hashes: { md5: 5 } },
      "signed.targets.x.hashes.md5",
    ],
    [
      "with custom that is a text",
      "targets",
      "signed/targets/x",
      { length: 1, hashes: { md5: "a" }, custom: "x" },
      "signed.targets.x.custom",
    ],
    [
      "with a delegation to root",
      "targets",
      "signed/delegations/roles/0/name",
      "root",
      "signed.delegations.roles.0.name",
    ],
    [
      "with two delegations of one name",
      "targets",
      "signed/delegations/roles/0/name",
      "by-prefix",
      "signed.delegations.roles.1.name",
    ],
    [
      "with a delegation with paths and prefixes",
      "targets",
      "signed/delegations/roles/0/path_hash_prefixes",
      ["a"],
      "signed.delegations.roles.0.paths",
    ],
    [
      "with a delegation with neither",
      "targets",
      "signed/delegations/roles/0/paths",
      undefined,
      "signed.delegations.roles.0.paths",
    ],
    [
      "with a prefix that is no hex",
      "targets",
      "signed/delegations/roles/1/path_hash_prefixes",
      ["G"],
      "signed.delegations.roles.1.path_hash_prefixes",
    ],
    [
      "with a delegation that does not say whether it terminates",
      "targets",
      "signed/delegations/roles/0/terminating",
      undefined,
      "signed.delegations.roles.0.terminating",
    ],
    [
      "with succinct roles beside others",
      "targets",
      "signed/delegations/succinct_roles",
      { bit_length: 4, name_prefix: "b", keyids: [], threshold: 1 },
      "signed.delegations.roles",
    ],
    [
      "with 2^33 bins",
      "targets",
      "signed/delegations",
      { keys: {}, succinct_roles: { bit_length: 33, name_prefix: "b", keyids: [], threshold: 1 } },
      "signed.delegations.succinct_roles.bit_length",
    ],
    [
      "with 2^0 bins",
      "targets",
      "signed/delegations",
      { keys: {}, succinct_roles: { bit_length: 0, name_prefix: "b", keyids: [], threshold: 1 } },
      "signed.delegations.succinct_roles.bit_length",
    ],
    ["whose signed is a list", "targets", "signed", [], "signed"],
    ["whose targets are a list", "targets", "signed/targets", [], "signed.targets"],
  ];
  for (const [name, kind, path, value, field] of rows) {
    it(name, async () => {
      const bytes = (await examples())[kind];
      const parse = (): unknown => parsers[kind](edited(bytes, path, value));
      assert.throws(parse, (error: RepositoryError) => {
        assert.equal(error.code, "repository/malformed");
        const fields = error.facts["fields"] as readonly string[];
        assert.ok(
          fields.some((text) => text.startsWith(`${field}: `)),
          fields.join("; "),
        );
        return true;
      });
    });
  }

  it("with every bad field named at once", async () => {
    const { root } = await examples();
    const bad = edited(
      edited(edited(root, "signed/version", 0), "signed/expires", "soon"),
      "signed/_type",
      "tools",
    );
    assert.throws(
      () => parseRoot(bad),
      (error: RepositoryError) => {
        assert.equal((error.facts["fields"] as readonly string[]).length, 3);
        return true;
      },
    );
  });

  it("that is not strict JSON at all", () => {
    for (const text of ["", "[]", "null", '{"signed":{},"signed":{}}', "{}x", "\ufeff{}"]) {
      assert.throws(() => parseTargets(toUtf8(text)), { code: "repository/malformed" });
    }
  });
});
