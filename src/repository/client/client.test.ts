// The client against an edited repository: what it trusts, what it refuses, and what it asks for.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { DAY, HOUR, parseInstant } from "../../core/instant.ts";
import { NO_RETRY } from "../../mirror/fetch.ts";
import { memorySource } from "../../testing/memory-source.ts";
import { newSigner, RepositorySimulator } from "../../testing/repository-simulator.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { mirrorAt, openRepository, type Repository, type RepositoryOptions } from "./client.ts";
import { NO_EXTRA } from "../metadata.ts";
import type { KnownTime } from "./known-time.ts";
import { memoryStore } from "./store.ts";

const START = parseInstant("2026-11-21T04:00:00Z");

type World = {
  readonly repo: RepositorySimulator;
  readonly clock: ScriptedClock;
  readonly store: ReturnType<typeof memoryStore>;
  /** A fresh client over the same store, as after a restart. */
  readonly client: (more?: Partial<RepositoryOptions>) => Repository;
};

async function world(options: { consistent?: boolean } = {}): Promise<World> {
  const repo = await RepositorySimulator.create({ now: START, ...options });
  const clock = new ScriptedClock(START);
  const store = memoryStore();
  return {
    repo,
    clock,
    store,
    client: (more = {}) =>
      openRepository({
        mirrors: [repo.mirror],
        store,
        clock,
        random: { bytes: (length) => new Uint8Array(length) },
        retry: NO_RETRY,
        trustedRoot: repo.rootBytes(1),
        ...more,
      }),
  };
}

const metadataOf = (requests: readonly string[]): string[] =>
  requests.map((path) => path.replace("metadata/", ""));

describe("a refresh", () => {
  it("asks for root, timestamp, snapshot and targets, once each and in this order", async () => {
    const { repo, client } = await world();
    const result = await client().refresh();
    assert.deepEqual(metadataOf(repo.source.requests), [
      "2.root.json",
      "timestamp.json",
      "1.snapshot.json",
      "1.targets.json",
    ]);
    assert.deepEqual([result.changed, result.root, result.timestamp, result.snapshot], [true, 1, 1, 1]);
    assert.equal(result.expires, START + DAY);
  });

  it("with nothing new makes two small requests and reads neither snapshot nor targets", async () => {
    const { repo, client, store } = await world();
    await client().refresh();
    repo.source.requests.length = 0;
    const read: string[] = [];
    const watched = {
      ...store,
      load: async (role: string, limit: number) => (read.push(role), store.load(role, limit)),
    };
    const result = await client({ store: watched }).refresh();
    assert.equal(result.changed, false);
    assert.deepEqual(metadataOf(repo.source.requests), ["2.root.json", "timestamp.json"]);
    assert.deepEqual([...new Set(read)], ["root", "timestamp"]);
  });

  it("with nothing new writes nothing, for an hour", async () => {
    const { client, store, clock } = await world();
    await client().refresh();
    const written: string[] = [];
    const watched = {
      ...store,
      save: async (role: string, bytes: Uint8Array) => (written.push(role), store.save(role, bytes)),
      saveKnownTime: async (time: KnownTime) => (written.push("time"), store.saveKnownTime(time)),
      saveChecked: async () => void written.push("checked"),
    };
    await clock.advance(HOUR - 1000);
    await client({ store: watched }).refresh();
    assert.deepEqual(written, []);
    await clock.advance(1000);
    await client({ store: watched }).refresh();
    assert.deepEqual(written, ["time"]);
  });

  it("stores metadata byte for byte as received", async () => {
    const { repo, client, store } = await world();
    repo.targets.extra = { "x-unknown": ["kept"] };
    await repo.publish();
    await client().refresh();
    assert.deepEqual(store.files.get("targets.json"), repo.source.files.get("metadata/2.targets.json"));
    assert.deepEqual(store.files.get("timestamp.json"), repo.source.files.get("metadata/timestamp.json"));
  });

  it("works without consistent snapshots, with unversioned names", async () => {
    const { repo, client } = await world({ consistent: false });
    repo.addTarget("a/file.txt", toUtf8("hello"));
    await repo.publish();
    const repository = client();
    await repository.refresh();
    assert.deepEqual(metadataOf(repo.source.requests), [
      "2.root.json",
      "timestamp.json",
      "snapshot.json",
      "targets.json",
    ]);
    assert.deepEqual(await repository.readTarget("a/file.txt", 100), toUtf8("hello"));
    assert.equal(repo.source.requests.at(-1), "targets/a/file.txt");
  });

  it("fetches again what was damaged in the store, without a word", async () => {
    const { repo, client, store } = await world();
    repo.addTarget("file", toUtf8("hello"));
    await repo.publish();
    await client().refresh();
    for (const name of ["timestamp.json", "snapshot.json", "targets.json", "root.json"]) {
      store.files.set(name, toUtf8('{"torn'));
    }
    const repository = client();
    await repository.refresh();
    assert.deepEqual(await repository.readTarget("file", 100), toUtf8("hello"));
  });

  it("without mirrors uses what is stored until it expires", async () => {
    const { repo, client, clock } = await world();
    repo.addTarget("file", toUtf8("hello"));
    await repo.publish();
    await client().refresh();
    const offline = client({ mirrors: [] });
    const result = await offline.refresh();
    assert.equal(result.changed, false);
    assert.equal((await offline.target("file"))?.length, 5);
    await clock.advance(DAY);
    await assert.rejects(offline.refresh(), { code: "repository/expired" });
  });

  it("serves two clients at once from one store", async () => {
    const { client } = await world();
    const results = await Promise.all([client().refresh(), client().refresh(), client().refresh()]);
    assert.deepEqual(
      results.map((result) => result.timestamp),
      [1, 1, 1],
    );
  });
});

