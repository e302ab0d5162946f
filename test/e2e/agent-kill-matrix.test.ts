// The kill matrix: an agent cut off at every disk operation of an update, by kill and by power cut, is SAFE when it starts again.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../../src/core/bytes.ts";
import type { DiskErrorCode } from "../../src/core/disk.ts";
import { writeAtomic } from "../../src/core/disk.ts";
import type { AttemptReport } from "../../src/report/report.ts";
import { AgentWorld, FOLDER } from "../../src/testing/agent-world.ts";
import { isPowerCut } from "../../src/testing/crash-matrix.ts";
import type { MemoryDisk } from "../../src/testing/memory-disk.ts";
import type { Agent } from "../../src/agent/agent.ts";
import type { FleetOfOne } from "../../src/testing/fleet-of-one.ts";

const SHOP = `${FOLDER}/components/shop`;

/** What a scenario does, what may run after any cut, and what must have happened in the end. */
type Scenario = {
  readonly prepare: (world: AgentWorld) => Promise<void>;
  readonly action: (agent: Agent) => Promise<unknown>;
  /** Versions that may run once recovery is through and the server is still away; null: nothing. */
  readonly mayRun: readonly (string | null)[];
  /** What the owner does before the next check, whatever was remembered. */
  readonly settle?: (agent: Agent) => Promise<unknown>;
  /** After one more check. */
  readonly runs: string | null;
  readonly data: string;
  /** The one terminal report about `to`, and `from` if that tells it from others; null if the cut decides which ones there are. */
  readonly report: {
    readonly from?: string;
    readonly to: string;
    readonly outcome: AttemptReport["outcome"];
  } | null;
  /** Also cut while the agent starts, which is when damage is found. */
  readonly fromStart?: boolean;
};

const check = (agent: Agent): Promise<unknown> => agent.check("schedule");

async function offer(world: AgentWorld, version: string, behaviour: string): Promise<void> {
  await world.fleet.publish("shop", version, behaviour);
  await world.fleet.promote("shop", version);
}

async function install(world: AgentWorld): Promise<void> {
  await offer(world, "1.0.0", "well");
  const agent = await world.open();
  await agent.start();
  await agent.check("start");
  await writeAtomic(world.disk, `${SHOP}/data/db`, toUtf8("kept"));
}

const SCENARIOS: { readonly [name: string]: Scenario } = {
  "a first installation": {
    prepare: (world) => offer(world, "1.0.0", "well"),
    action: check,
    mayRun: [null, "1.0.0"],
    runs: "1.0.0",
    data: "",
    report: { to: "1.0.0", outcome: "success" },
  },
  "an update": {
    prepare: async (world) => {
      await install(world);
      await offer(world, "1.1.0", "well migrate");
    },
    action: check,
    mayRun: ["1.0.0", "1.1.0"],
    runs: "1.1.0",
    data: "1.1.0",
    report: { to: "1.1.0", outcome: "success" },
  },
  "an update that is taken back": {
    prepare: async (world) => {
      await install(world);
      await offer(world, "1.1.0", "sick migrate");
    },
    action: check,
    mayRun: ["1.0.0"],
    runs: "1.0.0",
    data: "kept",
    report: { to: "1.1.0", outcome: "rolled-back" },
  },
  "an update that waits in ready, and has its turn": {
    prepare: async (world) => {
      await install(world);
      await offer(world, "1.1.0", "well migrate");
    },
    action: async (agent) => {
      await agent.manners.change({ holds: [{ scope: "shop", until: null }] });
      await agent.check("schedule");
      await agent.manners.change({ holds: [] });
      await agent.attend();
    },
    mayRun: ["1.0.0", "1.1.0"],
    settle: (agent) => agent.manners.change({ holds: [] }),
    runs: "1.1.0",
    data: "1.1.0",
    report: { to: "1.1.0", outcome: "success" },
  },
  "a repair of a damaged slot": {
    prepare: async (world) => {
      await install(world);
      await damage(world);
    },
    action: check,
    mayRun: [null, "1.0.0"],
    runs: "1.0.0",
    data: "kept",
    report: { from: "1.0.0", to: "1.0.0", outcome: "success" },
    fromStart: true,
  },
  "a repair of what runs, because an operator asks": {
    prepare: install,
    action: async (agent) => {
      const disk = agent.parts.world.disk as MemoryDisk;
      const slot = await disk.readLink(`${SHOP}/current`);
      disk.tamper(`${SHOP}/${slot}/bin/service`, evil);
      await agent.verify();
      await agent.check("operator");
    },
    mayRun: [null, "1.0.0"],
    runs: "1.0.0",
    data: "kept",
    // What survived its agent goes on, and its repair may wait.
    report: null,
  },
  "a way back from a damaged slot that cannot be fetched": {
    prepare: async (world) => {
      await install(world);
      await offer(world, "1.1.0", "well");
      const agent = await world.open();
      await agent.start();
      await agent.check("start");
      await damage(world);
    },
    action: async (agent) => {
      (agent.parts.repository as FleetOfOne).repositoryDown = true;
      await agent.check("schedule");
    },
    mayRun: [null, "1.0.0"],
    runs: "1.1.0",
    data: "kept",
    report: null,
    fromStart: true,
  },
};

