// The agent's life on a scripted clock: start, schedule, wake-ups, back-off, sleep of the machine, stop.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, HOUR, MINUTE, SECOND } from "../core/instant.ts";
import { AgentWorld } from "../testing/agent-world.ts";
import { ScriptedClock } from "../testing/scripted-clock.ts";
import type { Agent } from "./agent.ts";
import { runAgent } from "./loop.ts";

type Life = {
  readonly world: AgentWorld;
  readonly clock: ScriptedClock;
  readonly agent: Agent;
  end(): Promise<void>;
};

async function live(prepare: (world: AgentWorld) => Promise<void> = async () => {}): Promise<Life> {
  const clock = new ScriptedClock();
  const world = new AgentWorld(clock);
  await prepare(world);
  const agent = await world.open();
  const stop = new AbortController();
  const done = runAgent(agent, stop.signal);
  await clock.advance(0);
  return {
    world,
    clock,
    agent,
    end: async () => {
      stop.abort(new Error("the test is over"));
      await clock.advance(SECOND);
      await done;
    },
  };
}

describe("the running agent", () => {
  it("checks at its start, then by the interval that the server asks for", async () => {
    const { world, clock, end } = await live();
    await clock.advance(SECOND);
    assert.equal(world.fleet.checkIns.length, 1);
    await clock.advance(HOUR);
    const checks = world.fleet.checkIns.length;
    assert.ok(checks >= 11 && checks <= 14, `${checks} checks in an hour of 300 s intervals`);
    await end();
  });

  it("checks at a wake-up at once, and for a flood of them only so often", async () => {
    const { world, clock, end } = await live();
    await clock.advance(10 * SECOND);
    const before = world.fleet.checkIns.length;
    world.fleet.wake();
    await clock.advance(SECOND);
    assert.equal(world.fleet.checkIns.length, before + 1);
    for (let i = 0; i < 200; i++) {
      world.fleet.wake();
      await clock.advance(100);
    }
    assert.ok(world.fleet.checkIns.length <= before + 22, `${world.fleet.checkIns.length - before} checks`);
    await end();
  });

  it("backs off while the server is down, says why and until when, and catches up", async () => {
    const { world, clock, agent, end } = await live();
    await clock.advance(SECOND);
    world.fleet.serverDown = true;
    await clock.advance(10 * MINUTE);
    const status = await agent.status();
    assert.equal(status.lastCheck?.code, "mirror/unreachable");
    assert.match(status.why ?? "", /last check failed \(mirror\/unreachable\)/);
    assert.ok(status.until !== null);
    world.fleet.serverDown = false;
    await clock.advance(6 * MINUTE);
    assert.equal((await agent.status()).lastCheck?.result, "ok");
    await end();
  });

  it("catches up soon after the machine slept for a day", async () => {
    const { world, clock, end } = await live();
    await clock.advance(SECOND);
    const before = world.fleet.checkIns.length;
    clock.setWall(clock.now() + DAY);
    await clock.advance(31 * SECOND);
    assert.equal(world.fleet.checkIns.length, before + 1);
    await end();
  });

  it("is not stopped by a wall clock that is set back a year", async () => {
    const { world, clock, end } = await live();
    await clock.advance(SECOND);
    clock.setWall(clock.now() - 365 * DAY);
    const before = world.fleet.checkIns.length;
    await clock.advance(6 * MINUTE);
    assert.ok(world.fleet.checkIns.length > before);
    await end();
  });

  it("installs, keeps it running, and ends it when it is stopped itself", async () => {
    const { world, clock, agent, end } = await live(async (world) => {
      // A single file: unpacking it needs no thread, so that scripted time is all the time there is.
      await world.fleet.publish("shop", "1.0.0", "well", {}, "file");
      await world.fleet.promote("shop", "1.0.0");
    });
    await clock.advance(MINUTE);
    assert.deepEqual(world.running, ["1.0.0"]);
    for (const program of world.processes.running) world.processes.kill(program);
    await clock.advance(5 * SECOND);
    assert.deepEqual(world.running, ["1.0.0"]);
    await end();
    assert.deepEqual(world.running, []);
    assert.equal((await agent.status()).doing, "stopped");
  });

  it("does not hold a stop in good order against a version in probation", async () => {
    const life = await live(async (world) => {
      await world.fleet.publish(
        "shop",
        "1.0.0",
        "well",
        {
          health: {
            kind: "http",
            path: "/",
            port: { env: "PORT" },
            startSeconds: 5,
            intervalSeconds: 10,
            timeoutSeconds: 1,
            successes: 2,
            failures: 2,
            probationSeconds: 3600,
          },
        },
        "file",
      );
      await world.fleet.promote("shop", "1.0.0");
    });
    const { world, clock } = life;
    let { end } = life;
    // More stops than starts are allowed, each in the middle of probation.
    for (let i = 0; i < 8; i++) {
      await clock.advance(10 * MINUTE);
      await end();
      assert.deepEqual(world.running, []);
      const stop = new AbortController();
      const next = runAgent(await world.open(), stop.signal);
      end = async () => {
        stop.abort(new Error("the test is over"));
        await clock.advance(SECOND);
        await next;
      };
    }
    await clock.advance(70 * MINUTE);
    assert.deepEqual(world.running, ["1.0.0"]);
    await end();
    assert.deepEqual(
      world.fleet.reports.map((report) => report.kind === "attempt" && report.outcome),
      ["success"],
    );
  });
});