describe("arbitrary installation attack", () => {
  for (const role of ["timestamp", "snapshot", "targets"] as const) {
    it(`refuses a ${role} signed by a stranger`, async () => {
      const { repo, client } = await world();
      repo.signers.set(role, [newSigner()]);
      repo[role].version += 1;
      if (role === "targets") repo.targets.extra = { changed: 1 };
      await repo.publish();
      await assert.rejects(client().refresh(), { code: "repository/unsigned" });
    });
  }

  it("refuses a root that only its own new keys signed", async () => {
    const { repo, client } = await world();
    const forged = await RepositorySimulator.create({ now: START });
    forged.root.version = 2;
    await forged.publish({ verbatim: true });
    repo.source.files.set("metadata/2.root.json", forged.source.files.get("metadata/2.root.json")!);
    await assert.rejects(client().refresh(), { code: "repository/unsigned" });
  });

  it("refuses a target whose bytes are not the listed ones", async () => {
    const { repo, client } = await world();
    repo.addTarget("file", toUtf8("hello"));
    await repo.publish();
    for (const name of repo.source.files.keys()) {
      if (name.startsWith("targets/")) repo.source.files.set(name, toUtf8("jello"));
    }
    const repository = client();
    await repository.refresh();
    await assert.rejects(repository.readTarget("file", 100), { code: "repository/content-mismatch" });
  });
});

describe("key compromise", () => {
  it("counts one public key under two key ids once", async () => {
    const { repo, client } = await world();
    const [signer] = repo.signers.get("timestamp")!;
    const twin = { ...signer!, publicKey: { ...signer!.publicKey, keyid: "another-id" } };
    repo.root.keys.set("another-id", signer!.publicKey.tuf);
    repo.root.roles.timestamp = {
      keyids: [signer!.publicKey.keyid, "another-id"],
      threshold: 2,
      extra: NO_EXTRA,
    };
    repo.signers.set("timestamp", [signer!, twin]);
    repo.timestamp.version += 1;
    await repo.publish();
    await assert.rejects(client().refresh(), {
      code: "repository/unsigned",
      facts: { role: "timestamp", version: 2, valid: 1, threshold: 2 },
    });
  });

  it("walks rotations of every key of the root, whatever expired on the way", async () => {
    const { repo, client, clock, store } = await world();
    for (let i = 0; i < 5; i++) {
      repo.rotate("root", 1 + (i % 3));
      repo.root.expires = START + (i + 1) * HOUR;
      await repo.publish();
    }
    repo.root.expires = START + 365 * DAY;
    await repo.publish();
    await clock.advance(12 * HOUR);
    assert.equal((await client().refresh()).root, 7);
    assert.deepEqual(store.files.get("root.json"), repo.rootBytes(7));
    // A later start walks the stored chain without asking for it again.
    repo.source.requests.length = 0;
    assert.equal((await client().refresh()).root, 7);
    assert.deepEqual(metadataOf(repo.source.requests), ["8.root.json", "timestamp.json"]);
  });

  it("follows 300 rotations in one refresh, and with a limit goes on in the next one", async () => {
    const { repo, client } = await world();
    for (let i = 0; i < 300; i++) {
      repo.root.version += 1;
      await repo.publish();
    }
    const limited = client({ limits: { roots: 200 } });
    assert.equal((await limited.refresh()).root, 201);
    assert.equal((await limited.refresh()).root, 301);
    assert.equal((await client({ store: memoryStore() }).refresh()).root, 301);
  });

  it("stops at a gap in the root versions", async () => {
    const { repo, client } = await world();
    repo.root.version = 2;
    await repo.publish();
    repo.root.version = 3;
    await repo.publish();
    repo.source.files.delete("metadata/2.root.json");
    assert.equal((await client().refresh()).root, 1);
  });

  it("refuses a root whose file name and version differ", async () => {
    const { repo, client } = await world();
    repo.root.version = 3;
    await repo.publish();
    repo.source.files.set("metadata/2.root.json", repo.rootBytes(3));
    await assert.rejects(client().refresh(), { code: "repository/version-mismatch" });
  });
});

