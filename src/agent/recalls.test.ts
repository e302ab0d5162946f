// Tests of what a device does about recalls: during a probation, while it waits, when somebody goes back, and with floors of a thief.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MINUTE } from "../core/instant.ts";
import type { Recalled } from "../release/channel.ts";
import type { AttemptReport } from "../report/report.ts";
import { AgentWorld, EagerClock } from "../testing/agent-world.ts";
import type { Agent } from "./agent.ts";
import type { CheckResult } from "./check-result.ts";
import { RecallWatch } from "./recall-watch.ts";

const SINCE = "2026-11-21T04:00:00Z";
const gone = (version: string, more: Partial<Recalled> = {}): Recalled => ({
  version,
  reason: "loses orders",
  since: SINCE,
  ...more,
});
const only = (result: CheckResult) => {
  assert.equal(result.failure, null, result.failure?.message);
  assert.equal(result.components.length, 1);
  return result.components[0]!;
};
const ends = (world: AgentWorld) =>
  world.fleet.reports
    .filter((report): report is AttemptReport => report.kind === "attempt")
    .map(({ to, outcome, code }) => [to, outcome, code]);
const state = async (agent: Agent) => (await agent.status()).components[0]!;

async function offer(world: AgentWorld, version: string, changes = {}): Promise<void> {
  await world.fleet.publish("shop", version, "well", changes);
  await world.fleet.promote("shop", version);
}
async function installed(...versions: readonly string[]): Promise<{ world: AgentWorld; agent: Agent }> {
  const world = new AgentWorld();
  const agent = await world.open();
  await agent.start();
  for (const version of versions) {
    await offer(world, version);
    assert.equal(only(await agent.check("schedule")).result, "updated");
  }
  return { world, agent };
}
/** Does something once, when the new version is about to be started on its probation. */
function atProbation(world: AgentWorld, action: () => Promise<void>): void {
  let done = false;
  world.atPoint = async (name) => {
    if (done || name !== "before probation:start-and-watch-new") return;
    done = true;
    await action();
  };
}
const long = { startSeconds: 5, intervalSeconds: 1, timeoutSeconds: 1, successes: 1, failures: 2 };
const health = (probationSeconds: number) => ({
  health: { kind: "http", path: "/health", port: { env: "PORT" }, ...long, probationSeconds },
});

describe("a recall", () => {
  it("ends a probation under way, however well the version is, and the device goes where the channel points", async () => {
    const { world, agent } = await installed("1.0.0");
    await offer(world, "1.1.0", health(3600));
    atProbation(world, () => world.fleet.promote("shop", "1.0.0", [gone("1.1.0")]));
    const began = world.clock.now();
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["rolled-back", "release/recalled"]);
    assert.match(result.reason, /1\.1\.0 was recalled: loses orders/);
    assert.ok(world.clock.now() - began < 10 * MINUTE, "it did not wait for the end of the probation");
    assert.deepEqual(world.running, ["1.0.0"]);
    assert.equal(agent.takeNews(), true, "a check should follow at once");
    assert.equal(agent.takeNews(), false);
    assert.equal(only(await agent.check("schedule")).result, "current");
    assert.deepEqual(ends(world).at(-1), ["1.1.0", "rolled-back", "release/recalled"]);
  });

  it("ends the probation of a first installation, and the next check installs what is good", async () => {
    const { world, agent } = await installed();
    await world.fleet.publish("shop", "1.0.0", "well");
    await offer(world, "1.1.0", health(3600));
    atProbation(world, () => world.fleet.promote("shop", "1.0.0", [gone("1.1.0")]));
    assert.equal(only(await agent.check("schedule")).code, "release/recalled");
    assert.deepEqual(world.running, []);
    assert.equal(only(await agent.check("schedule")).result, "updated");
    assert.deepEqual(world.running, ["1.0.0"]);
  });

  it("tells the server during a probation what is being tried, and a server that is away ends none", async () => {
    const { world, agent } = await installed("1.0.0");
    await offer(world, "1.1.0", health(60));
    const before = world.fleet.checkIns.length;
    assert.equal(only(await agent.check("schedule")).result, "updated");
    assert.deepEqual(
      world.fleet.checkIns.slice(before + 1).map(({ components }) => components[0]!.version),
      ["1.1.0"],
    );
    await offer(world, "1.2.0", health(60));
    atProbation(world, async () => {
      world.fleet.serverDown = true;
      world.fleet.repositoryDown = true;
    });
    assert.equal((await agent.check("schedule")).components[0]!.result, "updated");
    assert.deepEqual(world.running, ["1.2.0"]);
  });

  it("that a killed agent had learned of is acted on by the next one, before anything is asked", async () => {
    const { world, agent } = await installed("1.0.0");
    await offer(world, "1.1.0", health(3600));
    const kill = new Error("killed");
    world.atPoint = async (name) => {
      if (name === "before probation:start-and-watch-new")
        await world.fleet.promote("shop", "1.0.0", [gone("1.1.0")]);
      if (name === "before rolling-back:note-rolling-back") throw kill;
    };
    await agent.check("schedule").catch(() => undefined);
    world.atPoint = async () => {};
    world.restart(world.disk, "killed");
    world.fleet.serverDown = true;
    world.fleet.repositoryDown = true;
    const next = await world.open();
    await next.start();
    assert.deepEqual(world.running, ["1.0.0"]);
  });

  it("ends an attempt that waits, also while the server holds the product back", async () => {
    const { world, agent } = await installed("1.0.0");
    await offer(world, "1.1.0");
    world.disk.capacity -= (await world.disk.free("/")) - 100_000;
    assert.equal(only(await agent.check("schedule")).result, "waiting");
    world.disk.capacity = Number.MAX_SAFE_INTEGER;
    await world.fleet.promote("shop", "1.0.0", [gone("1.1.0")]);
    world.fleet.assigned.set("shop", { product: "shop", channel: "stable", hold: { reason: "recalled" } });
    assert.equal(only(await agent.check("schedule")).result, "held");
    assert.deepEqual(ends(world).at(-1), ["1.1.0", "superseded", "release/recalled"]);
  });

  it("is named by the status of a device that cannot leave the recalled release", async () => {
    const { world, agent } = await installed("1.0.0");
    await offer(world, "1.2.0", { floor: "1.2.0" });
    await agent.check("schedule");
    assert.equal((await state(agent)).recalled, null);
    await world.fleet.promote("shop", "1.0.0", [gone("1.2.0")]);
    assert.equal(only(await agent.check("schedule")).code, "release/below-floor");
    const { recalled, why } = await state(agent);
    assert.equal(recalled, "loses orders");
    assert.match(
      why,
      /1\.2\.0, which is installed here, was recalled: loses orders\. .*below the floor 1\.2\.0/,
    );
  });
});

