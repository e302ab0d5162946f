// What a machine does to a release is not held against it: it waits, says why, and goes on by itself; what is the release's own fault is refused.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DiskError } from "../core/disk.ts";
import { HOUR } from "../core/instant.ts";
import type { Unfit } from "../process/ports.ts";
import type { ReleaseManifest } from "../release/manifest.ts";
import type { AttemptReport } from "../report/report.ts";
import { AgentWorld, EagerClock, FOLDER } from "../testing/agent-world.ts";
import type { Agent } from "./agent.ts";
import { AgentError } from "./errors.ts";
import type { CheckResult } from "./check-result.ts";

const SHOP = `${FOLDER}/components/shop`;
const only = (result: CheckResult) => {
  assert.equal(result.failure, null, result.failure?.message);
  assert.equal(result.components.length, 1);
  return result.components[0]!;
};
const NOEXEC: Unfit = {
  code: "process/cannot-start",
  reason: "bin/service cannot be started here: the file system at /agent is mounted noexec.",
};

async function installed(changes: Partial<ReleaseManifest> = {}): Promise<{
  world: AgentWorld;
  clock: EagerClock;
  agent: Agent;
}> {
  const clock = new EagerClock();
  const world = new AgentWorld(clock);
  await offer(world, "1.0.0", "well migrate", changes);
  const agent = await world.open();
  await agent.start();
  assert.equal(only(await agent.check("start")).result, "updated");
  return { world, clock, agent };
}

async function offer(world: AgentWorld, version: string, behaviour = "well", changes = {}): Promise<void> {
  await world.fleet.publish("shop", version, behaviour, changes);
  await world.fleet.promote("shop", version);
}

const outcomes = (world: AgentWorld): readonly string[] =>
  world.fleet.reports
    .filter((report): report is AttemptReport => report.kind === "attempt")
    .map(({ to, outcome, code }) => [to, outcome, code ?? ""].join(" ").trim());

describe("a program for another machine", () => {
  it("is refused before the switch, and what runs is not stopped for it (wrong software)", async () => {
    const { world, agent } = await installed();
    const started = world.processes.started.length;
    await offer(world, "1.1.0", "foreign");
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["refused", "process/wrong-program"]);
    assert.match(result.reason, /for another machine/);
    assert.deepEqual(world.running, ["1.0.0"]);
    assert.equal(world.processes.started.length, started, "nothing was started or stopped");
    assert.deepEqual(outcomes(world).at(-1), "1.1.0 refused process/wrong-program");
  });

  it("is refused as a probe as well", async () => {
    const { world, agent } = await installed();
    const { health } = await world.fleet.publish("other", "1.0.0", "well");
    assert.ok(health?.kind === "http");
    const { kind: _, path: __, port: ___, ...timings } = health;
    world.processes.look = async ({ program }) =>
      program.endsWith("/bin/probe")
        ? { code: "process/wrong-program", reason: "For another machine." }
        : null;
    await offer(world, "1.1.0", "well", {
      health: { kind: "command", command: ["bin/probe"], ...timings },
    });
    assert.equal(only(await agent.check("schedule")).code, "process/wrong-program");
  });
});

describe("a machine that cannot start anything", () => {
  it("is not asked to: the update waits with the reason, the old version runs on, and it goes on when that is over", async () => {
    const { world, agent } = await installed();
    world.processes.unfit = NOEXEC;
    await offer(world, "1.1.0");
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["waiting", "process/cannot-start"]);
    assert.match(result.reason, /mounted noexec/);
    assert.deepEqual(world.running, ["1.0.0"]);
    assert.equal((await agent.status()).components[0]!.skipped.length, 0);
    const alarm = world.fleet.reports.find((report) => report.kind === "alarm");
    assert.equal(alarm?.kind === "alarm" && alarm.code, "process/cannot-start", "its owner hears of it");
    world.processes.unfit = null;
    assert.equal(only(await agent.check("schedule")).result, "updated");
    assert.deepEqual(outcomes(world), ["1.0.0 success", "1.1.0 success"]);
  });

  it("keeps a first installation waiting, too", async () => {
    const world = new AgentWorld();
    await offer(world, "1.0.0");
    world.processes.unfit = NOEXEC;
    const agent = await world.open();
    await agent.start();
    assert.equal(only(await agent.check("start")).result, "waiting");
    world.processes.unfit = null;
    assert.equal(only(await agent.check("schedule")).result, "updated");
  });
});