describe("rollback attack", () => {
  it("refuses an older timestamp, and keeps the newer one", async () => {
    const { repo, client, store } = await world();
    repo.timestamp.version = 5;
    await repo.publish();
    await client().refresh();
    repo.timestamp.version = 4;
    await repo.publish({ verbatim: true });
    await assert.rejects(client().refresh(), {
      code: "repository/rollback",
      facts: { role: "timestamp", trusted: 5, offered: 4 },
    });
    assert.match(Buffer.from(store.files.get("timestamp.json")!).toString(), /"version":5/);
  });

  it("refuses a timestamp that points to an older snapshot", async () => {
    const { repo, client } = await world();
    repo.snapshot.version = 5;
    await repo.publish();
    await client().refresh();
    repo.timestamp.version += 1;
    repo.timestamp.snapshot.version = 4;
    await repo.publish({ verbatim: true });
    await assert.rejects(client().refresh(), {
      code: "repository/rollback",
      facts: { role: "snapshot", trusted: 5, offered: 4 },
    });
  });

  for (const change of ["goes back", "vanishes"] as const) {
    it(`refuses a snapshot in which a role ${change}`, async () => {
      const { repo, client } = await world();
      repo.delegate("targets", "product", { paths: ["p/*"] });
      repo.role("product").version = 5;
      await repo.publish();
      await client().refresh();
      if (change === "vanishes") repo.snapshot.meta.delete("product");
      else repo.snapshot.meta.set("product", { version: 4, extra: NO_EXTRA });
      repo.snapshot.version += 1;
      repo.timestamp.version += 1;
      repo.timestamp.snapshot.version = repo.snapshot.version;
      await repo.publish({ verbatim: true });
      await assert.rejects(client().refresh(), { code: "repository/rollback" });
    });
  }

  it("uses the stored snapshot as a bound even if its hash is no longer listed", async () => {
    const { repo, client, store } = await world();
    repo.targets.version = 5;
    await repo.publish();
    await client().refresh();
    store.files.delete("state/checked");
    repo.snapshot.meta.set("targets", { version: 4, extra: NO_EXTRA });
    repo.snapshot.version += 1;
    repo.timestamp.version += 1;
    repo.timestamp.snapshot = { version: repo.snapshot.version, extra: NO_EXTRA };
    await repo.publish({ verbatim: true });
    await assert.rejects(client().refresh(), { code: "repository/rollback" });
  });

  it("across a wiped store stays above the versions that were compiled in", async () => {
    const { repo, client } = await world();
    await assert.rejects(client({ minimums: { timestamp: 2 } }).refresh(), {
      code: "repository/below-minimum",
    });
    repo.timestamp.version = 2;
    await repo.publish();
    await client({ minimums: { timestamp: 2 } }).refresh();
    // After a fast-forward attack, keys are rotated and versions begin anew: the minimum binds no longer.
    repo.rotate("timestamp");
    await repo.publish();
    await client({ minimums: { timestamp: 1_000_000 } }).refresh();
  });
});

describe("fast-forward attack", () => {
  it("is recovered from by rotating the keys of timestamp and snapshot", async () => {
    const { repo, client } = await world();
    repo.timestamp.version = Number.MAX_SAFE_INTEGER;
    repo.snapshot.version = Number.MAX_SAFE_INTEGER;
    await repo.publish();
    await client().refresh();
    repo.timestamp.version = 2;
    repo.snapshot.version = 2;
    repo.timestamp.snapshot.version = 2;
    await repo.publish({ verbatim: true });
    await assert.rejects(client().refresh(), { code: "repository/rollback" });
    repo.rotate("timestamp");
    repo.rotate("snapshot");
    repo.root.version = 2;
    await repo.publish({ verbatim: true });
    const result = await client().refresh();
    assert.deepEqual([result.timestamp, result.snapshot], [2, 2]);
  });

  it("is not recovered from by adding a key: what was trusted still bounds", async () => {
    const { repo, client } = await world();
    repo.timestamp.version = 9;
    await repo.publish();
    await client().refresh();
    const more = newSigner();
    repo.root.keys.set(more.publicKey.keyid, more.publicKey.tuf);
    repo.root.roles.timestamp.keyids.push(more.publicKey.keyid);
    repo.root.version = 2;
    repo.timestamp.version = 8;
    await repo.publish({ verbatim: true });
    await assert.rejects(client().refresh(), { code: "repository/rollback" });
  });
});

