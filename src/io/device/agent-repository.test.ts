// What an agent is told about a refresh that succeeded and was not perfect.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, HOUR } from "../../core/instant.ts";
import { NO_RETRY } from "../../mirror/fetch.ts";
import { mirrorAt, openRepository } from "../../repository/client/client.ts";
import { memoryStore } from "../../repository/client/store.ts";
import { FOLDER, OperatorWorld } from "../../testing/operator-world.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { agentRepository } from "./agent-repository.ts";
import { diskSource } from "../source/disk.ts";

/** A device with a mirror in front of the operator's folder; `notices` refreshes and tells. */
async function device(mirror = "/empty") {
  const world = new OperatorWorld();
  await world.create();
  await world.release("1.0.0");
  const store = memoryStore();
  const { clock, random, disk } = world;
  const client = openRepository({
    mirrors: [mirror, FOLDER].map((folder) => mirrorAt(diskSource(disk, folder))),
    store,
    clock,
    random,
    trustedRoot: await disk.read(`${FOLDER}/metadata/1.root.json`, 1 << 20),
    retry: NO_RETRY,
  });
  const repository = agentRepository(client, store, new MemoryDisk());
  const notices = async () => {
    const { notices: found } = await repository.refresh(clock.now(), new AbortController().signal);
    return found.map(({ code, about, alarm }) => [code, about, alarm]);
  };
  return { world, notices };
}

const FAILED = ["repository/mirror-failed", "/empty/metadata", true];

describe("the agent's repository", () => {
  it("has nothing to say about a good refresh", async () => {
    assert.deepEqual(await (await device(FOLDER)).notices(), []);
  });

  it("names a mirror that has nothing, and refreshes from the other", async () => {
    assert.deepEqual(await (await device()).notices(), [FAILED]);
  });

  it("names a mirror that lags behind, without an alarm", async () => {
    const { world, notices } = await device("/usb");
    const { disk } = world;
    await disk.makeDirectory("/usb", 0o755);
    await disk.makeDirectory("/usb/metadata", 0o755);
    for (const name of await disk.list(`${FOLDER}/metadata`)) {
      const file = await disk.open(`/usb/metadata/${name}`, "create");
      await file.write(0, await disk.read(`${FOLDER}/metadata/${name}`, 1 << 20));
      await file.close();
    }
    await world.release("1.1.0");
    assert.deepEqual(await notices(), [["repository/mirror-stale", "/usb/metadata", false]]);
    // The device knows the newer timestamp now; the mirror is no worse for that.
    assert.deepEqual(await notices(), [["repository/mirror-stale", "/usb/metadata", false]]);
  });

  it("tells of a clock that was set back", async () => {
    const { world, notices } = await device(FOLDER);
    world.clock.setWall(world.clock.now() + 2 * HOUR);
    await notices();
    world.clock.setWall(world.clock.now() - 30 * DAY);
    assert.deepEqual(await notices(), [["repository/clock-set-back", "clock", true]]);
  });

  it("warns before a role expires, so that somebody can renew it in time", async () => {
    const { world, notices } = await device(FOLDER);
    world.clock.setWall(world.clock.now() + 20 * HOUR);
    assert.deepEqual(await notices(), [["repository/expires-soon", "timestamp", true]]);
    world.clock.setWall(world.clock.now() + 370 * DAY);
    await world.publisher().renewOnline(world.clock.now());
    assert.deepEqual(await notices(), []);
    world.clock.setWall(world.clock.now() + 14 * DAY);
    await world.publisher().renewOnline(world.clock.now());
    assert.deepEqual(await notices(), [
      ["repository/expires-soon", "root", true],
      ["repository/expires-soon", "targets", true],
    ]);
  });
});
