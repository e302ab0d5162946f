// Attacks over a real connection: endless data, slow retrieval, bombs and portals on every file a client asks for; and keys of every kind.

import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { toHex, toUtf8 } from "../../core/bytes.ts";
import { systemClock } from "../../io/system/clock.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { httpSource } from "../../io/source/http.ts";
import { SCHEMES, type Scheme } from "../../keys/scheme.ts";
import { localSigner, type Signer } from "../../keys/signer.ts";
import { NO_RETRY } from "../../mirror/fetch.ts";
import type { SpeedFloor } from "../../mirror/speed.ts";
import { startFaultServer, type Fault, type FaultServer } from "../../testing/fault-server.ts";
import { RepositorySimulator } from "../../testing/repository-simulator.ts";
import { mirrorAt, openRepository, type Repository } from "./client.ts";
import { NO_EXTRA } from "../metadata.ts";
import { memoryStore } from "./store.ts";

/** Short, for attacks that it has to end. */
const SHORT: SpeedFloor = { idle: 700, window: 900, minimum: 10_000 };
/** Long enough for an honest answer on a busy machine. */
const PATIENT: SpeedFloor = { idle: 20_000, window: 20_000, minimum: 1 };
const CONTENT = new Uint8Array(50_000).fill(1);

type World = {
  repo: RepositorySimulator;
  server: FaultServer;
  client: Repository;
  target: string;
  folder: string;
};

async function attacked(use: (world: World) => Promise<void>, floor = PATIENT): Promise<void> {
  const repo = await RepositorySimulator.create({ now: Date.now() });
  repo.addTarget("file", CONTENT);
  repo.delegate("targets", "product", { paths: ["p/*"] });
  await repo.publish();
  const server = await startFaultServer(repo.source.files);
  const source = httpSource(server.url, { plainHttp: "allowed" });
  const folder = mkdtempSync(join(tmpdir(), "upkeep-attack-"));
  const client = openRepository({
    mirrors: [mirrorAt(source)],
    store: memoryStore(),
    clock: systemClock,
    random: { bytes: (length) => new Uint8Array(length) },
    retry: NO_RETRY,
    trustedRoot: repo.rootBytes(1),
    metadataSpeed: floor,
    targetSpeed: floor,
    // Of the order of the real files, so that the endless ones end soon.
    limits: { rootBytes: 50_000, timestampBytes: 10_000, snapshotBytes: 50_000, targetsBytes: 100_000 },
  });
  const target = [...repo.source.files.keys()].find((path) => path.startsWith("targets/"))!;
  try {
    await use({ repo, server, client, target, folder });
  } finally {
    source.close();
    await server.close();
    rmSync(folder, { recursive: true });
  }
}

/** Everything a client does, in order; the attacked file is somewhere on the way. */
async function update({ client, folder }: World): Promise<void> {
  await client.refresh();
  await client.target("p/none");
  const info = (await client.target("file"))!;
  await client.fetchTarget(info, join(folder, "file"), { disk: systemDisk });
}

const FILES = [
  "metadata/2.root.json",
  "metadata/timestamp.json",
  "metadata/2.snapshot.json",
  "metadata/2.targets.json",
  "metadata/1.product.json",
  "the target",
] as const;

const ATTACKS: readonly (readonly [string, Fault, readonly string[]])[] = [
  ["endless data", { kind: "endless" }, ["mirror/too-long"]],
  ["slow retrieval", { kind: "drip", bytes: 1, every: 10 }, ["mirror/slow"]],
  ["a stall", { kind: "stall", bytes: 20 }, ["mirror/slow"]],
  ["silence", { kind: "silence" }, ["mirror/slow"]],
  ["a gzip bomb", { kind: "gzip-bomb", megabytes: 20 }, ["mirror/bad-answer"]],
  [
    "a redirect loop",
    { kind: "redirect", to: "/metadata/timestamp.json" },
    ["mirror/bad-answer", "repository/malformed"],
  ],
  ["a captive portal", { kind: "captive-portal" }, ["repository/malformed", "mirror/too-short"]],
];