describe("going back by hand", () => {
  it("never lands on a recalled release, also when nobody can be asked", async () => {
    const { world, agent } = await installed("1.0.0", "1.1.0", "1.2.0");
    await world.fleet.promote("shop", "1.2.0", [gone("1.1.0")]);
    await agent.check("schedule");
    world.fleet.serverDown = true;
    world.fleet.repositoryDown = true;
    const back = await agent.rollBack("shop");
    assert.deepEqual([back.result, back.to], ["updated", "1.0.0"]);
  });

  it("asks first what was recalled since the last check", async () => {
    const { world, agent } = await installed("1.0.0", "1.1.0");
    await world.fleet.promote("shop", "1.1.0", [gone("1.0.0")]);
    await assert.rejects(agent.rollBack("shop"), {
      code: "agent/nothing-to-go-back-to",
      message: /1\.0\.0 was recalled: loses orders/,
    });
    assert.deepEqual(world.running, ["1.1.0"]);
  });
});

describe("a floor", () => {
  it("that a thief's release set is lifted by a signed recall that says so, and by nothing else", async () => {
    const { world, agent } = await installed("1.0.0");
    await offer(world, "666.0.0", { floor: "666.0.0" });
    await agent.check("schedule");
    assert.equal((await state(agent)).floor, "666.0.0");
    await world.fleet.promote("shop", "1.0.0", [gone("666.0.0")]);
    assert.equal(only(await agent.check("schedule")).code, "release/below-floor");
    await world.fleet.promote("shop", "1.0.0", [gone("666.0.0"), gone("777.0.0", { liftsFloor: true })]);
    assert.equal(only(await agent.check("schedule")).code, "release/below-floor");
    await world.fleet.promote("shop", "1.0.0", [gone("666.0.0", { liftsFloor: true })]);
    assert.equal(only(await agent.check("schedule")).result, "updated");
    assert.deepEqual(world.running, ["1.0.0"]);
    assert.equal((await state(agent)).floor, null);
  });

  it("of an honest release holds when a thief's is lifted", async () => {
    const { world, agent } = await installed("1.0.0");
    await offer(world, "1.1.0", { floor: "1.0.5" });
    await agent.check("schedule");
    await offer(world, "666.0.0", { floor: "666.0.0" });
    await agent.check("schedule");
    await world.fleet.promote("shop", "1.0.0", [gone("666.0.0", { liftsFloor: true })]);
    assert.equal(only(await agent.check("schedule")).code, "release/below-floor");
    assert.equal((await state(agent)).floor, "1.0.5");
    await world.fleet.promote("shop", "1.1.0", [gone("666.0.0", { liftsFloor: true })]);
    assert.equal(only(await agent.check("schedule")).result, "updated");
    assert.deepEqual(world.running, ["1.1.0"]);
  });
});

