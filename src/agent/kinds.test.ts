// Commands, data and add-ons on a device: reachable, told of, taken back, whatever happens in between.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { exists, makeDirectories, removeTree, writeAtomic } from "../core/disk.ts";
import { needsOfKind, type ComponentKind } from "../release/component-kind.ts";
import { AgentWorld, EagerClock, FOLDER } from "../testing/agent-world.ts";
import type { Agent } from "./agent.ts";
import type { CheckResult } from "./check-result.ts";

const COMPONENTS = `${FOLDER}/components`;
const COMMAND: ComponentKind = { kind: "command", programs: [{ name: "shopctl", path: "bin/service" }] };
const SIGNAL: ComponentKind = {
  kind: "data",
  reload: { kind: "signal", product: "shop", signal: "SIGHUP", settleSeconds: 3 },
};
const RUN: ComponentKind = {
  kind: "data",
  reload: { kind: "command", command: ["bin/service", "again"], timeoutSeconds: 5 },
};

async function offer(
  world: AgentWorld,
  product: string,
  version: string,
  component: ComponentKind | null,
  behaviour = "data",
  changes: object = {},
): Promise<void> {
  const kind = component === null ? {} : { component, ...needsOfKind(component) };
  await world.fleet.publish(product, version, behaviour, { ...kind, ...changes });
  await world.fleet.promote(product, version);
}

async function device(
  settings: object = {},
): Promise<{ world: AgentWorld; agent: Agent; clock: EagerClock }> {
  const clock = new EagerClock();
  const world = new AgentWorld(clock);
  world.settings = { ...world.settings, commandFolder: "/usr/local/bin", ...settings };
  await makeDirectories(world.disk, "/usr/local/bin");
  const agent = await world.open();
  await agent.start();
  return { world, agent, clock };
}

const resultOf = (result: CheckResult, product: string) => {
  assert.equal(result.failure, null, result.failure?.message);
  const found = result.components.find((one) => one.product === product);
  assert.ok(found, product);
  return found;
};
const check = async (agent: Agent, product: string) => resultOf(await agent.check("operator"), product);

/** What a user who calls the command gets. */
async function call(world: AgentWorld): Promise<string> {
  const { disk } = world;
  const target = await disk.readLink("/usr/local/bin/shopctl");
  const current = await disk.readLink("/usr/local/lib/upkeep/tool/current");
  return fromUtf8(await disk.read(target.replace("/current/", `/${current}/`), 1000)).trim();
}

describe("a command-line program", () => {
  it("can be called after its installation, follows updates, and nothing of it is started", async () => {
    const { world, agent } = await device();
    await offer(world, "tool", "1.0.0", COMMAND);
    const first = await check(agent, "tool");
    assert.deepEqual([first.result, first.running], ["updated", "1.0.0"]);
    assert.match(first.reason, /users of this machine call shopctl in \/usr\/local\/bin/);
    assert.equal(await call(world), "data tool 1.0.0");
    await offer(world, "tool", "1.1.0", COMMAND);
    await check(agent, "tool");
    assert.equal(await call(world), "data tool 1.1.0");
    await agent.rollBack("tool");
    assert.equal(await call(world), "data tool 1.0.0");
    assert.deepEqual(world.processes.started, []);
  });

  it("is installed and says why it can be called nowhere, when the owner has set no folder", async () => {
    const { world, agent } = await device({ commandFolder: undefined });
    await offer(world, "tool", "1.0.0", COMMAND);
    assert.match((await check(agent, "tool")).reason, /no commandFolder/);
    assert.equal(await exists(world.disk, "/usr/local/lib"), false);
  });

  it("waits when something else has its name, leaves that alone, and goes on when it is gone", async () => {
    const { world, agent } = await device();
    const path = "/usr/local/bin/shopctl";
    await writeAtomic(world.disk, path, toUtf8("admin's"));
    await offer(world, "tool", "1.0.0", COMMAND);
    const result = await check(agent, "tool");
    assert.deepEqual([result.result, result.code], ["waiting", "slot/command-taken"]);
    assert.equal(fromUtf8(await world.disk.read(path, 100)), "admin's");
    assert.equal(await exists(world.disk, `${COMPONENTS}/tool/current`), false, "nothing was switched");
    const alarm = world.fleet.reports.find((report) => report.kind === "alarm");
    assert.equal(alarm?.kind === "alarm" && alarm.code, "slot/command-taken", "its owner hears of it");
    await world.disk.removeFile(path);
    assert.equal((await check(agent, "tool")).result, "updated");
    assert.equal(await call(world), "data tool 1.0.0");
  });

  it("whose probe fails goes back, and so does what users call", async () => {
    const { world, agent } = await device();
    const probe = {
      health: {
        kind: "command",
        command: ["bin/service", "--version"],
        startSeconds: 0,
        intervalSeconds: 1,
        timeoutSeconds: 1,
        successes: 1,
        failures: 1,
        probationSeconds: 0,
      },
    };
    await offer(world, "tool", "1.0.0", COMMAND);
    await check(agent, "tool");
    const kind = { component: COMMAND, ...needsOfKind(COMMAND) };
    const published = await world.fleet.publish("tool", "1.1.0", "data sick", kind);
    await world.fleet.replace({ ...published, ...probe } as typeof published);
    await world.fleet.promote("tool", "1.1.0");
    const result = await check(agent, "tool");
    assert.deepEqual([result.result, result.running], ["rolled-back", "1.0.0"]);
    assert.equal(await call(world), "data tool 1.0.0");
  });

  it("comes back at the next check when somebody removed it", async () => {
    const { world, agent } = await device();
    await offer(world, "tool", "1.0.0", COMMAND);
    await check(agent, "tool");
    await world.disk.removeFile("/usr/local/bin/shopctl");
    await removeTree(world.disk, "/usr/local/lib/upkeep/tool");
    await check(agent, "tool");
    assert.equal(await call(world), "data tool 1.0.0");
  });

  it("moves when the owner sets another folder", async () => {
    const { world, agent } = await device();
    await offer(world, "tool", "1.0.0", COMMAND);
    await check(agent, "tool");
    await agent.stop();
    world.settings = { ...world.settings, commandFolder: "/opt/bin" };
    await (await world.open()).start();
    assert.deepEqual(await world.disk.list("/usr/local/bin"), []);
    assert.deepEqual(await world.disk.list("/opt/bin"), ["shopctl"]);
  });
});

