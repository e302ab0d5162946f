// The store on a disk: torn files, full disks, read-only folders, kills between any two writes, parallel processes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { parseInstant } from "../../core/instant.ts";
import { systemClock } from "../../io/system/clock.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { storeLock } from "../../io/system/store-lock.ts";
import { NO_RETRY } from "../../mirror/fetch.ts";
import { crashMatrix } from "../../testing/crash-matrix.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { newSigner, RepositorySimulator } from "../../testing/repository-simulator.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { openRepository, type Repository } from "./client.ts";
import { NO_EXTRA } from "../metadata.ts";
import { diskStore, type MetadataStore } from "./store.ts";

const START = parseInstant("2026-11-21T04:00:00Z");

async function within(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "upkeep-store-"));
  try {
    await use(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function clientOf(repo: RepositorySimulator, store: MetadataStore): Repository {
  return openRepository({
    mirrors: [repo.mirror],
    store,
    clock: new ScriptedClock(START),
    random: { bytes: (length) => new Uint8Array(length) },
    retry: NO_RETRY,
    trustedRoot: repo.rootBytes(1),
  });
}

const READING = new Set(["stat", "list", "read", "open"]);

describe("a store in a folder", () => {
  it("holds one file per role by its plain name, and everything else below", () =>
    within(async (folder) => {
      const repo = await RepositorySimulator.create({ now: START });
      repo.delegate("targets", "../odd", {});
      repo.rotate("timestamp");
      await repo.publish();
      const client = clientOf(repo, diskStore(systemDisk, folder));
      await client.refresh();
      await client.target("file");
      assert.deepEqual(readdirSync(folder), [
        "..%2Fodd.json",
        "history",
        "root.json",
        "snapshot.json",
        "state",
        "targets.json",
        "timestamp.json",
      ]);
      assert.deepEqual(readdirSync(join(folder, "history")), ["2.root.json"]);
      assert.deepEqual(new Uint8Array(readFileSync(join(folder, "root.json"))), repo.rootBytes(2));
    }));

  it("survives a failure at every single write: the next refresh succeeds and never goes back", async () => {
    const repo = await RepositorySimulator.create({ now: START });
    const start = new MemoryDisk();
    await clientOf(repo, diskStore(start, "/store")).refresh();
    repo.rotate("snapshot");
    repo.addTarget("file", toUtf8("hello"));
    await repo.publish();
    let points = 0;
    for (let after = 0; ; after++) {
      const disk = start.clone();
      let failed = false;
      disk.fault = ({ kind, number }) => {
        if (READING.has(kind) || number < after) return undefined;
        failed = true;
        return "disk/full";
      };
      const outcome = await clientOf(repo, diskStore(disk, "/store"))
        .refresh()
        .then(
          () => "done",
          (error: { code: string }) => error.code,
        );
      if (!failed) break;
      points++;
      assert.equal(outcome, "disk/full");
      // A new process, a healthy disk.
      disk.fault = null;
      const client = clientOf(repo, diskStore(disk, "/store"));
      const result = await client.refresh();
      assert.deepEqual([result.root, result.timestamp], [2, 2], `after ${after} changes`);
      assert.deepEqual(await client.readTarget("file", 10), toUtf8("hello"));
    }
    assert.ok(points > 20, String(points));
  });

  it("survives a power cut at every moment, in every state that one may leave (kill -9 too)", async () => {
    const repo = await RepositorySimulator.create({ now: START });
    const stays = newSigner();
    const goes = repo.signers.get("timestamp")![0]!;
    repo.root.keys.set(stays.publicKey.keyid, stays.publicKey.tuf);
    repo.root.roles.timestamp.keyids.push(stays.publicKey.keyid);
    repo.signers.set("timestamp", [goes, stays]);
    repo.timestamp.version = Number.MAX_SAFE_INTEGER;
    await repo.publish();
    const start = new MemoryDisk();
    await clientOf(repo, diskStore(start, "/store")).refresh();
    // A fast-forward attack, recovered from by taking one key away: the other one's signature is still good.
    repo.root.roles.timestamp.keyids = [stays.publicKey.keyid];
    repo.signers.set("timestamp", [stays]);
    repo.root.version = 3;
    repo.addTarget("file", toUtf8("hello"));
    repo.targets.version = 2;
    repo.snapshot.version = 2;
    repo.snapshot.meta.set("targets", { version: 2, extra: NO_EXTRA });
    repo.timestamp.version = 2;
    repo.timestamp.snapshot.version = 2;
    await repo.publish({ verbatim: true });
    const cases = await crashMatrix(
      start,
      async (disk) => void (await clientOf(repo, diskStore(disk, "/store")).refresh()),
      async ({ disk, point, state }) => {
        const client = clientOf(repo, diskStore(disk, "/store"));
        const { root, timestamp } = await client.refresh();
        assert.deepEqual([root, timestamp], [3, 2], `point ${point}, state ${state}`);
        assert.deepEqual(await client.readTarget("file", 10), toUtf8("hello"));
      },
      { states: 8 },
    );
    assert.ok(cases > 100, String(cases));
  });

  it("that cannot be written is used read-only, with what is new kept in memory", async () => {
    const repo = await RepositorySimulator.create({ now: START });
    const disk = new MemoryDisk();
    await clientOf(repo, diskStore(disk, "/store")).refresh();
    repo.addTarget("file", toUtf8("hello"));
    await repo.publish();
    disk.fault = ({ kind }) => (READING.has(kind) ? undefined : "disk/read-only");
    const store = diskStore(disk, "/store");
    const client = clientOf(repo, store);
    assert.equal((await client.refresh()).timestamp, 2);
    assert.equal(store.readOnly, true);
    assert.deepEqual(await client.readTarget("file", 10), toUtf8("hello"));
    assert.equal((await client.refresh()).changed, false);
    assert.match(fromUtf8(await disk.read("/store/timestamp.json", 10_000)), /"version":1,/);
  });

  it("in which every file is torn or too large is as good as an empty one, for who has the root", () =>
    within(async (folder) => {
      const repo = await RepositorySimulator.create({ now: START });
      repo.rotate("timestamp");
      repo.addTarget("file", toUtf8("hello"));
      await repo.publish();
      for (const content of [Buffer.alloc(0), Buffer.from('{"sig'), Buffer.alloc(17 * 1024 * 1024, 0x20)]) {
        await clientOf(repo, diskStore(systemDisk, folder)).refresh();
        for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
          if (entry.isFile()) writeFileSync(join(entry.parentPath, entry.name), content);
        }
        const client = clientOf(repo, diskStore(systemDisk, folder));
        assert.equal((await client.refresh()).root, 2);
        assert.deepEqual(await client.readTarget("file", 10), toUtf8("hello"));
      }
    }));

  it("whose state files are torn or forged loses nothing but time", () =>
    within(async (folder) => {
      const repo = await RepositorySimulator.create({ now: START });
      const client = (): Repository => clientOf(repo, diskStore(systemDisk, folder));
      await client().refresh();
      for (const text of [
        "",
        "{",
        "[]",
        '{"root":1}',
        '{"root":"x","timestamp":"y","roles":{}}',
        '"x"',
        "-5",
      ]) {
        writeFileSync(join(folder, "state", "checked"), text);
        writeFileSync(join(folder, "state", "known-time"), text);
        assert.equal((await client().refresh()).start, START);
      }
    }));
});

describe("the lock of a store", () => {
  it("is held by one at a time, waits, and gives up in the end", () =>
    within(async (folder) => {
      const path = join(folder, "lock");
      const release = await storeLock(path, systemClock)();
      await assert.rejects(storeLock(path, systemClock, 60)(), { code: "repository/locked" });
      const waiting = storeLock(path, systemClock)();
      await release();
      await (
        await waiting
      )();
    }));

  it("of a process that was killed is free at once", () =>
    within(async (folder) => {
      const path = join(folder, "lock");
      const script = `import { DatabaseSync } from "node:sqlite";
        const d = new DatabaseSync(${JSON.stringify(path)}); d.exec("BEGIN EXCLUSIVE");
        console.log("held"); setInterval(() => d.isOpen, 1000);`;
      const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      await new Promise((resolve) => child.stdout.once("data", resolve));
      await assert.rejects(storeLock(path, systemClock, 60)(), { code: "repository/locked" });
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await gone;
      await (
        await storeLock(path, systemClock, 2000)()
      )();
    }));

  it("in a folder that cannot be written says read-only", async () => {
    await assert.rejects(storeLock("/nonexistent/folder/lock", systemClock)(), { code: "disk/read-only" });
  });

  it("keeps many clients of one store apart", () =>
    within(async (folder) => {
      const repo = await RepositorySimulator.create({ now: START });
      const clients = Array.from({ length: 8 }, () =>
        clientOf(repo, diskStore(systemDisk, folder, storeLock(join(folder, "lock"), systemClock))),
      );
      await Promise.all(clients.map((client) => client.refresh()));
      repo.timestamp.version = 7;
      await repo.publish();
      const results = await Promise.all(clients.map((client) => client.refresh()));
      assert.deepEqual(new Set(results.map((result) => result.timestamp)), new Set([7]));
      // Exactly one of them found it; the others saw it stored.
      assert.equal(results.filter((result) => result.changed).length, 1);
    }));
});
