// The mark of the last check-in: brought back, kept over restarts, and never in the way of an update.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AgentWorld, FOLDER } from "../testing/agent-world.ts";

describe("the mark of a check-in", () => {
  it("is brought back with the next one, also after a restart", async () => {
    const world = new AgentWorld();
    const agent = await world.open();
    await agent.start();
    await agent.check("start");
    await agent.check("schedule");
    await (await world.open()).check("start");
    const marks = world.fleet.checkIns.map(({ mark }) => mark);
    assert.equal(marks[0], null);
    assert.match(marks[1] ?? "", /^[A-Za-z0-9_-]{22}$/);
    assert.equal(new Set(marks).size, 3);
  });

  it("stays the one before when the disk does not take it, or holds something else", async () => {
    const world = new AgentWorld();
    const agent = await world.open();
    await agent.start();
    await agent.check("start");
    const file = await world.disk.open(`${FOLDER}/check-in.json`, "write", 0o600);
    await file.truncate(0);
    await file.close();
    assert.equal((await agent.check("schedule")).failure, null);
    assert.equal(world.fleet.checkIns.at(-1)?.mark, null);
  });

  it("is not needed: a server from before marks is asked as ever", async () => {
    const world = new AgentWorld();
    world.fleet.givesMarks = false;
    const agent = await world.open();
    await agent.start();
    assert.equal((await agent.check("start")).failure, null);
    assert.equal((await agent.check("schedule")).failure, null);
    assert.equal(world.fleet.checkIns.at(-1)?.mark, null);
  });
});