describe("on every file of an update", () => {
  for (const [name, fault, codes] of ATTACKS) {
    it(`${name} ends in a refusal within its bounds, and nothing is installed`, async () => {
      await Promise.all(
        FILES.map((file) =>
          attacked(
            async (world) => {
              const { server, target, repo, folder } = world;
              const path = file === "the target" ? target : file;
              // A drip needs something to drip.
              if (!server.files.has(path)) server.files.set(path, repo.rootBytes(1));
              const what =
                fault.kind === "redirect" && path === "metadata/timestamp.json"
                  ? { ...fault, to: `/${path}` }
                  : fault;
              server.faults.set(path, what);
              const from = performance.now();
              await assert.rejects(update(world), (error: { code: string }) => {
                const allowed = [
                  ...codes,
                  ...(fault.kind === "redirect"
                    ? ["repository/version-mismatch", "mirror/wrong-content"]
                    : []),
                ];
                assert.ok(allowed.includes(error.code), `${file}: ${error.code}`);
                return true;
              });
              assert.ok(performance.now() - from < 15_000, file);
              assert.deepEqual(
                readdirSync(folder).filter((name) => !name.endsWith(".part")),
                [],
              );
            },
            codes.includes("mirror/slow") ? SHORT : PATIENT,
          ),
        ),
      );
    });
  }

  it("without an attack the same update succeeds", () =>
    attacked(async (world) => {
      await update(world);
      assert.deepEqual(readdirSync(world.folder), ["file"]);
    }));
});

describe("a root", () => {
  it("that is not there at first and there later is followed later (404, then 200)", () =>
    attacked(async ({ repo, server, client }) => {
      repo.rotate("timestamp");
      await repo.publish();
      server.faults.set("metadata/2.root.json", { kind: "status", status: 404 });
      await assert.rejects(client.refresh(), { code: "repository/unsigned" });
      server.faults.clear();
      assert.equal((await client.refresh()).root, 2);
    }));

  it("that drops the targets key makes the targets it signed worthless (key compromise)", () =>
    attacked(async ({ repo, client }) => {
      await client.refresh();
      repo.root.keys.delete(repo.root.roles.targets.keyids[0]!);
      await repo.publish();
      await assert.rejects(client.refresh(), { code: "repository/unsigned" });
    }));

  it("whose keys were all replaced is followed when the old ones signed the change", () =>
    attacked(async ({ repo, client }) => {
      for (const role of ["root", "timestamp", "snapshot", "targets"] as const) repo.rotate(role, 2);
      await repo.publish();
      assert.equal((await client.refresh()).root, 2);
    }));
});

describe("keys of every kind", () => {
  const signers = new Map<Scheme, Signer>();
  const signerOf = (scheme: Scheme): Signer => {
    const { node, curve } = SCHEMES[scheme];
    const generate = generateKeyPairSync as (type: string, options?: object) => { privateKey: KeyObject };
    const known =
      signers.get(scheme) ??
      localSigner(generate(node, { namedCurve: curve, modulusLength: 2048 }).privateKey, scheme);
    signers.set(scheme, known);
    return known;
  };

  for (const scheme of Object.keys(SCHEMES) as Scheme[]) {
    it(`${scheme} signs a timestamp that is believed`, () =>
      attacked(async ({ repo, client }) => {
        const signer = signerOf(scheme);
        repo.signers.set("timestamp", [signer]);
        repo.root.keys.set(signer.publicKey.keyid, signer.publicKey.tuf);
        repo.root.roles.timestamp.keyids = [signer.publicKey.keyid];
        await repo.publish();
        assert.equal((await client.refresh()).root, 2);
      }));
  }

  it("one key under an old and a new key type, as PEM and as hex, counts once", () =>
    attacked(async ({ repo, client }) => {
      const signer = signerOf("ecdsa-sha2-nistp256");
      const { publicKey } = signer;
      const twin: Signer = { ...signer, publicKey: { ...publicKey, keyid: "twin" } };
      repo.root.keys.set(publicKey.keyid, publicKey.tuf);
      repo.root.keys.set("twin", {
        keytype: "ecdsa-sha2-nistp256",
        scheme: "ecdsa-sha2-nistp256",
        keyval: { public: toHex(publicKey.spki.subarray(-65)) },
      });
      repo.root.roles.timestamp = { keyids: [publicKey.keyid, "twin"], threshold: 2, extra: NO_EXTRA };
      repo.signers.set("timestamp", [signer, twin]);
      await repo.publish();
      await assert.rejects(client.refresh(), { code: "repository/unsigned" });
    }));

  it("classic and post-quantum together make a threshold of two", () =>
    attacked(async ({ repo, client }) => {
      const pair = [signerOf("ed25519"), signerOf("ml-dsa-65/1")];
      for (const { publicKey } of pair) repo.root.keys.set(publicKey.keyid, publicKey.tuf);
      repo.root.roles.targets = { keyids: pair.map((s) => s.publicKey.keyid), threshold: 2, extra: NO_EXTRA };
      repo.signers.set("targets", pair);
      await repo.publish();
      await client.refresh();
      repo.signers.set("targets", [pair[0]!]);
      repo.addTarget("more", toUtf8("x"));
      await repo.publish();
      await assert.rejects(client.refresh(), { code: "repository/unsigned" });
    }));
});
