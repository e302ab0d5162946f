// Clocks that were ahead, and clocks that were set back: what a client and a publisher remember of time, day by day.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, HOUR, parseInstant } from "../../core/instant.ts";
import { NO_RETRY } from "../../mirror/fetch.ts";
import { copyStore, OperatorWorld } from "../../testing/operator-world.ts";
import { RepositorySimulator } from "../../testing/repository-simulator.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { mirrorAt, openRepository } from "./client.ts";
import { knownTimeOf, RefreshTime } from "./known-time.ts";
import { memoryStore } from "./store.ts";

const DAY_0 = parseInstant("2026-11-21T04:00:00Z");

/** A publisher with its repository, a device that has been there, and the one clock of both. */
async function madeWhile(ahead: number) {
  const world = new OperatorWorld();
  world.clock.setWall(DAY_0 + ahead);
  await world.create();
  await world.release("1.0.0");
  const store = memoryStore();
  await world.device(store).refresh();
  const known = async () => (await store.loadKnownTime())?.time ?? null;
  return { world, store, known, device: world.device(store) };
}

describe("a clock that was two years ahead on day 0 and is right on day 1", () => {
  it("keeps no device away: the first timestamp that is signed by the right clock shows that the remembered time was wrong", async () => {
    const { world, device, known } = await madeWhile(730 * DAY);
    assert.equal(await known(), DAY_0 + 730 * DAY);
    world.clock.setWall(DAY_0 + DAY);
    await world.release("1.1.0");
    const found = await device.refresh();
    assert.deepEqual([found.start, found.clockSetBack], [DAY_0 + DAY, false]);
    assert.deepEqual(found.forgotten, {
      role: "timestamp",
      version: found.timestamp,
      expires: DAY_0 + 2 * DAY,
      time: DAY_0 + 730 * DAY,
    });
    assert.equal(await known(), DAY_0 + DAY);
    assert.equal((await device.refresh()).forgotten, null);
  });

  it("leaves no timestamp that is good for two years: it is signed again at the next renewal (freeze attack)", async () => {
    const { world, device } = await madeWhile(730 * DAY);
    world.clock.setWall(DAY_0 + DAY);
    assert.equal((await world.publisher().renewOnline(world.clock.now())).kind, "published");
    const { expiries } = await device.refresh();
    assert.deepEqual([expiries.timestamp, expiries.snapshot], [DAY_0 + 2 * DAY, DAY_0 + 8 * DAY]);
    assert.equal((await world.publisher().renewOnline(world.clock.now())).kind, "unchanged");
  });

  it("is day 3 for a device that slept through day 1, whose own clock was right all the time", async () => {
    const { world, store } = await madeWhile(730 * DAY);
    world.clock.setWall(DAY_0 + 3 * DAY);
    await world.publisher().renewOnline(world.clock.now());
    const other = copyStore(store);
    await other.forgetKnownTime();
    assert.equal((await world.device(other).refresh()).clockSetBack, false);
    assert.equal((await world.device(store).refresh()).start, DAY_0 + 3 * DAY);
  });

  it("is forgotten also where numbers began again under a new online key", async () => {
    const { world, repo, client, store } = await simulated();
    world.setWall(DAY_0 + 200 * DAY);
    Object.assign(repo.timestamp, { version: 900, expires: DAY_0 + 201 * DAY });
    Object.assign(repo.snapshot, { version: 900, expires: DAY_0 + 207 * DAY });
    await repo.publish();
    await client().refresh();
    world.setWall(DAY_0 + DAY);
    for (const role of ["timestamp", "snapshot"] as const) repo.rotate(role);
    Object.assign(repo.timestamp, { version: 1, expires: DAY_0 + 2 * DAY });
    Object.assign(repo.snapshot, { version: 1, expires: DAY_0 + 8 * DAY });
    await repo.publish();
    assert.equal((await client().refresh()).forgotten?.version, repo.timestamp.version);
    assert.equal((await store.loadKnownTime())!.time, DAY_0 + DAY);
  });
});

async function simulated() {
  const repo = await RepositorySimulator.create({ now: DAY_0 });
  const world = new ScriptedClock(DAY_0);
  const store = memoryStore();
  const client = () =>
    openRepository({
      mirrors: [repo.mirror],
      store,
      clock: world,
      random: { bytes: (length) => new Uint8Array(length) },
      retry: NO_RETRY,
      trustedRoot: repo.rootBytes(1),
    });
  return { repo, world, store, client };
}