/** What goes wrong, and where in the attempt. */
const TROUBLES: readonly (readonly [string, string, string])[] = [
  ["a full disk at the copy of the data", "activating:snapshot", "disk/full"],
  ["a full disk at the switch", "activating:switch-forward", "disk/full"],
  ["an I/O error at the switch", "activating:switch-forward", "disk/io"],
  ["a disk that became read-only before the start", "probation:start-and-watch-new", "disk/read-only"],
];

describe("trouble of the machine after the switch was decided", () => {
  for (const [what, point, code] of TROUBLES) {
    it(`${what} takes the update back, holds nothing against it, and is tried again by itself`, async () => {
      const { world, clock, agent } = await installed();
      let broken = true;
      world.atPoint = async (name) => {
        if (broken && name === `before ${point}`)
          throw new DiskError(code as "disk/full", "The disk could not be used.", {});
      };
      await offer(world, "1.1.0", "well migrate");
      const result = only(await agent.check("schedule"));
      assert.deepEqual([result.result, result.code, result.running], ["waiting", code, "1.0.0"]);
      assert.ok(result.until !== null, "it says when");
      assert.deepEqual(world.running, ["1.0.0"]);
      assert.deepEqual((await agent.status()).components[0]!.skipped, []);
      assert.deepEqual(outcomes(world), ["1.0.0 success"], "nothing has ended");

      const started = world.processes.started.length;
      const soon = only(await agent.check("schedule"));
      assert.deepEqual([soon.result, soon.code], ["waiting", code], "it waits, and still says for what");
      assert.equal(world.processes.started.length, started, "what runs is not stopped at each check");

      broken = false;
      clock.setWall(clock.now() + HOUR);
      assert.equal(only(await agent.check("schedule")).result, "updated");
      assert.deepEqual(world.running, ["1.1.0"]);
      assert.deepEqual(outcomes(world), ["1.0.0 success", "1.1.0 success"]);
    });
  }

  it("pauses longer and longer, and an operator need not wait", async () => {
    const { world, clock, agent } = await installed();
    let broken = true;
    world.atPoint = async (name) => {
      if (broken && name === "before activating:switch-forward")
        throw new DiskError("disk/full", "Full.", {});
    };
    await offer(world, "1.1.0");
    const pauses: number[] = [];
    for (let i = 0; i < 4; i++) {
      const result = only(await agent.check("schedule"));
      pauses.push(result.until! - clock.now());
      clock.setWall(result.until! + 1);
    }
    assert.deepEqual(
      pauses.map((ms) => Math.round(ms / 60_000)),
      [1, 2, 4, 8],
    );
    broken = false;
    assert.equal(only(await agent.check("operator")).result, "updated");
  });

  it("does not go round for ever in one attempt", async () => {
    const { world, agent } = await installed();
    world.atPoint = async (name) => {
      if (name === "before activating:switch-forward") throw new DiskError("disk/full", "Full.", {});
    };
    await offer(world, "1.1.0");
    for (let i = 0; i < 25; i++) assert.equal(only(await agent.check("operator")).result, "waiting");
    assert.deepEqual(outcomes(world), ["1.0.0 success", "1.1.0 superseded agent/superseded"]);
    assert.deepEqual(world.running, ["1.0.0"]);
  });

  it("survives a kill on the way back: the attempt waits all the same", async () => {
    const { world, agent } = await installed();
    let killed = false;
    world.atPoint = async (name) => {
      if (name === "before activating:switch-forward") throw new DiskError("disk/full", "Full.", {});
      if (name === "after rolling-back:note-rolling-back" && !killed) {
        killed = true;
        // Nothing the agent does after it reaches the disk.
        throw new DiskError("disk/io", "The agent was killed here.", {});
      }
    };
    await offer(world, "1.1.0");
    await agent.check("schedule");
    world.atPoint = async () => {};
    world.restart(world.disk, "killed");
    const next = await world.open();
    await next.start();
    assert.deepEqual(world.running, ["1.0.0"]);
    assert.deepEqual(outcomes(world), ["1.0.0 success"]);
    assert.equal(only(await next.check("schedule")).result, "updated");
    assert.deepEqual(outcomes(world), ["1.0.0 success", "1.1.0 success"]);
  });

  it("gives an operator's way back up without a word against the older version", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    assert.equal(only(await agent.check("schedule")).result, "updated");
    let broken = true;
    world.atPoint = async (name) => {
      if (broken && name === "before activating:switch-forward")
        throw new DiskError("disk/full", "Full.", {});
    };
    const result = await agent.rollBack("shop");
    assert.deepEqual([result.result, result.code, result.running], ["failed", "disk/full", "1.1.0"]);
    assert.deepEqual((await agent.status()).components[0]!.skipped, []);
    broken = false;
    assert.equal((await agent.rollBack("shop")).result, "updated");
    assert.deepEqual(world.running, ["1.0.0"]);
  });

  it("leaves what is the release's own fault skipped, as ever", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0", "crash");
    assert.equal(only(await agent.check("schedule")).result, "rolled-back");
    assert.equal((await agent.status()).components[0]!.skipped.length, 1);
  });
});

