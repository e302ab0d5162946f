// The doors that npm consumers use, by their published names: the guide's example, run.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { diskSource, publisherLock, storeLock, systemClock, systemDisk, systemRandom } from "upkeep/io";
import {
  diskStore,
  emptyTargets,
  inspectRepository,
  localSigner,
  makeRoot,
  memoryStore,
  mirrorAt,
  openPublisher,
  openRepository,
  repositoryStatus,
  targetFileOf,
  verdict,
} from "upkeep/repository";
import { RepositorySimulator } from "upkeep/testing";

it("a program that embeds the client refreshes, finds and fetches, by what the package exports", async () => {
  const folder = mkdtempSync(join(tmpdir(), "upkeep-door-"));
  try {
    const repo = await RepositorySimulator.create({ now: Date.now() });
    repo.addTarget("hello.txt", new TextEncoder().encode("hello"));
    await repo.publish();
    const repository = openRepository({
      mirrors: [repo.mirror],
      store: diskStore(systemDisk, join(folder, "tuf"), storeLock(join(folder, "lock"), systemClock)),
      clock: systemClock,
      random: systemRandom,
      trustedRoot: repo.rootBytes(1),
      minimums: { timestamp: 1, snapshot: 1 },
    });
    await repository.refresh();
    const info = await repository.target("hello.txt");
    assert.ok(info !== null);
    await repository.fetchTarget(info, join(folder, "hello.txt"), { disk: systemDisk });
    assert.equal(readFileSync(join(folder, "hello.txt"), "utf8"), "hello");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it("a program that runs a repository makes one, publishes a target, and looks at it, by what the package exports", async () => {
  const data = mkdtempSync(join(tmpdir(), "upkeep-door-"));
  try {
    const folder = join(data, "repository");
    const signers = ["root", "targets", "online"].map((name) => ({
      name,
      signer: localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519"),
    }));
    const role = (wanted: string) => ({
      keys: signers
        .filter(({ name }) => name === wanted)
        .map(({ name, signer }) => ({ name, key: signer.publicKey })),
      threshold: 1,
    });
    const client = async (store = memoryStore()) => {
      const repository = openRepository({
        mirrors: [mirrorAt(diskSource(systemDisk, folder))],
        store,
        clock: systemClock,
        random: systemRandom,
        trustedRoot: readFileSync(join(folder, "metadata/1.root.json")),
      });
      await repository.refresh();
      return repository;
    };
    const publisher = openPublisher({
      disk: systemDisk,
      folder,
      clock: systemClock,
      ring: async (wanted) =>
        signers
          .map(({ signer }) => signer)
          .filter(({ publicKey }) => wanted.some(({ keyid }) => keyid === publicKey.keyid)),
      lock: publisherLock(join(data, "repository.lock"), { disk: systemDisk, clock: systemClock }),
      lookFromOutside: async () => void (await client()),
    });
    const root = makeRoot({
      root: role("root"),
      targets: role("targets"),
      snapshot: role("online"),
      timestamp: role("online"),
    });
    await publisher.create(root, async (draft) => draft.put("targets", emptyTargets()));
    const content = new TextEncoder().encode("hello");
    const file = targetFileOf(content);
    await publisher.placeBytes("hello.txt", file, content);
    const outcome = await publisher.change((draft) =>
      draft.changeTargets("targets", { put: new Map([["hello.txt", file]]) }),
    );
    assert.equal(outcome.kind, "published");
    assert.deepEqual(new Uint8Array(await (await client()).readTarget("hello.txt", 100)), content);
    const now = systemClock.now();
    assert.equal(verdict(await repositoryStatus(await publisher.read(), now)), "well");
    assert.deepEqual((await inspectRepository(systemDisk, folder, now)).findings, []);
  } finally {
    rmSync(data, { recursive: true });
  }
});
