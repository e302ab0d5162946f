// How a service changes hands on a scripted device: who runs beside whom, who ends when, and what a kill in between leaves.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ReleaseManifest } from "../release/manifest.ts";
import { AgentWorld, FOLDER } from "../testing/agent-world.ts";
import type { Agent } from "./agent.ts";

const SHOP = `${FOLDER}/components/shop`;
const SERVING = {
  needs: { features: ["sockets"], version: "0.1.0" },
  sockets: [{ name: "http", address: "tcp:8080" }],
  handOver: { drainSeconds: 30, ready: "probe" },
} satisfies Partial<ReleaseManifest>;
const NOTIFYING = { ...SERVING, handOver: { drainSeconds: 30, ready: "notify" } } as const;

async function offer(
  world: AgentWorld,
  version: string,
  behaviour = "well",
  changes: Partial<ReleaseManifest> = SERVING,
): Promise<void> {
  await world.fleet.publish("shop", version, behaviour, changes);
  await world.fleet.promote("shop", version);
}

async function installed(changes: Partial<ReleaseManifest> = SERVING, behaviour = "well") {
  const world = new AgentWorld();
  await offer(world, "1.0.0", behaviour, changes);
  const agent = await world.open();
  await agent.start();
  await agent.check("start");
  assert.deepEqual(world.running, ["1.0.0"]);
  return { world, agent };
}

const resultOf = async (agent: Agent) => (await agent.check("operator")).components[0]!;
const starts = (world: AgentWorld, version: string): number =>
  world.processes.started.filter((program) => program.includes(`/${version}-`)).length;