describe("data with a running reader", () => {
  async function withReader(
    behaviour = "well reloads",
    kind: ComponentKind = SIGNAL,
  ): Promise<Awaited<ReturnType<typeof device>>> {
    const made = await device();
    await offer(made.world, "shop", "1.0.0", null, behaviour);
    await offer(made.world, "maps", "1.0.0", kind);
    const result = await made.agent.check("operator");
    assert.equal(resultOf(result, "shop").result, "updated");
    assert.equal(
      resultOf(result, "maps").result,
      kind === SIGNAL && !behaviour.includes("reloads") ? "failed" : "updated",
    );
    return made;
  }

  it("is told to the reader by a signal, and the reader is not restarted", async () => {
    const { world, agent } = await withReader();
    const started = world.processes.started.length;
    await offer(world, "maps", "1.1.0", SIGNAL);
    assert.equal((await check(agent, "maps")).result, "updated");
    assert.equal(world.processes.started.length, started);
    assert.equal(world.processes.reminded.length, 2, "at the installation and at the update");
    assert.match(world.processes.reminded[1]!, /^SIGHUP .*\/shop\/slots\/1\.0\.0-/);
  });

  it("goes back when the reader does not stay well, and the reader is told once more", async () => {
    const { world, agent } = await withReader();
    await offer(world, "maps", "1.1.0", SIGNAL);
    world.processes.whenReminded = () => {
      world.processes.mood = "sick";
      // The old data cures it.
      world.processes.whenReminded = () => (world.processes.mood = null);
    };
    const result = await check(agent, "maps");
    assert.deepEqual(
      [result.result, result.code, result.running],
      ["rolled-back", "process/reload-failed", "1.0.0"],
    );
    assert.match(result.reason, /shop received the signal for the new data and is not well/);
    assert.equal(world.processes.reminded.length, 3);
    assert.equal((await check(agent, "maps")).result, "held", "it is not tried again");
  });

  it("goes back when the reader ends by it", async () => {
    const { world, agent } = await withReader();
    await offer(world, "maps", "1.1.0", SIGNAL);
    world.processes.whenReminded = (program) => world.processes.kill(program);
    const result = await check(agent, "maps");
    assert.deepEqual([result.result, result.code], ["rolled-back", "process/reload-failed"]);
    assert.match(await world.disk.readLink(`${COMPONENTS}/maps/current`), /1\.0\.0/);
  });

  it("never sends a signal that would end the reader", async () => {
    const { world } = await withReader("well");
    assert.deepEqual(world.processes.reminded, []);
    assert.deepEqual(world.running, ["1.0.0"]);
    const attempt = world.fleet.reports.find((one) => one.kind === "attempt" && one.product === "maps");
    assert.equal(attempt?.kind === "attempt" && attempt.code, "process/reload-failed");
  });

  it("is no worse off for a reader that was sick before, or does not run", async () => {
    const { world, agent } = await withReader();
    world.processes.mood = "sick";
    await offer(world, "maps", "1.1.0", SIGNAL);
    assert.equal((await check(agent, "maps")).result, "updated");
    for (const program of world.processes.running) world.processes.kill(program);
    await offer(world, "maps", "1.2.0", SIGNAL);
    assert.equal((await check(agent, "maps")).result, "updated");
  });

  it("is told by a command of its own, which takes it back when it fails", async () => {
    const { world, agent } = await withReader("well", RUN);
    await offer(world, "maps", "1.1.0", RUN);
    assert.equal((await check(agent, "maps")).result, "updated");
    await offer(world, "maps", "1.2.0", RUN, "data sick");
    const result = await check(agent, "maps");
    assert.deepEqual(
      [result.result, result.code, result.running],
      ["rolled-back", "process/reload-failed", "1.1.0"],
    );
    const ran = world.processes.texts
      .filter((text) => text.includes("maps"))
      .map((text) => text.trim().slice(-5));
    assert.deepEqual(ran, ["1.0.0", "1.1.0", "1.2.0", "1.1.0"], "the last one tells of the way back");
  });

  it("is told again by the next agent when this one was killed between switch and reload", async () => {
    const { world, agent } = await withReader();
    await offer(world, "maps", "1.1.0", SIGNAL);
    world.atPoint = async (name) => {
      if (name === "after activating:switch-forward") world.disk.cutPower();
    };
    await agent.check("operator").catch(() => undefined);
    world.atPoint = async () => {};
    assert.equal(world.processes.reminded.length, 1);
    world.restart(world.disk.clone(), "killed");
    const next = await world.open();
    await next.start();
    assert.equal(world.processes.reminded.length, 2);
    assert.equal(
      next.components.find(({ product }) => product === "maps")?.state.committed?.version,
      "1.1.0",
    );
  });
});