describe("indefinite freeze attack", () => {
  for (const role of ["root", "timestamp", "snapshot", "targets"] as const) {
    it(`refuses an expired ${role} and says since when`, async () => {
      const { repo, client, clock } = await world();
      repo.timestamp.expires = START + 400 * DAY;
      repo.snapshot.expires = START + 400 * DAY;
      repo[role].expires = START + HOUR;
      await repo.publish();
      await client().refresh();
      await clock.advance(HOUR);
      await assert.rejects(
        client().refresh(),
        (error: { code: string; facts: { [name: string]: unknown } }) => {
          assert.deepEqual(
            [error.code, error.facts["role"], error.facts["since"]],
            ["repository/expired", role, "2026-11-21T05:00:00Z"],
          );
          return true;
        },
      );
    });
  }

  it("judges by the latest known time when the clock is set back", async () => {
    const { repo, client, clock } = await world();
    await client().refresh();
    await clock.advance(20 * HOUR);
    repo.timestamp.expires = START + 2 * DAY;
    await repo.publish();
    await client().refresh();
    clock.setWall("2020-01-01T00:00:00Z");
    const result = await client().refresh();
    assert.deepEqual([result.start, result.clockSetBack], [START + 20 * HOUR, true]);
    repo.timestamp.expires = START + 10 * HOUR;
    await repo.publish();
    await assert.rejects(client().refresh(), { code: "repository/expired" });
  });

  it("is not made permanent by a clock that once ran ahead", async () => {
    const { client, clock } = await world();
    clock.setWall("2099-01-01T00:00:00Z");
    await assert.rejects(client().refresh(), { code: "repository/expired" });
    clock.setWall(START);
    assert.equal((await client().refresh()).clockSetBack, false);
  });

  it("judges all of one update by the time at its beginning", async () => {
    const { repo, client, clock } = await world();
    repo.addTarget("file", toUtf8("hello"));
    repo.delegate("targets", "product", { paths: ["p/*"] });
    await repo.publish();
    const repository = client();
    await repository.refresh();
    await clock.advance(1000 * DAY);
    assert.equal((await repository.target("file"))?.length, 5);
    assert.equal(await repository.target("p/none"), null);
  });
});

describe("mix-and-match attack", () => {
  it("refuses a snapshot of another version than the timestamp lists", async () => {
    const { repo, client } = await world();
    const old = repo.source.files.get("metadata/1.snapshot.json")!;
    repo.snapshot.extra = { x: 1 };
    await repo.publish();
    repo.source.files.set("metadata/2.snapshot.json", old);
    await assert.rejects(client().refresh(), { code: "repository/version-mismatch" });
  });

  it("refuses targets of another version than the snapshot lists", async () => {
    const { repo, client } = await world();
    const old = repo.source.files.get("metadata/1.targets.json")!;
    repo.targets.extra = { x: 1 };
    await repo.publish();
    repo.source.files.set("metadata/2.targets.json", old);
    await assert.rejects(client().refresh(), { code: "repository/version-mismatch" });
  });

  it("refuses a snapshot whose hash is not the listed one", async () => {
    const { repo, client } = await world();
    repo.timestamp.snapshot = { version: 1, hashes: { sha256: "0".repeat(64) }, extra: NO_EXTRA };
    await repo.publish();
    await assert.rejects(client().refresh(), { code: "repository/content-mismatch" });
  });

  it("refuses metadata for which only a weak hash is listed", async () => {
    const { repo, client } = await world();
    repo.timestamp.snapshot = { version: 1, hashes: { md5: "0".repeat(32) }, extra: NO_EXTRA };
    await repo.publish();
    await assert.rejects(client().refresh(), { code: "repository/weak-hashes" });
  });
});