describe("room for the copy of the data", () => {
  it("is looked for before anything is stopped", async () => {
    const { world, agent } = await installed();
    const started = world.processes.started.length;
    await offer(world, "1.1.0");
    const { free } = world.disk;
    let asked = 0;
    // Enough for the release, and then too little for the data.
    world.disk.free = async () => (asked++ === 0 ? 1e9 : 10);
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["waiting", "agent/no-space"]);
    assert.match(result.reason, /copy of the component's data/);
    assert.equal(world.processes.started.length, started);
    assert.deepEqual(world.running, ["1.0.0"]);
    world.disk.free = free;
    assert.equal(only(await agent.check("schedule")).result, "updated");
  });
});

describe("a device whose own folder is in trouble", () => {
  for (const [what, code, unsigned] of [
    ["a slip in its settings", "agent/bad-settings", false],
    ["a damaged identity", "agent/damaged-identity", true],
  ] as const) {
    it(`runs what is installed after a reboot in spite of ${what}, and says why nothing is updated`, async () => {
      const { world } = await installed();
      await offer(world, "1.1.0");
      world.restart(world.disk, "power-cut");
      assert.deepEqual(world.running, []);
      world.grounded = new AgentError(code, "agent.toml is not TOML: line 3.", {}, { hint: "Mend line 3." });
      world.unsigned = unsigned;
      const next = await world.open();
      await next.start();
      assert.deepEqual(world.running, ["1.0.0"]);
      const result = await next.check("start");
      assert.equal(result.failure?.code, code);
      assert.deepEqual(world.running, ["1.0.0"]);
      const status = await next.status();
      assert.match(status.notices[0]!.message, /What is installed runs.*line 3\. Mend line 3\./);
      assert.equal(status.lastCheck?.code, code);
      world.processes.kill(world.processes.running[0]!);
      await next.tend();
      await world.clock.sleep(2000);
      await next.tend();
      assert.deepEqual(world.running, ["1.0.0"], "it is looked after, too");
      world.grounded = null;
      const mended = await world.open();
      await mended.start();
      assert.equal(only(await mended.check("start")).result, "updated");
    });
  }

  it("finishes what a power cut interrupted without a key for its report, and makes the report when it has one", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    world.atPoint = async (name) => {
      if (name === "after activating:switch-forward") throw new Error("power cut");
    };
    await agent.check("schedule").catch(() => undefined);
    world.atPoint = async () => {};
    world.restart(world.disk, "power-cut");
    world.grounded = new AgentError("agent/damaged-identity", "It is damaged.", {});
    world.unsigned = true;
    const next = await world.open();
    await next.start();
    assert.equal(world.running.length, 1);
    world.grounded = null;
    const mended = await world.open();
    await mended.start();
    await mended.check("start");
    assert.equal(world.running.length, 1);
    assert.equal(outcomes(world).length, 2, "one end, told once");
  });
});

