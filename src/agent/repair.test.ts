// A byte changes in what is installed: it is noticed before it runs, told, and put back, or what was good before takes its place.

import assert from "node:assert/strict";
import { RECORD_NAME } from "../slot/record.ts";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { writeAtomic } from "../core/disk.ts";
import { DAY, HOUR, MINUTE } from "../core/instant.ts";
import type { ReleaseManifest } from "../release/manifest.ts";
import type { AttemptReport } from "../report/report.ts";
import { AgentWorld, EagerClock, FOLDER } from "../testing/agent-world.ts";
import type { MemoryDisk } from "../testing/memory-disk.ts";
import { ScriptedClock } from "../testing/scripted-clock.ts";
import type { Agent } from "./agent.ts";
import type { CheckResult } from "./check-result.ts";
import { runAgent } from "./loop.ts";

const SHOP = `${FOLDER}/components/shop`;
const EVIL = "well EVIL";

/** A device with 1.0.0 and then 1.1.0, both good, and data of its own. */
async function device(clock = new EagerClock()): Promise<{ world: AgentWorld; agent: Agent }> {
  const world = new AgentWorld(clock);
  const agent = await world.open();
  await agent.start();
  for (const version of ["1.0.0", "1.1.0"]) {
    await offer(world, version);
    assert.equal((await agent.check("schedule")).components[0]?.result, "updated");
  }
  await writeAtomic(world.disk, `${SHOP}/data/db`, toUtf8("kept"));
  return { world, agent };
}

async function offer(world: AgentWorld, version: string, behaviour = "well"): Promise<void> {
  await world.fleet.publish("shop", version, behaviour);
  await world.fleet.promote("shop", version);
}

async function installedAs(
  behaviour: string,
  changes: Partial<ReleaseManifest>,
): Promise<{ world: AgentWorld; agent: Agent }> {
  const world = new AgentWorld();
  await world.fleet.publish("shop", "1.0.0", behaviour, changes);
  await world.fleet.promote("shop", "1.0.0");
  const agent = await world.open();
  await agent.start();
  assert.equal(only(await agent.check("start")).result, "updated");
  return { world, agent };
}

async function slotOf(world: AgentWorld): Promise<string> {
  return `${SHOP}/${await world.disk.readLink(`${SHOP}/current`)}`;
}

/** Same length, so that only reading tells. */
const evil = (bytes: Uint8Array): Uint8Array => toUtf8(EVIL.padEnd(bytes.length, "!"));

type Harm = (disk: MemoryDisk, slot: string) => Promise<void> | void;
const HARMS: { readonly [name: string]: Harm } = {
  "a changed byte": (disk, slot) => disk.tamper(`${slot}/bin/service`, evil),
  "a rotten bit, which changes no time": (disk, slot) => disk.tamper(`${slot}/bin/service`, evil, "unseen"),
  "a removed file": (disk, slot) => disk.removeFile(`${slot}/bin/service`),
  "a file that anybody may write": (disk, slot) => disk.chmod(`${slot}/bin/service`, 0o757),
  "a setuid bit": (disk, slot) => disk.chmod(`${slot}/bin/service`, 0o4555),
  "a lost executable bit": (disk, slot) => disk.chmod(`${slot}/bin/service`, 0o444),
  "a folder that others may write": (disk, slot) => disk.chmod(`${slot}/bin`, 0o777),
  "a link in place of the program": async (disk, slot) => {
    await disk.removeFile(`${slot}/bin/service`);
    await disk.link(`${slot}/bin/service`, "/bin/sh");
  },
  "a link in place of a folder": async (disk, slot) => {
    await disk.rename(`${slot}/bin`, `${FOLDER}/elsewhere`);
    await disk.link(`${slot}/bin`, `${FOLDER}/elsewhere`);
  },
  "a link in place of the slot": async (disk, slot) => {
    await disk.rename(slot, `${FOLDER}/elsewhere`);
    await disk.link(slot, `${FOLDER}/elsewhere`);
  },
  "a slot that is gone": async (disk, slot) => disk.rename(slot, `${FOLDER}/elsewhere`),
  "a record that cannot be read": (disk, slot) =>
    disk.tamper(`${slot}/.upkeep-slot.json`, (bytes) => bytes.subarray(1)),
  "a record that is gone": (disk, slot) => disk.removeFile(`${slot}/.upkeep-slot.json`),
  "a record that was changed with its file": (disk, slot) => {
    disk.tamper(`${slot}/.upkeep-slot.json`, (bytes) =>
      toUtf8(fromUtf8(bytes).replace(`"PORT":"`, `"PORTS":"`)),
    );
  },
};