describe("a clock that is set back", () => {
  it("brings no expired timestamp to life that the device trusted before (freeze attack)", async () => {
    const { world, client, store } = await simulated();
    world.setWall(DAY_0 + 23 * HOUR);
    await client().refresh();
    world.setWall(DAY_0 + 2 * DAY);
    await assert.rejects(client().refresh(), { code: "repository/expired" });
    world.setWall(DAY_0);
    const { start, clockSetBack, forgotten } = await client().refresh();
    assert.deepEqual([start, clockSetBack, forgotten], [DAY_0 + 23 * HOUR, true, null]);
    assert.equal((await store.loadKnownTime())!.time, DAY_0 + 23 * HOUR);
  });

  it("brings no timestamp to life that is older than the remembered time, after the file was lost (rollback and freeze attack)", async () => {
    const { repo, world, client, store } = await simulated();
    await client().refresh();
    const old = repo.frozenCopy();
    world.setWall(DAY_0 + 30 * HOUR);
    repo.timestamp.expires = DAY_0 + 54 * HOUR;
    await repo.publish();
    await client().refresh();
    await store.remove("timestamp");
    world.setWall(DAY_0 + HOUR);
    for (const [name, bytes] of old.files) repo.source.files.set(name, bytes);
    await assert.rejects(client().refresh(), { code: "repository/expired" });
    assert.equal((await store.loadKnownTime())!.time, DAY_0 + 30 * HOUR);
  });

  it("to a time before the newer timestamp can have been signed is not what is trusted (freeze attack)", async () => {
    const { repo, world, client } = await simulated();
    world.setWall(DAY_0 + 20 * HOUR);
    await client().refresh();
    repo.timestamp.expires = DAY_0 + 10 * HOUR;
    await repo.publish();
    world.setWall(DAY_0 - 16 * HOUR);
    await assert.rejects(client().refresh(), { code: "repository/expired" });
    // An hour before is what clocks may differ by.
    world.setWall(DAY_0 - 15 * HOUR);
    assert.equal((await client().refresh()).forgotten?.role, "timestamp");
  });

  it("is not excused by a mirror's stale timestamp while another mirror has one that fits the remembered time", async () => {
    const { repo, world, store } = await simulated();
    world.setWall(DAY_0 + 20 * HOUR);
    const over = (mirrors: readonly RepositorySimulator["mirror"][]) =>
      openRepository({
        mirrors,
        store,
        clock: world,
        random: { bytes: (length) => new Uint8Array(length) },
        retry: NO_RETRY,
        trustedRoot: repo.rootBytes(1),
      });
    await over([repo.mirror]).refresh();
    repo.timestamp.expires = DAY_0 + 19 * HOUR;
    await repo.publish();
    const short = repo.frozenCopy("short");
    repo.timestamp.expires = DAY_0 + 44 * HOUR;
    await repo.publish();
    world.setWall(DAY_0 + 10 * HOUR);
    const found = await over([mirrorAt(short), repo.mirror]).refresh();
    assert.deepEqual([found.start, found.forgotten], [DAY_0 + 20 * HOUR, null]);
  });
});

describe("a remembered time", () => {
  it("of a snapshot that outlives its timestamp is dropped by the newer snapshot, when the newer timestamp alone would not show it", async () => {
    const { repo, world, client } = await simulated();
    // The timestamp lives for a month, the snapshot for a week.
    repo.root.roles.timestamp = { ...repo.root.roles.timestamp, extra: { "x-upkeep-expiry-days": 30 } };
    repo.root.version += 1;
    world.setWall(DAY_0 + 20 * DAY);
    repo.timestamp.expires = DAY_0 + 50 * DAY;
    repo.snapshot.expires = DAY_0 + 27 * DAY;
    repo.snapshot.version += 1;
    await repo.publish();
    await client().refresh();
    world.setWall(DAY_0 + DAY);
    repo.timestamp.expires = DAY_0 + 31 * DAY;
    repo.snapshot.expires = DAY_0 + 8 * DAY;
    repo.snapshot.version += 1;
    await repo.publish();
    assert.equal((await client().refresh()).forgotten?.role, "snapshot");
  });

  it("is dropped when somebody who knows better says so, and learned again", async () => {
    const { world, client, store } = await simulated();
    world.setWall(DAY_0 + 20 * HOUR);
    await client().refresh();
    world.setWall(DAY_0);
    await store.forgetKnownTime();
    assert.equal((await client().refresh()).clockSetBack, false);
    assert.equal((await store.loadKnownTime())!.time, DAY_0);
  });

  it("that an earlier version of the program kept as a bare number is read, and bounded by what is signed today", async () => {
    assert.equal(knownTimeOf(5)?.time, 5);
    const { client, store } = await simulated();
    await client().refresh();
    store.files.set("state/known-time", Buffer.from(String(DAY_0 + 730 * DAY)));
    assert.equal((await client().refresh()).forgotten?.time, DAY_0 + 730 * DAY);
    assert.equal((await store.loadKnownTime())!.time, DAY_0);
  });

  it("that is torn or of no known form counts as none", () => {
    const versions = { root: 1, timestamp: 1, snapshot: 1 };
    assert.notEqual(knownTimeOf({ time: 1, versions }), null);
    for (const value of [
      null,
      "1",
      0,
      -1,
      [],
      {},
      { time: 1 },
      { time: 0, versions },
      { time: 1.5, versions },
      { time: "1", versions },
      { time: 1, versions: [] },
      { time: 1, versions: { ...versions, root: -1 } },
      { time: 1, versions: { ...versions, timestamp: 0.5 } },
      { time: 1, versions: { ...versions, snapshot: "1" } },
    ])
      assert.equal(knownTimeOf(value), null, JSON.stringify(value));
  });

  it("is never contradicted by a role that has no number of its own in it", async () => {
    const { root } = await RepositorySimulator.create({ now: DAY_0 });
    const known = { time: DAY_0 + 10 * DAY, versions: { root: 1, timestamp: 1, snapshot: 1 } };
    const time = new RefreshTime(DAY_0, known, root);
    const ends = { version: 9, expires: DAY_0 + DAY };
    assert.equal(time.judge("targets", ends), known.time);
    assert.equal(time.judge("product.shop", ends), known.time);
    assert.equal(time.consider("timestamp", ends), DAY_0);
    assert.equal(time.contradiction, null);
    assert.equal(time.judge("timestamp", ends), DAY_0);
    assert.equal(time.start, DAY_0);
  });
});