/** A release that asks the agent for its port: nobody sets PORT. */
const ASKS = { entryPoint: { command: ["bin/service"] } } as unknown as Partial<ReleaseManifest>;

describe("a port that the release asks for", () => {
  const portOf = async (world: AgentWorld): Promise<number> => {
    const { ports } = JSON.parse(
      Buffer.from(await world.disk.read(`${SHOP}/ports.json`, 1000)).toString(),
    ) as { ports: { PORT: number } };
    return ports.PORT;
  };

  it("is given by the agent, and kept over updates and restarts of both", async () => {
    const { world, agent } = await installed(ASKS);
    const port = await portOf(world);
    assert.ok(port >= 20_000 && port <= 32_767);
    await offer(world, "1.1.0", "well", ASKS);
    assert.equal(only(await agent.check("schedule")).result, "updated");
    assert.equal(await portOf(world), port);
    world.restart(world.disk, "power-cut");
    const next = await world.open();
    await next.start();
    assert.deepEqual(world.running, ["1.1.0"]);
    assert.equal(await portOf(world), port);
  });

  it("is another one when it was taken meanwhile", async () => {
    const { world } = await installed(ASKS);
    const port = await portOf(world);
    world.restart(world.disk, "power-cut");
    world.processes.strangers.set(port, "process 7 (squatter)");
    const next = await world.open();
    await next.start();
    assert.deepEqual(world.running, ["1.0.0"]);
    assert.notEqual(await portOf(world), port);
  });

  it("makes the update wait when none is free", async () => {
    const { world, agent } = await installed(ASKS);
    world.processes.isFree = async () => false;
    await offer(world, "1.1.0", "well", ASKS);
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["waiting", "process/no-port"]);
    assert.deepEqual((await agent.status()).components[0]!.skipped, []);
  });
});

describe("a port that is written down", () => {
  it("makes the update wait, and names who listens there", async () => {
    const world = new AgentWorld();
    const { health } = await world.fleet.publish("other", "1.0.0", "well");
    assert.ok(health?.kind === "http");
    await offer(world, "1.0.0", "well", { ...ASKS, health: { ...health, port: 8080 } });
    world.processes.strangers.set(8080, "process 7 (squatter)");
    const agent = await world.open();
    await agent.start();
    const result = only(await agent.check("start"));
    assert.deepEqual([result.result, result.code], ["waiting", "process/port-taken"]);
    assert.match(result.reason, /port 8080, and process 7 \(squatter\) listens there/);
    assert.deepEqual(world.running, []);
  });
});

describe("an answer of a stranger on the component's port", () => {
  it("makes no sleeping release healthy (a program in its place)", async () => {
    const { world, agent } = await installed(ASKS);
    const { started } = world.processes;
    await offer(world, "1.1.0", "deaf", ASKS);
    const { http } = world.processes;
    // Somebody takes the port once the release, which does not listen, was started.
    world.processes.http = async (port, path, ms, by) => {
      if (started.at(-1)?.includes("1.1.0") === true)
        return { kind: "stranger", what: `on port ${port} is that of process 7 (squatter)` };
      return http.call(world.processes, port, path, ms, by);
    };
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["rolled-back", "process/unhealthy"]);
    assert.match(result.reason, /process 7 \(squatter\)/);
    assert.deepEqual(world.running, ["1.0.0"]);
  });
});