const EVIL = "well EVIL";
const evil = (bytes: Uint8Array): Uint8Array => toUtf8(EVIL.padEnd(bytes.length, "!"));

/** The machine is off, and somebody changes the program without changing its length. */
async function damage(world: AgentWorld): Promise<void> {
  world.restart(world.disk.clone(), "power-cut");
  const slot = await world.disk.readLink(`${SHOP}/current`);
  world.disk.tamper(`${SHOP}/${slot}/bin/service`, evil);
}

/** A world as it was before the action; every case begins from a copy of it. */
async function begin(scenario: Scenario): Promise<{ world: AgentWorld; start: MemoryDisk }> {
  const world = new AgentWorld();
  await scenario.prepare(world);
  return { world, start: world.disk.clone() };
}

/** Runs the action on a copy of `start`, cut before operation `point`; null if it ended before. */
async function cut(
  world: AgentWorld,
  start: MemoryDisk,
  scenario: Scenario,
  point: number,
): Promise<MemoryDisk | null> {
  world.restart(start.clone(), "power-cut");
  const disk = world.disk;
  try {
    if (scenario.fromStart === true) disk.crashAt = disk.operations + point;
    const agent = await world.open();
    await agent.start();
    if (scenario.fromStart !== true) disk.crashAt = disk.operations + point;
    await scenario.action(agent);
    await agent.board.write();
  } catch (error) {
    if (!isPowerCut(error)) throw error;
    return disk;
  }
  return disk.halted ? disk : null;
}

async function assertSafe(world: AgentWorld, scenario: Scenario, where: string): Promise<void> {
  // First without the server: recovery alone must lead to exactly one whole version.
  world.fleet.serverDown = true;
  const agent = await world.open();
  await agent.start();
  const link = await world.disk.readLink(`${SHOP}/current`).catch(() => null);
  const now = world.running;
  assert.ok(now.length <= 1, `${where}: ${now.join(" and ")} run at once`);
  assert.ok(scenario.mayRun.includes(now[0] ?? null), `${where}: ${now[0] ?? "nothing"} runs`);
  if (now[0] !== undefined)
    assert.ok(link?.startsWith(`slots/${now[0]}-`), `${where}: ${link} is current but ${now[0]} runs`);
  // Then the next check, with no human in between.
  world.fleet.serverDown = false;
  world.fleet.repositoryDown = false;
  await scenario.settle?.(agent);
  const result = await agent.check("schedule");
  assert.equal(result.failure, null, `${where}: ${result.failure?.message}`);
  assert.deepEqual(world.running, scenario.runs === null ? [] : [scenario.runs], where);
  if (scenario.data !== "")
    assert.equal(fromUtf8(await world.disk.read(`${SHOP}/data/db`, 100)), scenario.data, where);
  const ends = world.fleet.reports.filter((r) => r.kind === "attempt");
  assert.equal(new Set(ends.map((r) => r.attempt)).size, ends.length, `${where}: one report per attempt`);
  const { report } = scenario;
  if (report !== null) {
    const terminal = ends.filter((r) => r.to === report.to && (report.from ?? r.from) === r.from);
    assert.deepEqual(
      terminal.map((r) => r.outcome),
      [report.outcome],
      `${where}: exactly one terminal report`,
    );
  }
  assert.ok(!world.processes.texts.some((text) => text.includes(EVIL)), `${where}: a changed program ran`);
  assert.equal(agent.outbox.waiting, 0, where);
  const slots = await world.disk.list(`${SHOP}/slots`);
  assert.ok(
    slots.every((name) => !name.startsWith(".tmp-")),
    `${where}: half-made slots stay: ${slots.join()}`,
  );
  assert.ok(slots.length <= 2, `${where}: slots pile up: ${slots.join()}`);
  // And the one after that.
  await offer(world, "2.0.0", "well");
  const next = await agent.check("schedule");
  assert.equal(next.components[0]?.result, "updated", `${where}: the next update`);
  assert.deepEqual(world.running, ["2.0.0"], where);
}

/** The fleet's memory belongs to the server, which nobody cut: it is put back between cases. */
async function withFleet(world: AgentWorld, action: () => Promise<void>): Promise<void> {
  const { fleet } = world;
  const before = {
    targets: new Map(fleet.targets),
    assigned: new Map(fleet.assigned),
    reports: [...fleet.reports],
  };
  await action();
  fleet.targets.clear();
  fleet.assigned.clear();
  for (const [name, bytes] of before.targets) fleet.targets.set(name, bytes);
  for (const [name, assigned] of before.assigned) fleet.assigned.set(name, assigned);
  fleet.reports.splice(0, fleet.reports.length, ...before.reports);
  fleet.serverDown = false;
  fleet.repositoryDown = false;
}

const STATES = 4;

