// Beside another implementation: tuf-js reads what we write, we read what its models write.

import assert from "node:assert/strict";
import { generateKeyPairSync, sign as cryptoSign, type KeyObject } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import {
  Key,
  Metadata,
  MetaFile,
  Root,
  Signature,
  Snapshot,
  TargetFile,
  Targets,
  Timestamp,
} from "@tufjs/models";
import { Updater } from "tuf-js";
import { toUtf8 } from "../../core/bytes.ts";
import { digestsOf } from "../../core/digest.ts";
import { systemClock } from "../../io/system/clock.ts";
import { httpSource } from "../../io/source/http.ts";
import { localSigner, type Signer } from "../../keys/signer.ts";
import { NO_RETRY } from "../../mirror/fetch.ts";
import { startFaultServer } from "../../testing/fault-server.ts";
import { RepositorySimulator } from "../../testing/repository-simulator.ts";
import { mirrorAt, openRepository } from "./client.ts";
import { memoryStore } from "./store.ts";

/** What tuf-js's client finds in a repository of ours. */
async function theirClient(
  repo: RepositorySimulator,
  use: (updater: Updater, folder: string) => Promise<void>,
): Promise<void> {
  const server = await startFaultServer(repo.source.files);
  const folder = mkdtempSync(join(tmpdir(), "upkeep-tuf-js-"));
  try {
    mkdirSync(join(folder, "metadata"));
    mkdirSync(join(folder, "targets"));
    writeFileSync(join(folder, "metadata", "root.json"), repo.rootBytes(1));
    const updater = new Updater({
      metadataDir: join(folder, "metadata"),
      metadataBaseUrl: `${server.url}/metadata`,
      targetDir: join(folder, "targets"),
      targetBaseUrl: `${server.url}/targets`,
    });
    await updater.refresh();
    await use(updater, folder);
  } finally {
    await server.close();
    rmSync(folder, { recursive: true });
  }
}

/** All top roles and a delegated one signed by other kinds of key. */
function useKeys(repo: RepositorySimulator, signers: readonly Signer[]): void {
  for (const role of ["targets", "snapshot", "timestamp"] as const) {
    repo.signers.set(role, [...signers]);
    repo.root.roles[role].keyids = signers.map((signer) => signer.publicKey.keyid);
    repo.root.roles[role].threshold = signers.length;
  }
  for (const { publicKey } of signers) repo.root.keys.set(publicKey.keyid, publicKey.tuf);
}

const p256 = (): KeyObject => generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;

describe("the client of tuf-js", () => {
  it("reads our roots, roles, delegations and targets, signed with Ed25519, ECDSA and RSA-PSS", async () => {
    const repo = await RepositorySimulator.create({ now: Date.now() });
    useKeys(repo, [
      localSigner(p256(), "ecdsa-sha2-nistp256"),
      localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519"),
      localSigner(generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey, "rsassa-pss-sha256"),
    ]);
    repo.delegate("targets", "product.demo", { paths: ["products/demo/*/*"], terminating: true });
    repo.addTarget("products/demo/1.0.0/app.bin", toUtf8("the app"), "product.demo", { releaseNumber: 1 });
    repo.addTarget("trust/keys.json", toUtf8("{}"));
    await repo.publish();
    repo.rotate("root");
    await repo.publish();
    await theirClient(repo, async (updater, folder) => {
      const info = await updater.getTargetInfo("products/demo/1.0.0/app.bin");
      assert.equal(info?.length, 7);
      assert.deepEqual(info.custom, { releaseNumber: 1 });
      const path = await updater.downloadTarget(info, join(folder, "targets", "app.bin"));
      assert.equal(readFileSync(path, "utf8"), "the app");
      assert.equal((await updater.getTargetInfo("trust/keys.json"))?.length, 2);
      assert.equal(await updater.getTargetInfo("products/demo/2.0.0/app.bin"), undefined);
    });
  });

  it("reads our hash bins, by prefix and succinct", async () => {
    const prefixed = await RepositorySimulator.create({ now: Date.now() });
    for (const digit of "0123456789abcdef")
      prefixed.delegate("targets", `bin-${digit}`, { pathHashPrefixes: [digit] });
    const succinct = await RepositorySimulator.create({ now: Date.now() });
    succinct.delegateToBins("targets", 4, "bin");
    for (const repo of [prefixed, succinct]) {
      for (const digit of "0123456789abcdef") repo.addTarget("file", toUtf8(digit), `bin-${digit}`);
      await repo.publish();
      const ours = openRepository({
        mirrors: [repo.mirror],
        store: memoryStore(),
        clock: systemClock,
        random: { bytes: (length) => new Uint8Array(length) },
        trustedRoot: repo.rootBytes(1),
      });
      await ours.refresh();
      const found = await ours.target("file");
      await theirClient(repo, async (updater) => {
        // Both find the same bin; each bin lists another digest.
        assert.equal((await updater.getTargetInfo("file"))?.hashes["sha256"], found?.hashes["sha256"]);
      });
    }
  });
});

