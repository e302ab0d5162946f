// Uninstalled by the owner of the device: gone, its data kept, and not installed again by anybody else's wish, whatever happens in between.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { exists, makeDirectories, writeAtomic } from "../core/disk.ts";
import { needsOfKind, type ComponentKind } from "../release/component-kind.ts";
import type { ReleaseManifest } from "../release/manifest.ts";
import { AgentWorld, FOLDER } from "../testing/agent-world.ts";
import { crashMatrix } from "../testing/crash-matrix.ts";
import type { MemoryDisk } from "../testing/memory-disk.ts";
import type { Agent } from "./agent.ts";
import type { CheckResult } from "./check-result.ts";

const SHOP = `${FOLDER}/components/shop`;
const COMMAND: ComponentKind = { kind: "command", programs: [{ name: "shopctl", path: "bin/service" }] };

async function offer(
  world: AgentWorld,
  product: string,
  version: string,
  behaviour = "well migrate",
  changes: Partial<ReleaseManifest> = {},
): Promise<void> {
  await world.fleet.publish(product, version, behaviour, changes);
  await world.fleet.promote(product, version);
}

async function device(): Promise<{ world: AgentWorld; agent: Agent }> {
  const world = new AgentWorld();
  await offer(world, "shop", "1.0.0", "well migrate", { floor: "1.0.0" });
  const agent = await world.open();
  await agent.start();
  await agent.check("start");
  assert.deepEqual(world.running, ["1.0.0"]);
  return { world, agent };
}

const shopOf = (result: CheckResult) => {
  assert.equal(result.failure, null, result.failure?.message);
  return result.components.find(({ product }) => product === "shop")!;
};
const data = async (disk: MemoryDisk): Promise<string | null> =>
  (await exists(disk, `${SHOP}/data/db`)) ? fromUtf8(await disk.read(`${SHOP}/data/db`, 100)) : null;