describe("an add-on", () => {
  const ADDON: ComponentKind = { kind: "data", extends: "maps" };
  const needs = { dependencies: [{ product: "maps", range: ">=1.0.0" }] };
  const LINK = `${COMPONENTS}/maps/addons/alps`;

  it("appears in the data that it augments, with a version and a way back of its own", async () => {
    const { world, agent } = await device();
    await offer(world, "maps", "1.0.0", null);
    await offer(world, "alps", "5.0.0", ADDON, "data", needs);
    await agent.check("operator");
    assert.equal(await world.disk.readLink(LINK), "../../alps/current");
    await offer(world, "alps", "5.1.0", ADDON, "data", needs);
    await agent.check("operator");
    await offer(world, "maps", "1.1.0", null);
    await agent.check("operator");
    await agent.rollBack("alps");
    assert.equal(await world.disk.readLink(LINK), "../../alps/current");
    assert.match(await world.disk.readLink(`${COMPONENTS}/alps/current`), /5\.0\.0/);
    assert.match(await world.disk.readLink(`${COMPONENTS}/maps/current`), /1\.1\.0/);
  });

  it("is not installed before what it augments", async () => {
    const { world, agent } = await device();
    await offer(world, "alps", "5.0.0", ADDON, "data", needs);
    assert.equal((await check(agent, "alps")).result, "refused");
    assert.equal(await exists(world.disk, LINK), false);
  });

  it("whose first installation fails leaves no link", async () => {
    const { world, agent } = await device();
    await offer(world, "maps", "1.0.0", null);
    const kind: ComponentKind = { ...RUN, extends: "maps" } as ComponentKind;
    await offer(world, "alps", "5.0.0", kind, "data sick", needs);
    await agent.check("operator");
    assert.equal(await exists(world.disk, LINK), false);
    assert.equal(await exists(world.disk, `${COMPONENTS}/alps/current`), false);
  });

  it("leaves the folder when a version augments nothing any more", async () => {
    const { world, agent } = await device();
    await offer(world, "maps", "1.0.0", null);
    await offer(world, "alps", "5.0.0", ADDON, "data", needs);
    await agent.check("operator");
    await offer(world, "alps", "5.1.0", null);
    await agent.check("operator");
    assert.equal(await exists(world.disk, LINK), false);
  });
});