describe("the same number with other bytes", () => {
  it("is never called current, and never installed (substitution attack)", async () => {
    const { world, agent } = await installed("2.0.0+a");
    await offer(world, "2.0.0+b");
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["refused", "release/same-number"]);
    assert.match(result.reason, /2\.0\.0\+b counts as the same version as the installed 2\.0\.0\+a/);
    assert.deepEqual(world.running, ["2.0.0+a"]);
    await offer(world, "2.0.1");
    assert.equal(only(await agent.check("schedule")).result, "updated");
  });
});

describe("what an installed product needs", () => {
  async function two(): Promise<{ world: AgentWorld; agent: Agent; check: () => Promise<CheckResult> }> {
    const world = new AgentWorld();
    const agent = await world.open();
    await agent.start();
    for (const version of ["1.0.0", "2.0.0"]) {
      await world.fleet.publish("db", version, "well");
      await world.fleet.promote("db", version);
      await agent.check("schedule");
    }
    await world.fleet.publish("appx", "1.0.0", "well", {
      dependencies: [{ product: "db", range: ">=2.0.0 <3.0.0" }],
    });
    await world.fleet.promote("appx", "1.0.0");
    const check = (): Promise<CheckResult> => agent.check("schedule");
    await check();
    return { world, agent, check };
  }

  it("holds for an update, a recall and a roll back of what it needs; the refusal names both", async () => {
    const { world, agent, check } = await two();
    const both =
      /appx 1\.0\.0, which is installed here, needs db >=2\.0\.0 <3\.0\.0, and .* is not in that range/;
    await world.fleet.publish("db", "3.0.0", "well");
    await world.fleet.promote("db", "3.0.0");
    const forward = (await check()).components.find(({ product }) => product === "db")!;
    assert.deepEqual([forward.result, forward.code], ["refused", "release/dependant-version"]);
    assert.match(forward.reason, both);

    await world.fleet.promote("db", "1.0.0", [gone("2.0.0")]);
    const back = (await check()).components.find(({ product }) => product === "db")!;
    assert.deepEqual([back.result, back.code], ["refused", "release/dependant-version"]);
    await assert.rejects(agent.rollBack("db"), { code: "agent/nothing-to-go-back-to", message: both });
    assert.deepEqual(world.running.toSorted(), ["1.0.0", "2.0.0"]);
  });

  it("holds after the agent was started anew", async () => {
    const { world } = await two();
    world.restart(world.disk, "killed");
    const agent = await world.open();
    await agent.start();
    await world.fleet.publish("db", "3.0.0", "well");
    await world.fleet.promote("db", "3.0.0");
    const forward = (await agent.check("schedule")).components.find(({ product }) => product === "db")!;
    assert.equal(forward.code, "release/dependant-version");
    await world.fleet.publish("db", "2.5.0", "well");
    await world.fleet.promote("db", "2.5.0");
    const within = (await agent.check("schedule")).components.find(({ product }) => product === "db")!;
    assert.equal(within.result, "updated");
  });

  it("holds for a roll back of the product that needs it", async () => {
    const { world, agent } = await two();
    await world.fleet.publish("appx", "2.0.0", "well", { dependencies: [{ product: "db", range: "*" }] });
    await world.fleet.promote("appx", "2.0.0");
    await agent.check("schedule");
    await world.fleet.publish("db", "3.0.0", "well");
    await world.fleet.promote("db", "3.0.0");
    await agent.check("schedule");
    await assert.rejects(agent.rollBack("appx"), {
      code: "agent/nothing-to-go-back-to",
      message: /appx 1\.0\.0: it needs db >=2\.0\.0 <3\.0\.0, but 3\.0\.0 is installed here/,
    });
  });
});

describe("asking beside a probation", () => {
  it("asks soon, then at its interval, at once when there may be news, and no more after the end", async () => {
    const clock = new EagerClock();
    let asked = 0;
    const watch = new RecallWatch(clock, MINUTE, async () => {
      asked++;
      return null;
    });
    const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    watch.tick();
    assert.equal(asked, 0);
    await clock.sleep(2000);
    watch.tick();
    watch.tick();
    await settled();
    assert.equal(asked, 1);
    watch.nudge();
    watch.nudge();
    await settled();
    assert.equal(asked, 3, "the second call asks again, for the first answer may be older than the news");
    await clock.sleep(MINUTE);
    watch.tick();
    await settled();
    assert.equal(asked, 4);
    await watch.end();
    await clock.sleep(MINUTE);
    watch.tick();
    watch.nudge();
    await settled();
    assert.equal(asked, 4);
  });
});