function attempts(world: AgentWorld): AttemptReport[] {
  return world.fleet.reports.filter((report) => report.kind === "attempt");
}

/** Scripted time goes on until it has come to this; what computes beside it may need more turns on a busy machine. */
async function until(clock: ScriptedClock, come: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 600; i++) {
    if (await come()) return;
    await clock.advance(1000);
  }
  assert.fail("it did not come to this");
}

async function ended(clock: ScriptedClock, work: Promise<unknown>): Promise<void> {
  let over = false;
  const mark = (): void => {
    over = true;
  };
  work.then(mark, mark);
  await until(clock, () => over);
  await work;
}

function only(result: CheckResult) {
  assert.equal(result.components.length, 1);
  return result.components[0]!;
}

/** The machine was off while it happened. */
async function harmed(world: AgentWorld, harm: Harm): Promise<Agent> {
  world.restart(world.disk.clone(), "power-cut");
  await harm(world.disk, await slotOf(world));
  return world.open();
}

describe("a slot that was damaged while the agent was down", () => {
  for (const [name, harm] of Object.entries(HARMS)) {
    it(`${name}: is not started, is told, is replaced by the same release`, async () => {
      const { world } = await device();
      const agent = await harmed(world, harm);
      await agent.start();
      assert.deepEqual(world.running, [], "it was started");
      assert.match((await agent.status()).components[0]?.damage ?? "", /damaged|cannot be read/);

      const result = only(await agent.check("start"));
      assert.equal(result.result, "repaired", result.reason);
      assert.deepEqual(world.running, ["1.1.0"]);
      assert.ok(!world.processes.texts.some((text) => text.includes("EVIL")), "the changed program ran");
      assert.equal(fromUtf8(await world.disk.read(`${SHOP}/data/db`, 10)), "kept");
      const slots = await world.disk.list(`${SHOP}/slots`);
      assert.deepEqual(
        slots.map((slot) => slot.replace(/-[0-9a-f]{32}/, "")),
        ["1.0.0", "1.1.0-r1"],
        "the damaged slot is gone, the one to go back to is kept",
      );
      const alarm = world.fleet.reports.find((report) => report.kind === "alarm");
      assert.ok(alarm?.kind === "alarm");
      assert.deepEqual([alarm.code, alarm.product], ["slot/damaged", "shop"]);
      const report = attempts(world).at(-1)!;
      assert.deepEqual(
        [report.from, report.to, report.outcome, report.step, report.running, report.source],
        ["1.1.0", "1.1.0", "success", "repaired", "1.1.0", "origin"],
      );
      assert.match(report.reason ?? "", /installed again/);
      assert.ok(world.lines.some(({ event, product }) => event === "slot-damaged" && product === "shop"));
      assert.equal((await agent.status()).components[0]?.damage, null);

      assert.equal(only(await agent.check("schedule")).result, "current");
      await offer(world, "1.2.0");
      assert.equal(only(await agent.check("schedule")).result, "updated");
      assert.deepEqual(world.running, ["1.2.0"]);
    });
  }

  it("is repaired without the update server, from the repository alone", async () => {
    const { world } = await device();
    const agent = await harmed(world, HARMS["a changed byte"]!);
    world.fleet.serverDown = true;
    await agent.start();
    const result = await agent.check("start");
    assert.equal(result.failure?.code, "mirror/unreachable");
    assert.equal(only(result).result, "repaired");
    assert.deepEqual(world.running, ["1.1.0"]);
  });

  it("that only holds more than it should is cleaned: what was added is not there when the program starts", async () => {
    const { world } = await device();
    const agent = await harmed(world, async (disk, slot) => {
      await writeAtomic(disk, `${slot}/bin/plugin`, toUtf8("x"), 0o755);
      await disk.makeDirectory(`${slot}/cache`);
      await writeAtomic(disk, `${slot}/cache/old`, toUtf8("y"));
    });
    const before = attempts(world).length;
    world.fleet.serverDown = true;
    await agent.start();
    assert.deepEqual(world.running, ["1.1.0"], "no download is needed for it");
    const slots = await world.disk.list(`${SHOP}/slots`);
    const slot = slots.find((name) => name.startsWith("1.1.0"))!;
    assert.deepEqual(
      (await world.disk.list(`${SHOP}/slots/${slot}`)).toSorted(),
      [RECORD_NAME, "bin"].toSorted(),
    );
    assert.deepEqual(await world.disk.list(`${SHOP}/slots/${slot}/bin`), ["service"]);
    assert.deepEqual(
      (await world.disk.list(`${SHOP}/aside`)).toSorted(),
      ["0", "1"],
      "it is kept to look at",
    );
    const line = world.lines.find(({ event }) => event === "slot-cleaned");
    assert.deepEqual([line?.["count"], line?.["product"]], [2, "shop"]);
    assert.equal((await agent.status()).components[0]?.damage ?? null, null);
    assert.equal(attempts(world).length, before);
  });

  it("is mended by a newer release, if there is one", async () => {
    const { world } = await device();
    const agent = await harmed(world, HARMS["a changed byte"]!);
    await offer(world, "1.2.0");
    await agent.start();
    assert.equal(only(await agent.check("start")).result, "updated");
    assert.deepEqual(world.running, ["1.2.0"]);
    await assert.rejects(
      (async () => {
        await agent.rollBack("shop");
        await agent.rollBack("shop");
        await agent.rollBack("shop");
      })(),
      { code: "agent/nothing-to-go-back-to" },
    );
    assert.deepEqual(world.running, ["1.0.0"], "the damaged 1.1.0 was passed over");
    assert.ok(!world.processes.texts.some((text) => text.includes("EVIL")));
  });

  it("gives way to the last good version while nothing can be fetched, and comes back when it can", async () => {
    const { world } = await device();
    const agent = await harmed(world, HARMS["a changed byte"]!);
    world.fleet.repositoryDown = true;
    await agent.start();
    const result = only(await agent.check("start"));
    assert.deepEqual([result.result, result.code], ["rolled-back", "slot/damaged"]);
    assert.deepEqual(world.running, ["1.0.0"]);
    assert.equal((await agent.status()).components[0]?.floor, null);
    world.fleet.repositoryDown = false;
    assert.equal(only(await agent.check("schedule")).result, "updated");
    assert.deepEqual(world.running, ["1.1.0"]);
    assert.ok(!world.processes.texts.some((text) => text.includes("EVIL")));
  });

  it("stays down and says so when the version before is below the floor", async () => {
    const { world, agent: first } = await device();
    await world.fleet.publish("shop", "1.2.0", "well", { floor: "1.2.0" });
    await world.fleet.promote("shop", "1.2.0");
    await first.check("schedule");
    const agent = await harmed(world, HARMS["a changed byte"]!);
    world.fleet.repositoryDown = true;
    await agent.start();
    const result = only(await agent.check("start"));
    assert.deepEqual([result.result, result.code, result.running], ["waiting", "mirror/unreachable", null]);
    assert.match(result.reason, /has other bytes.*could not be repaired yet/);
    assert.deepEqual(world.running, []);
    assert.equal(await agent.isCrippled(), true);
    world.fleet.repositoryDown = false;
    assert.equal(only(await agent.check("schedule")).result, "repaired");
    assert.deepEqual(world.running, ["1.2.0"]);
  });

  it("stays down when the version before is damaged as well, and neither ever runs", async () => {
    const { world } = await device();
    const agent = await harmed(world, async (disk) => {
      for (const slot of await disk.list(`${SHOP}/slots`))
        disk.tamper(`${SHOP}/slots/${slot}/bin/service`, evil);
    });
    world.fleet.repositoryDown = true;
    await agent.start();
    for (let i = 0; i < 3; i++) assert.equal(only(await agent.check("schedule")).result, "waiting");
    assert.deepEqual(world.running, []);
    world.fleet.repositoryDown = false;
    assert.equal(only(await agent.check("schedule")).result, "repaired");
    assert.ok(!world.processes.texts.some((text) => text.includes("EVIL")));
  });

  it("is not replaced by other bytes under the same version, whoever lists them", async () => {
    const { world } = await device();
    const agent = await harmed(world, HARMS["a changed byte"]!);
    await offer(world, "1.1.0", "well other");
    await agent.start();
    const result = only(await agent.check("start"));
    assert.deepEqual(world.running, ["1.0.0"], "the last good version is the way out");
    assert.equal(result.result, "rolled-back");
    assert.ok(!world.processes.texts.some((text) => text.includes("other")));
  });

  it("is not replaced by what its publisher recalled: the last good version is the way out", async () => {
    const { world } = await device();
    const agent = await harmed(world, HARMS["a changed byte"]!);
    world.fleet.serverDown = true;
    await world.fleet.promote("shop", "1.0.0", [
      { version: "1.1.0", reason: "loses orders", since: "2026-11-21T04:00:00Z" },
    ]);
    await agent.start();
    assert.equal(only(await agent.check("start")).result, "rolled-back");
    assert.deepEqual(world.running, ["1.0.0"]);
  });

  it("does not matter to a pointer to a slot that somebody brought: that is not started either", async () => {
    const { world } = await device();
    const agent = await harmed(world, async (disk, slot) => {
      const brought = `${SHOP}/slots/9.9.9-${"e".repeat(32)}`;
      await disk.makeDirectory(brought);
      await disk.makeDirectory(`${brought}/bin`);
      const record = fromUtf8(await disk.read(`${slot}/.upkeep-slot.json`, 10_000));
      const forged = record
        .replace(/"id":\{[^}]*\}/, `"id":{"version":"9.9.9","sha256":"${"e".repeat(64)}"}`)
        .replace(/"files":.*$/, `"files":[{"path":"bin","kind":"directory"}]}`);
      await writeAtomic(disk, `${brought}/.upkeep-slot.json`, toUtf8(forged), 0o444);
      await disk.removeFile(`${SHOP}/current`);
      await disk.link(`${SHOP}/current`, brought.slice(SHOP.length + 1));
    });
    await agent.start();
    assert.deepEqual(world.running, ["1.1.0"], "what was committed runs");
    assert.ok(!world.processes.started.some((program) => program.includes("9.9.9")));
    assert.equal(only(await agent.check("start")).result, "current");
    assert.ok(!(await world.disk.list(`${SHOP}/slots`)).some((name) => name.startsWith("9.9.9")));
  });

  it("is not replaced by what a mirror changed, and is when the mirror is right again", async () => {
    const { world } = await device();
    await offer(world, "1.2.0");
    const clock = world.clock as EagerClock;
    const first = await world.open();
    await first.start();
    await first.check("schedule");
    const agent = await harmed(world, async (disk, slot) => {
      for (const one of await disk.list(`${SHOP}/slots`))
        if (!slot.endsWith(one)) disk.tamper(`${SHOP}/slots/${one}/bin/service`, evil);
      disk.tamper(`${slot}/bin/service`, evil);
    });
    const target = "products/shop/1.2.0/shop.tar.gz";
    world.fleet.mirror.set(target, evil(world.fleet.targets.get(target)!));
    await agent.start();
    const refused = only(await agent.check("start"));
    assert.deepEqual([refused.result, refused.code], ["refused", "mirror/wrong-content"]);
    assert.deepEqual(world.running, []);
    world.fleet.mirror.clear();
    assert.equal(only(await agent.check("schedule")).result, "waiting", "not at every check");
    clock.setWall(clock.now() + 2 * MINUTE);
    assert.equal(only(await agent.check("schedule")).result, "repaired");
    assert.deepEqual(
      attempts(world)
        .slice(-2)
        .map(({ from, to, outcome }) => [from, to, outcome]),
      [
        ["1.2.0", "1.2.0", "refused"],
        ["1.2.0", "1.2.0", "success"],
      ],
    );
  });

  it("is not fetched without end when it is damaged again and again", async () => {
    const { world } = await device();
    const agent = await world.open();
    await agent.start();
    const results: string[] = [];
    for (let i = 0; i < 8; i++) {
      world.disk.tamper(`${await slotOf(world)}/bin/service`, evil);
      world.processes.kill(world.processes.running[0]!);
      await agent.tend();
      (world.clock as EagerClock).setWall(world.clock.now() + 2000);
      await world.clock.sleep(2000);
      await agent.tend();
      const result = only(await agent.check("schedule")).result;
      results.push(result);
      if (result !== "repaired") break;
    }
    assert.deepEqual(results, ["repaired", "repaired", "repaired", "repaired", "rolled-back"]);
    assert.deepEqual(world.running, ["1.0.0"]);
    assert.ok((await world.disk.list(`${SHOP}/slots`)).length <= 2);
  });

  it("is started again when somebody put its bytes back", async () => {
    const { world } = await device();
    let good: Uint8Array = new Uint8Array();
    const agent = await harmed(world, (disk, slot) =>
      disk.tamper(`${slot}/bin/service`, (bytes) => {
        good = bytes;
        return evil(bytes);
      }),
    );
    world.fleet.repositoryDown = true;
    await agent.start();
    world.disk.tamper(`${await slotOf(world)}/bin/service`, () => good);
    await agent.check("start");
    assert.deepEqual(world.running, ["1.1.0"]);
    assert.equal((await agent.status()).components[0]?.damage, null);
  });

  it("keeps the replacement whose program is not well: there is nothing better to go back to", async () => {
    const { world } = await device();
    // Only its start shows that it is sick: bytes that were good here, in a world that changed.
    await offer(world, "1.2.0");
    const first = await world.open();
    await first.start();
    await first.check("schedule");
    const agent = await harmed(world, HARMS["a changed byte"]!);
    world.processes.mood = "sick";
    await agent.start();
    const result = only(await agent.check("start"));
    assert.deepEqual([result.result, result.code], ["failed", "process/unhealthy"]);
    const report = attempts(world).at(-1)!;
    assert.deepEqual([report.from, report.to, report.outcome], ["1.2.0", "1.2.0", "failure"]);
    assert.match(await slotOf(world), /-r1$/);
    assert.deepEqual(world.running, ["1.2.0"]);
    world.processes.mood = null;
    assert.equal(only(await agent.check("schedule")).result, "current");
    assert.deepEqual((await agent.status()).components[0]?.skipped, []);
  });
});

