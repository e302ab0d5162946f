// A device as a witness of the server's audit log: it keeps the highest head, brings it back, and never stops an update over it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { AgentWorld, FOLDER } from "../testing/agent-world.ts";

const head = (sequence: number) => ({
  sequence,
  hash: String(sequence).repeat(64).slice(0, 64),
  signature: "AAAA",
});

describe("a head of the audit log", () => {
  it("is brought back with each check-in, also after a restart; a lower one does not replace it", async () => {
    const world = new AgentWorld();
    const agent = await world.open();
    await agent.start();
    for (const given of [head(5), head(4), null]) {
      world.fleet.auditHead = given;
      await agent.check("schedule");
    }
    await (await world.open()).check("start");
    const brought = world.fleet.checkIns.map(({ auditHead }) => auditHead?.sequence ?? null);
    assert.deepEqual(brought, [null, 5, 5, 5]);
  });

  it("that is lost with its file is forgotten, and the update goes on", async () => {
    const world = new AgentWorld();
    const agent = await world.open();
    await agent.start();
    world.fleet.auditHead = head(5);
    await agent.check("start");
    world.fleet.auditHead = null;
    const file = await world.disk.open(`${FOLDER}/audit-head.json`, "write", 0o600);
    await file.truncate(0);
    await file.close();
    assert.equal((await agent.check("schedule")).failure, null);
    assert.equal(world.fleet.checkIns.at(-1)?.auditHead, undefined);
  });
});