describe("malicious mirrors", () => {
  it("a stale mirror never wins over a fresher one, and is reported", async () => {
    const { repo, client } = await world();
    const stale = repo.frozenCopy("stale");
    repo.addTarget("file", toUtf8("hello"));
    await repo.publish();
    const repository = client({ mirrors: [mirrorAt(stale), repo.mirror] });
    const result = await repository.refresh();
    assert.equal(result.timestamp, 2);
    assert.deepEqual(
      result.mirrors.map((mirror) => mirror.timestamp),
      [1, 2],
    );
    assert.deepEqual(await repository.readTarget("file", 10), toUtf8("hello"));
  });

  it("a mirror that withholds a root does not hide it", async () => {
    const { repo, client } = await world();
    const stale = repo.frozenCopy("stale");
    repo.rotate("timestamp");
    await repo.publish();
    assert.equal((await client({ mirrors: [mirrorAt(stale), repo.mirror] }).refresh()).root, 2);
  });

  it("wrong bytes from one mirror are taken from another", async () => {
    const { repo, client } = await world();
    repo.addTarget("file", toUtf8("hello"));
    await repo.publish();
    const bad = memorySource(
      [...repo.source.files].map(([path]) => [path, toUtf8("<html>")] as const),
      { name: "bad" },
    );
    const repository = client({ mirrors: [mirrorAt(bad), repo.mirror] });
    const result = await repository.refresh();
    assert.deepEqual(result.mirrors[0]?.failures.includes("repository/malformed"), true);
    assert.deepEqual(await repository.readTarget("file", 10), toUtf8("hello"));
  });

  it("one mirror down costs nothing but its report", async () => {
    const { repo, client } = await world();
    const down = repo.frozenCopy("down");
    down.down = true;
    const result = await client({ mirrors: [mirrorAt(down), repo.mirror] }).refresh();
    assert.deepEqual(result.mirrors[0], {
      name: "down/metadata",
      failures: ["mirror/unreachable"],
      timestamp: null,
    });
    // It is asked once per refresh, then left alone.
    assert.equal(down.requests.length, 1);
  });

  it("all mirrors down is said as such", async () => {
    const { repo, client } = await world();
    repo.source.down = true;
    await assert.rejects(client().refresh(), { code: "mirror/unreachable" });
  });
});

describe("extraneous dependencies attack", () => {
  it("gets nothing fetched but what was asked for, whatever else is listed beside it", async () => {
    const { repo, client } = await world();
    repo.addTarget("file", toUtf8("hello"), "targets", { dependencies: ["extra"], requires: "extra" });
    repo.addTarget("extra", toUtf8("not asked for"));
    await repo.publish();
    const repository = client();
    await repository.refresh();
    await repository.readTarget("file", 10);
    const fetched = repo.source.requests.filter((path) => path.startsWith("targets/"));
    assert.equal(fetched.length, 1);
    assert.match(fetched[0]!, /\.file$/);
  });
});

describe("wrong software", () => {
  it("cannot be passed off under another listed name", async () => {
    const { repo, client } = await world();
    repo.addTarget("good", toUtf8("good program"));
    repo.addTarget("evil", toUtf8("evil program"));
    await repo.publish();
    const paths = [...repo.source.files.keys()].filter((path) => path.startsWith("targets/"));
    const [good, evil] = ["good", "evil"].map((name) => paths.find((path) => path.endsWith(name))!);
    repo.source.files.set(good!, repo.source.files.get(evil!)!);
    const repository = client();
    await repository.refresh();
    await assert.rejects(repository.readTarget("good", 100), { code: "repository/content-mismatch" });
  });

  it("finds what a role lists, and nothing by the names that objects have", async () => {
    const { repo, client } = await world();
    repo.addTarget("constructor", toUtf8("a file"));
    await repo.publish();
    const repository = client();
    await repository.refresh();
    for (const name of ["toString", "__proto__", "hasOwnProperty", "valueOf"]) {
      assert.equal(await repository.target(name), null);
    }
    assert.deepEqual(await repository.readTarget("constructor", 10), toUtf8("a file"));
  });

  it("refuses a target for which only a weak hash is listed", async () => {
    const { repo, client } = await world();
    repo.addTarget("file", toUtf8("hello"));
    repo.targets.targets.set("file", {
      length: 5,
      hashes: { md5: "5d41402abc4b2a76b9719d911017c592" },
      extra: NO_EXTRA,
    });
    await repo.publish();
    const repository = client();
    await repository.refresh();
    await assert.rejects(repository.target("file"), { code: "repository/weak-hashes" });
  });

  it("refuses a target longer than the reader wants", async () => {
    const { repo, client } = await world();
    repo.addTarget("file", toUtf8("hello"));
    await repo.publish();
    const repository = client();
    await repository.refresh();
    await assert.rejects(repository.readTarget("file", 4), { code: "repository/limit" });
  });

  it("asks for nothing before a refresh", async () => {
    const { client } = await world();
    await assert.rejects(client().target("file"), { code: "repository/not-refreshed" });
  });
});
