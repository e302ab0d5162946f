// The local log of a device that is killed and loses power: each attempt has one begin and one end, under the id of its report.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { verifyLog } from "../history/event-log.ts";
import type { LogRecord } from "../history/record.ts";
import { AgentWorld, FOLDER } from "../testing/agent-world.ts";
import { crashMatrix } from "../testing/crash-matrix.ts";
import type { MemoryDisk } from "../testing/memory-disk.ts";

const LOG = `${FOLDER}/log`;

async function offer(world: AgentWorld, version: string, behaviour = "well migrate"): Promise<void> {
  await world.fleet.publish("shop", version, behaviour);
  await world.fleet.promote("shop", version);
}

let worlds = 0;
async function worldOn(disk: MemoryDisk | null, version: string, behaviour?: string): Promise<AgentWorld> {
  const world = new AgentWorld();
  world.seed = 100 * ++worlds;
  if (disk !== null) world.restart(disk, "power-cut");
  await offer(world, "1.0.0");
  if (version !== "1.0.0") await offer(world, version, behaviour);
  return world;
}

async function run(world: AgentWorld): Promise<void> {
  const agent = await world.open();
  await agent.start();
  await agent.check("operator");
}

const said = ({ event, to, end, code, what }: LogRecord): string =>
  [event, to ?? what, end, code].filter((word) => typeof word === "string").join(" ");

describe("the log of a device", () => {
  it("tells what happened, with the ids of the reports and the reasons of the ends", async () => {
    const world = await worldOn(null, "1.0.0");
    const agent = await world.open();
    await agent.start();
    await agent.check("operator");
    await offer(world, "1.1.0", "sick");
    await agent.check("operator");
    await offer(world, "1.2.0");
    await agent.check("operator");
    await agent.rollBack("shop");
    await agent.uninstall("shop", false);
    const { records, open } = await verifyLog(world.disk, LOG);
    assert.deepEqual(records.map(said), [
      "begin 1.0.0",
      "end 1.0.0 committed",
      "begin 1.1.0",
      "going-back process/unhealthy",
      "end 1.1.0 rolled-back process/unhealthy",
      "begin 1.2.0",
      "end 1.2.0 committed",
      "asked rollback",
      "begin 1.0.0",
      "end 1.0.0 committed",
      "asked uninstall",
      "alarm agent/uninstalled",
    ]);
    assert.deepEqual(open, []);
    const reported = world.fleet.reports.flatMap((report) =>
      report.kind === "attempt" ? [report.attempt] : [],
    );
    const logged = records.flatMap(({ event, attempt }) => (event === "end" ? [attempt] : []));
    assert.deepEqual(logged, reported);
  });

  it("has an alarm once for as long as it lasts", async () => {
    const world = await worldOn(null, "1.0.0");
    world.fleet.serverDown = true;
    const agent = await world.open();
    await agent.start();
    for (let n = 0; n < 3; n++) await agent.check("operator");
    const { records } = await verifyLog(world.disk, LOG);
    assert.equal(records.filter(({ event }) => event === "alarm").length, 1);
  });

  for (const behaviour of ["well migrate", "sick migrate"])
    it(`is complete after a power cut at any point of an update that is ${behaviour.split(" ")[0]!}`, async () => {
      const before = await worldOn(null, "1.0.0");
      await run(before);
      const cases = await crashMatrix(
        before.disk.clone(),
        async (disk) => {
          await run(await worldOn(disk, "1.1.0", behaviour)).catch(() => undefined);
          await disk.stat("/");
        },
        async ({ disk }) => {
          const world = await worldOn(disk, "1.1.0", behaviour);
          await run(world);
          const { records, open } = await verifyLog(disk, LOG);
          assert.deepEqual(open, []);
          assert.equal(records.filter(({ event }) => event === "log-lost").length, 0);
          const begins = records.filter(({ event }) => event === "begin").map(({ attempt }) => attempt);
          const ends = records.filter(({ event }) => event === "end").map(({ attempt }) => attempt);
          assert.deepEqual(ends, begins, "one end for each begin");
          assert.equal(new Set(ends).size, ends.length);
        },
        { states: 1, stride: 11 },
      );
      assert.ok(cases > 15, `${cases} cases`);
    });
});