/** Background work: a program that leaves, a socket that is closed. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
const exists = async (world: AgentWorld, path: string): Promise<boolean> =>
  world.disk.stat(path).then(
    () => true,
    () => false,
  );

describe("a hand-over", () => {
  it("starts the new version beside the one before, which ends once the new one serves", async () => {
    const { world, agent } = await installed();
    const seen: (readonly string[])[] = [];
    world.atPoint = async (name) => {
      if (name === "hand-over:ready") seen.push([...world.running]);
    };
    await offer(world, "1.1.0");
    assert.equal((await resultOf(agent)).result, "updated");
    await settle();
    assert.deepEqual(seen, [["1.0.0", "1.1.0"]]);
    assert.deepEqual(world.running, ["1.1.0"]);
    assert.equal(await exists(world, `${SHOP}/process.beside.json`), false);
    assert.equal(world.processes.held.size, 1);
  });

  it("copies no data, which both versions write", async () => {
    const { world, agent } = await installed(SERVING, "well migrate");
    await offer(world, "1.1.0");
    await resultOf(agent);
    const { events } = agent.components[0]!.journal;
    assert.equal(
      events.some(({ event }) => event === "snapshot"),
      false,
    );
  });

  for (const [what, behaviour, changes] of [
    ["ends at once", "crash", SERVING],
    ["is found sick", "sick", SERVING],
    ["never says that it serves", "well", NOTIFYING],
  ] as const)
    it(`takes a version away that ${what}, and the one before goes on in the same process`, async () => {
      const { world, agent } = await installed();
      await offer(world, "1.1.0", behaviour, changes);
      assert.equal((await resultOf(agent)).result, "rolled-back");
      await settle();
      assert.deepEqual(world.running, ["1.0.0"]);
      assert.equal(starts(world, "1.0.0"), 1);
      assert.equal(await exists(world, `${SHOP}/process.beside.json`), false);
    });

  it("takes the word of a program that says that it serves", async () => {
    const { world, agent } = await installed(NOTIFYING, "well ready");
    await offer(world, "1.1.0", "well ready", NOTIFYING);
    assert.equal((await resultOf(agent)).result, "updated");
    await settle();
    assert.deepEqual(world.running, ["1.1.0"]);
  });

  it("is handed back the same way when the new version fails on its probation", async () => {
    const { world, agent } = await installed();
    const beside: (readonly string[])[] = [];
    world.atPoint = async (name) => {
      if (name === "hand-over:let-go") world.processes.mood = "sick";
      if (name === "before rolling-back:start-and-watch-old") {
        world.processes.mood = null;
        beside.push([...world.running]);
      }
    };
    await offer(world, "1.1.0");
    assert.equal((await resultOf(agent)).result, "rolled-back");
    await settle();
    assert.deepEqual(beside, [["1.1.0"]], "the new version serves until the one before does again");
    assert.deepEqual(world.running, ["1.0.0"]);
  });

  it("does not happen when the version before does not allow another beside it: that one ends first, and its data is copied", async () => {
    const { handOver: _, ...alone } = SERVING;
    const { world, agent } = await installed(alone, "well migrate");
    const seen: (readonly string[])[] = [];
    world.atPoint = async (name) => {
      if (name === "after activating:stop") seen.push([...world.running]);
    };
    await offer(world, "1.1.0");
    assert.equal((await resultOf(agent)).result, "updated");
    assert.deepEqual(seen, [[]]);
    const { events } = agent.components[0]!.journal;
    assert.ok(events.some(({ event }) => event === "snapshot"));
  });

  it("lets the version before go on when the place of both cannot be remembered", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    const { company } = agent.components[0]!;
    company.join = () => Promise.reject(new (class extends Error {})("no room"));
    await resultOf(agent).catch(() => undefined);
    assert.ok(world.running.includes("1.0.0"));
    assert.equal(starts(world, "1.1.0"), 0);
  });
});

describe("an agent that is killed in a hand-over", () => {
  for (const point of [
    "after activating:note-activating",
    "after activating:switch-forward",
    "before probation:start-and-watch-new",
    "hand-over:ready",
    "hand-over:let-go",
    "after probation:start-and-watch-new",
    "after committed:note-end",
  ])
    it(`${point}: the next one finds both processes and settles on the new version`, async () => {
      const { world, agent } = await installed();
      await offer(world, "1.1.0");
      await killedAt(world, agent, point);
      assert.ok(world.running.length > 0, "the service runs without its agent");
      const next = await world.open();
      await next.start();
      await resultOf(next);
      await settle();
      assert.deepEqual(world.running, ["1.1.0"]);
      // A start that the journal counted may be repeated; nothing else is.
      assert.ok(starts(world, "1.0.0") === 1 && starts(world, "1.1.0") === 1);
      const [reported, ...others] = world.fleet.reports.filter(
        (one) => one.kind === "attempt" && one.to === "1.1.0",
      );
      assert.ok(reported !== undefined && others.length === 0);
    });

  for (const point of [
    "before rolling-back:stop",
    "after rolling-back:stop",
    "after rolling-back:switch-back",
    "after rolling-back:start-and-watch-old",
  ])
    it(`${point}: the next one settles on the version before, which never ended`, async () => {
      const { world, agent } = await installed();
      await offer(world, "1.1.0", "sick");
      await killedAt(world, agent, point);
      const next = await world.open();
      await next.start();
      await settle();
      assert.deepEqual(world.running, ["1.0.0"]);
      assert.equal(starts(world, "1.0.0"), 1);
    });

  it("gets the sockets from the program that runs", async () => {
    const { world } = await installed();
    world.processes.held.clear();
    world.restart(world.disk, "killed");
    const next = await world.open();
    await next.start();
    assert.deepEqual(
      [...world.processes.held.values()].map((program) => program?.includes("/1.0.0-")),
      [true],
    );
  });
});

/** The agent goes no further than to the point; what runs goes on. */
async function killedAt(world: AgentWorld, agent: Agent, point: string): Promise<void> {
  const reached = new Promise<void>((resolve) => {
    world.atPoint = (name) => {
      if (name !== point) return Promise.resolve();
      resolve();
      return new Promise(() => {});
    };
  });
  void agent.check("operator");
  await reached;
  world.atPoint = async () => {};
  world.restart(world.disk, "killed");
}