describe("an agent killed or cut off at every disk operation is SAFE", () => {
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    it(`in ${name}`, async (t) => {
      const { world, start } = await begin(scenario);
      let cases = 0;
      let point = 0;
      for (; ; point++) {
        let over = false;
        await withFleet(world, async () => {
          const disk = await cut(world, start, scenario, point);
          if (disk === null) {
            over = true;
            return;
          }
          const reports = [...world.fleet.reports];
          const processes = world.processes;
          const survivors: (readonly [MemoryDisk, "killed" | "power-cut"])[] = [
            ...disk.crashStates(STATES).map((state) => [state, "power-cut"] as const),
            [disk.clone(), "killed"],
          ];
          for (const [i, [survivor, how]] of survivors.entries()) {
            await withFleet(world, async () => {
              world.fleet.reports.splice(0, world.fleet.reports.length, ...reports);
              world.processes = processes;
              world.restart(survivor, how);
              await assertSafe(world, scenario, `${name}, ${how} before operation ${point}, state ${i}`);
            });
            cases++;
          }
        });
        if (over) break;
      }
      assert.ok(point > 40, `only ${point} operations`);
      t.diagnostic(`${point} operations, ${cases} cases`);
    });
  }

  it("and again when it is cut off during recovery", async (t) => {
    const scenario = SCENARIOS["an update that is taken back"]!;
    const { world, start } = await begin(scenario);
    let cases = 0;
    for (let point = 7; ; point += 23) {
      let over = false;
      await withFleet(world, async () => {
        const first = await cut(world, start, scenario, point);
        if (first === null) {
          over = true;
          return;
        }
        const reports = [...world.fleet.reports];
        const left = first.crashStates(2).at(-1)!;
        for (let second = 3; ; second += 17) {
          let ended = false;
          await withFleet(world, async () => {
            world.fleet.reports.splice(0, world.fleet.reports.length, ...reports);
            world.restart(left.clone(), "power-cut");
            const disk = world.disk;
            disk.crashAt = second;
            try {
              const agent = await world.open();
              await agent.start();
            } catch (error) {
              if (!isPowerCut(error)) throw error;
            }
            if (!disk.halted) {
              ended = true;
              return;
            }
            world.restart(disk.crashStates(2).at(0)!, "power-cut");
            await assertSafe(
              world,
              scenario,
              `cut before operation ${point}, then before ${second} of recovery`,
            );
            cases++;
          });
          if (ended) break;
        }
      });
      if (over) break;
    }
    t.diagnostic(`${cases} cases`);
    assert.ok(cases > 20, `${cases} cases`);
  });
});

describe("an agent whose disk fails at any operation is SAFE", () => {
  for (const code of ["disk/full", "disk/io", "disk/read-only"] as const satisfies readonly DiskErrorCode[]) {
    it(`with ${code}, once and for good`, async (t) => {
      const scenario = SCENARIOS["an update"]!;
      const { world, start } = await begin(scenario);
      let cases = 0;
      for (const lasting of [false, true]) {
        for (let point = 0; ; point += lasting ? 5 : 2) {
          let over = false;
          await withFleet(world, async () => {
            world.restart(start.clone(), "power-cut");
            const disk = world.disk;
            const agent = await world.open();
            await agent.start();
            const from = disk.operations + point;
            let hit = false;
            disk.fault = ({ number, kind }) => {
              const changing = !["stat", "list", "read", "open"].includes(kind);
              if (!changing || !(lasting ? number >= from : number === from) || (hit && !lasting))
                return undefined;
              hit = true;
              return code;
            };
            await agent.check("schedule");
            if (!hit) {
              over = true;
              return;
            }
            const now = world.running;
            assert.ok(
              now.length === 1 && ["1.0.0", "1.1.0"].includes(now[0]!),
              `${code} at ${point}: ${now.join() || "nothing"} runs`,
            );
            disk.fault = null;
            // The disk is well again: the same agent goes on by itself, and so does a new one.
            await agent.check("operator");
            await agent.stop();
            world.restart(disk.clone(), "killed");
            const next = await world.open();
            await next.start();
            await next.check("operator");
            // A fault during activation takes the update back and skips it: then a newer one must go through.
            const runs = world.running[0];
            assert.ok(
              world.running.length === 1 && (runs === "1.1.0" || runs === "1.0.0"),
              `${code} at ${point}`,
            );
            await offer(world, "2.0.0", "well");
            const result = await next.check("operator");
            assert.equal(
              result.components[0]?.result,
              "updated",
              `${code} at ${point}: ${result.components[0]?.reason}`,
            );
            const ends = world.fleet.reports.filter((r) => r.kind === "attempt" && r.to === "1.1.0");
            assert.ok(
              new Set(ends.map((r) => r.kind === "attempt" && r.attempt)).size === ends.length,
              "one report per attempt",
            );
            cases++;
          });
          if (over) break;
        }
      }
      t.diagnostic(`${cases} cases`);
      assert.ok(cases > 40, `${cases} cases`);
    });
  }
});