describe("an uninstalled component", () => {
  it("is stopped and removed, and its data is kept", async () => {
    const { world, agent } = await device();
    const result = await agent.uninstall("shop", false);
    assert.match(result.reason, /^1\.0\.0 was uninstalled by the owner .* its data is kept\./);
    assert.deepEqual(world.running, []);
    assert.equal(await exists(world.disk, `${SHOP}/current`), false);
    assert.deepEqual(await world.disk.list(`${SHOP}/slots`), []);
    assert.equal(await data(world.disk), "1.0.0");
  });

  it("loses its data only when the owner says so, also later", async () => {
    const { world, agent } = await device();
    await agent.uninstall("shop", false);
    await agent.uninstall("shop", false);
    assert.equal(await data(world.disk), "1.0.0");
    assert.match((await agent.uninstall("shop", true)).reason, /its data was removed/);
    assert.equal(await data(world.disk), null);
  });

  it("is not installed again by the server's wish, nor after a restart; status and server know why", async () => {
    const { world, agent } = await device();
    await agent.uninstall("shop", false);
    await offer(world, "shop", "1.1.0");
    for (const trigger of ["schedule", "operator"] as const) {
      const result = shopOf(await agent.check(trigger));
      assert.deepEqual([result.result, result.code, result.running], ["held", "agent/uninstalled", null]);
    }
    await agent.stop();
    const next = await world.open();
    await next.start();
    assert.equal(shopOf(await next.check("start")).code, "agent/uninstalled");
    assert.deepEqual(world.running, []);
    const [status] = (await next.status()).components;
    assert.match(status!.why, /uninstalled by the owner .*upkeep agent install shop/);
    assert.equal(status!.code, "agent/uninstalled");
    const alarms = world.fleet.reports.filter(
      (one) => one.kind === "alarm" && one.code === "agent/uninstalled",
    );
    assert.equal(alarms.length, 1, "reported once");
    assert.equal(world.fleet.checkIns.at(-1)!.components[0]!.version, null);
  });

  it("comes back when the owner takes it back, with its data, its floor and its skip list", async () => {
    const { world, agent } = await device();
    await offer(world, "shop", "1.1.0", "sick");
    await agent.check("operator");
    await agent.uninstall("shop", false);
    const held = shopOf(await agent.takeBack("shop"));
    assert.deepEqual([held.result, held.code], ["held", "release/failed-here"]);
    await offer(world, "shop", "0.9.0");
    assert.equal(shopOf(await agent.check("operator")).result, "refused", "the floor holds (downgrade)");
    await offer(world, "shop", "1.2.0", "well");
    assert.equal(shopOf(await agent.check("operator")).result, "updated");
    assert.deepEqual(world.running, ["1.2.0"]);
    assert.equal(await data(world.disk), "1.0.0");
  });

  it("that comes back with a bad version has its data as it was left", async () => {
    const { world, agent } = await device();
    await agent.uninstall("shop", false);
    await offer(world, "shop", "1.1.0", "sick migrate");
    const result = shopOf(await agent.takeBack("shop"));
    assert.equal(result.result, "failed");
    assert.equal(await data(world.disk), "1.0.0");
  });

  it("may be one that is just being tried: the attempt ends, once", async () => {
    const { world, agent } = await device();
    await offer(world, "shop", "1.1.0");
    world.fleet.repositoryDown = true;
    await agent.check("operator");
    await agent.uninstall("shop", false);
    world.fleet.repositoryDown = false;
    await agent.check("operator");
    const ends = world.fleet.reports.flatMap((one) =>
      one.kind === "attempt" ? [`${one.to} ${one.outcome}`] : [],
    );
    assert.deepEqual(ends, ["1.0.0 success"], "nothing was begun");
  });

  it("is refused while another product needs it, and when nothing of that name is there", async () => {
    const { world, agent } = await device();
    await offer(world, "till", "1.0.0", "well", { dependencies: [{ product: "shop", range: ">=1.0.0" }] });
    await agent.check("operator");
    await assert.rejects(agent.uninstall("shop", false), { code: "agent/needed" });
    assert.equal(world.running.length, 2);
    await agent.uninstall("till", false);
    await agent.uninstall("shop", false);
    assert.deepEqual(world.running, []);
    await assert.rejects(agent.uninstall("none", false), { code: "agent/not-installed" });
    await assert.rejects(agent.takeBack("none"), { code: "agent/not-installed" });
  });

  it("is stopped without an agent that stays, and nothing else is started or stopped for it", async () => {
    const { world } = await device();
    await offer(world, "till", "1.0.0", "well");
    const before = await world.open();
    await before.start();
    await before.check("operator");
    // Killed: what runs goes on running.
    world.restart(world.disk.clone(), "killed");
    for (const program of world.processes.running.filter((one) => one.includes("/till/")))
      world.processes.kill(program);
    const started = world.processes.started.length;
    const agent = await world.open();
    await agent.openAll();
    await agent.uninstall("shop", false);
    await agent.leave();
    assert.deepEqual([world.running, world.processes.started.length], [[], started]);
  });

  it("loses its commands, and nobody else's", async () => {
    const world = new AgentWorld();
    world.settings = { ...world.settings, commandFolder: "/bin" };
    await makeDirectories(world.disk, "/bin");
    await writeAtomic(world.disk, "/bin/other", toUtf8("other"));
    await offer(world, "shop", "1.0.0", "data", { component: COMMAND, ...needsOfKind(COMMAND) });
    const agent = await world.open();
    await agent.start();
    await agent.check("start");
    assert.deepEqual(await world.disk.list("/bin"), ["other", "shopctl"]);
    await agent.uninstall("shop", false);
    assert.deepEqual(await world.disk.list("/bin"), ["other"]);
    assert.deepEqual(await world.disk.list("/lib/upkeep"), []);
  });

  it("is removed by its handler as well", async () => {
    const world = new AgentWorld();
    const kind: ComponentKind = { kind: "handler", handler: "deb", file: "bin/service" };
    world.settings = { ...world.settings, handlers: { deb: { program: "/opt/deb" } } };
    await makeDirectories(world.disk, "/opt");
    await writeAtomic(world.disk, "/opt/deb", toUtf8("handler"), 0o755);
    await offer(world, "shop", "1.0.0", "data", { component: kind, ...needsOfKind(kind) });
    const agent = await world.open();
    await agent.start();
    await agent.check("start");
    assert.equal(world.handlers.installed, "1.0.0");
    world.handlers.exit = ({ step }) => (step === "remove" ? 75 : 0);
    await assert.rejects(agent.uninstall("shop", false), { code: "process/handler-waits" });
    assert.match((await agent.status()).components[0]!.why, /not finished yet/);
    world.handlers.exit = () => 0;
    await agent.check("schedule");
    assert.equal(world.handlers.installed, null);
    assert.equal(await exists(world.disk, `${SHOP}/current`), false);
  });

  for (const purge of [false, true])
    it(`is whole or gone after a power cut at any point${purge ? ", with its data" : ""}, and gone after the next start`, async () => {
      const { world: made } = await device();
      const start = made.disk.clone();
      const worldOn = async (disk: MemoryDisk): Promise<AgentWorld> => {
        const world = new AgentWorld();
        world.restart(disk, "power-cut");
        await offer(world, "shop", "1.0.0", "well migrate");
        return world;
      };
      let decided = 0;
      await crashMatrix(
        start,
        async (disk) => {
          const agent = await (await worldOn(disk)).open();
          await agent.start();
          await agent.uninstall("shop", purge).catch(() => undefined);
          // What comes last may be given up silently: here the cut shows.
          await disk.stat("/");
        },
        async ({ disk }) => {
          const world = await worldOn(disk);
          const agent = await world.open();
          await agent.start();
          const [component] = agent.components;
          if (component!.uninstalled === null) {
            assert.deepEqual(world.running, ["1.0.0"]);
            assert.equal(await data(disk), "1.0.0");
            return;
          }
          decided++;
          assert.deepEqual(world.running, []);
          assert.equal(component!.uninstalled.done, true);
          assert.equal(await exists(disk, `${SHOP}/current`), false);
          assert.deepEqual(await disk.list(`${SHOP}/slots`), []);
          assert.equal(await data(disk), purge ? null : "1.0.0");
          assert.equal(component!.state.floor, "1.0.0");
        },
        { states: 2, stride: 5 },
      );
      assert.ok(decided > 10, `${decided} cases`);
    });
});