describe("the running agent", () => {
  it("does not wait for its first check with what it could not start", async () => {
    const clock = new ScriptedClock();
    const world = new AgentWorld(clock);
    world.settings = { startSpread: 3600 };
    await offer(world, "1.0.0");
    const first = await world.open();
    await first.start();
    await ended(clock, first.check("start"));
    const agent = await harmed(world, HARMS["a changed byte"]!);
    const stop = new AbortController();
    const done = runAgent(agent, stop.signal);
    const began = clock.monotonic();
    await until(clock, () => attempts(world).length === 2);
    assert.ok(clock.monotonic() - began < 5 * MINUTE, "long before its first check was due");
    assert.deepEqual(world.running, ["1.0.0"]);
    assert.equal(attempts(world).at(-1)?.step, "repaired");
    stop.abort(new Error("the test is over"));
    await ended(clock, done);
  });
});

describe("what is no service", () => {
  it("a job is put back and not run again", async () => {
    const { world, agent } = await installedAs("well job", {
      health: {
        kind: "exit-code",
        startSeconds: 5,
        intervalSeconds: 1,
        timeoutSeconds: 1,
        successes: 1,
        failures: 1,
        probationSeconds: 0,
      },
    });
    const runs = world.processes.started.length;
    world.disk.tamper(`${await slotOf(world)}/bin/service`, evil);
    await agent.verify();
    assert.equal(await world.disk.readLink(`${SHOP}/current`).then((link) => link.includes("-r")), false);
    assert.equal(only(await agent.check("schedule")).result, "repaired");
    assert.equal(world.processes.started.length, runs);
    assert.match(await slotOf(world), /-r1$/);
  });
});