describe("our client", () => {
  it("reads a repository that the models of tuf-js wrote", async () => {
    const privateKey = p256();
    const signer = localSigner(privateKey, "ecdsa-sha2-nistp256");
    const { keyid, tuf } = signer.publicKey;
    const head = { version: 1, specVersion: "1.0.31", expires: "2099-01-01T00:00:00Z" };
    const files = new Map<string, Uint8Array>();
    const publish = (path: string, signed: Root | Timestamp | Snapshot | Targets): void => {
      const metadata = new Metadata(signed);
      metadata.sign(
        (bytes) =>
          new Signature({ keyID: keyid, sig: cryptoSign("sha256", bytes, privateKey).toString("hex") }),
      );
      files.set(`metadata/${path}`, toUtf8(JSON.stringify(metadata.toJSON(), null, 2)));
    };
    const key = Key.fromJSON(keyid, tuf as never);
    const root = new Root({ ...head, consistentSnapshot: true });
    for (const role of ["root", "timestamp", "snapshot", "targets"]) root.addKey(key, role);
    const content = toUtf8("of another house");
    const hashes = digestsOf(content);
    const delegated = new Targets({ ...head, version: 3, unrecognizedFields: { "x-note": 'é "quoted"' } });
    delegated.addTarget(
      new TargetFile({
        path: "lib/thing.bin",
        length: content.length,
        hashes,
        unrecognizedFields: { custom: { a: 1 } },
      }),
    );
    const targets = Targets.fromJSON({
      _type: "targets",
      spec_version: head.specVersion,
      version: 2,
      expires: head.expires,
      targets: {},
      delegations: {
        keys: { [keyid]: key.toJSON() },
        roles: [{ name: "lib", keyids: [keyid], threshold: 1, terminating: false, paths: ["lib/*"] }],
      },
    });
    publish("1.root.json", root);
    publish("3.lib.json", delegated);
    publish("2.targets.json", targets);
    const meta = { "targets.json": new MetaFile({ version: 2 }), "lib.json": new MetaFile({ version: 3 }) };
    publish("1.snapshot.json", new Snapshot({ ...head, meta }));
    publish("timestamp.json", new Timestamp({ ...head, snapshotMeta: new MetaFile({ version: 1 }) }));
    files.set(`targets/lib/${hashes.sha512}.thing.bin`, content);
    files.set(`targets/lib/${hashes.sha256}.thing.bin`, content);

    const server = await startFaultServer(files);
    const source = httpSource(server.url, { plainHttp: "allowed" });
    try {
      const repository = openRepository({
        mirrors: [mirrorAt(source)],
        store: memoryStore(),
        clock: systemClock,
        random: { bytes: (length) => new Uint8Array(length) },
        retry: NO_RETRY,
        trustedRoot: files.get("metadata/1.root.json")!,
      });
      const result = await repository.refresh();
      assert.equal(result.changed, true);
      const info = await repository.target("lib/thing.bin");
      assert.deepEqual([info?.role, { ...info?.custom }], ["lib", { a: 1 }]);
      assert.deepEqual(await repository.readTarget("lib/thing.bin", 100), content);
    } finally {
      source.close();
      await server.close();
    }
  });
});