describe("a rollback", () => {
  it("does not start the version before if that was damaged meanwhile, and has it repaired", async () => {
    const { world, agent } = await device();
    const old = await slotOf(world);
    await offer(world, "1.2.0", "sick");
    world.atPoint = async (name) => {
      if (name === "before probation:start-and-watch-new") world.disk.tamper(`${old}/bin/service`, evil);
    };
    const result = only(await agent.check("schedule"));
    assert.equal(result.result, "repaired", result.reason);
    assert.deepEqual(world.running, ["1.1.0"]);
    assert.ok(!world.processes.texts.some((text) => text.includes("EVIL")));
    const ends = attempts(world).slice(-2);
    assert.deepEqual(
      ends.map(({ from, to, outcome, running }) => [from, to, outcome, running]),
      [
        ["1.1.0", "1.2.0", "rolled-back", null],
        ["1.1.0", "1.1.0", "success", "1.1.0"],
      ],
    );
  });
});

describe("damage in what runs", () => {
  it("is told at once and repaired when the program ends; the healthy program is left alone", async () => {
    const clock = new ScriptedClock();
    const world = new AgentWorld(clock);
    await offer(world, "1.0.0");
    const agent = await world.open();
    const stop = new AbortController();
    const done = runAgent(agent, stop.signal);
    await until(clock, () => attempts(world).length === 1);
    assert.deepEqual(world.running, ["1.0.0"]);
    const program = world.processes.running[0]!;
    world.disk.tamper(program, evil, "unseen");
    await clock.advance(HOUR);
    assert.equal((await agent.status()).components[0]?.damage, null, "nobody looks every hour");
    // A machine that slept for a day.
    clock.setWall(clock.now() + DAY);
    await until(clock, () =>
      world.fleet.reports.some((report) => report.kind === "alarm" && report.code === "slot/damaged"),
    );
    await clock.advance(MINUTE);
    assert.match((await agent.status()).components[0]?.damage ?? "", /has other bytes/);
    assert.deepEqual(world.processes.running, [program], "it was not stopped");
    await until(clock, async () => (await agent.status()).components[0]!.why.includes("is ready"));
    assert.deepEqual(world.processes.running, [program], "nor after its replacement was ready");
    world.processes.kill(program);
    await until(clock, () => attempts(world).length === 2);
    assert.deepEqual(world.running, ["1.0.0"]);
    assert.match(world.processes.running[0]!, /-r1\//);
    assert.equal(attempts(world).at(-1)?.step, "repaired");
    assert.ok(!world.processes.texts.some((text) => text.includes("EVIL")));
    stop.abort(new Error("the test is over"));
    await ended(clock, done);
  });

  it("is repaired after a day all the same, and at once when somebody asks", async () => {
    for (const byHand of [true, false]) {
      const { world, agent } = await device();
      const clock = world.clock as EagerClock;
      const program = world.processes.running[0]!;
      world.disk.tamper(program, evil);
      assert.deepEqual(
        (await agent.verify()).map(({ version, whole }) => [version, whole]),
        [
          ["1.1.0", false],
          ["1.0.0", true],
        ],
      );
      const waits = only(await agent.check("schedule"));
      assert.deepEqual([waits.result, waits.code], ["waiting", "agent/repair-waits"]);
      assert.deepEqual(world.processes.running, [program]);
      if (!byHand) clock.setWall(clock.now() + DAY);
      assert.equal(only(await agent.check(byHand ? "operator" : "schedule")).result, "repaired");
      assert.match(world.processes.running[0]!, /-r1\//);
    }
  });

  it("is remembered by an agent that takes the program over", async () => {
    const { world, agent } = await device();
    world.disk.tamper(world.processes.running[0]!, evil);
    await agent.verify();
    world.restart(world.disk.clone(), "killed");
    const next = await world.open();
    await next.start();
    assert.match((await next.status()).components[0]?.damage ?? "", /has other bytes/);
    assert.deepEqual(world.running, ["1.1.0"]);
  });
});

describe("what is read before a start", () => {
  for (const [verify, found] of [
    ["always", true],
    ["changed", false],
  ] as const) {
    it(`finds a rotten bit ${found ? "" : "only once a day "}with verify = "${verify}"`, async () => {
      const { world, agent } = await device();
      await agent.stop();
      world.settings = { startSpread: 0, verify };
      const second = await world.open();
      await second.start();
      await second.stop();
      world.disk.tamper(`${await slotOf(world)}/bin/service`, evil, "unseen");
      const third = await world.open();
      await third.start();
      assert.deepEqual(world.running, found ? [] : ["1.1.0"]);
      (world.clock as EagerClock).setWall(world.clock.now() + DAY);
      await third.patrol();
      assert.match((await third.status()).components[0]?.damage ?? "", /has other bytes/);
    });
  }

  it('finds a byte that somebody changed with verify = "changed" as well', async () => {
    const { world, agent } = await device();
    await agent.stop();
    world.settings = { startSpread: 0, verify: "changed" };
    const second = await world.open();
    await second.start();
    await second.stop();
    world.disk.tamper(`${await slotOf(world)}/bin/service`, evil);
    const third = await world.open();
    await third.start();
    assert.deepEqual(world.running, []);
  });
});
