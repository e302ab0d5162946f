// The agent and manners: what waits, what it says of it, what survives a kill, and what a clock cannot change.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DiskError, writeAtomic } from "../core/disk.ts";
import { toUtf8 } from "../core/bytes.ts";
import { DAY, formatInstant, HOUR, MINUTE, parseInstant } from "../core/instant.ts";
import type { Line } from "../manners/policy.ts";
import { AgentWorld, EagerClock, FOLDER } from "../testing/agent-world.ts";
import type { Agent } from "./agent.ts";
import type { ComponentResult } from "./update-component.ts";

const SHOP = `${FOLDER}/components/shop`;

class Site {
  readonly clock = new EagerClock();
  readonly world = new AgentWorld(this.clock);
  agent!: Agent;

  static async with(lines: readonly Line[], settings: AgentWorld["settings"] = {}): Promise<Site> {
    const site = new Site();
    site.world.hooks.set("/opt/is-parked", () => ({ kind: "exit", code: 0, output: "" }));
    site.world.settings = { startSpread: 0, ...settings };
    site.group(lines);
    await site.offer("1.0.0");
    await site.start();
    assert.equal((await site.check()).result, "updated", "a first installation disturbs nobody");
    return site;
  }

  group(lines: readonly Line[]): void {
    this.world.fleet.editAssignment = (assignment) => ({
      ...assignment,
      policy: { format: 1, lines: [...lines] },
    });
  }

  async start(): Promise<void> {
    this.agent = await this.world.open();
    await this.agent.start();
  }

  async restart(how: "killed" | "power-cut"): Promise<void> {
    this.world.restart(this.world.disk.clone(), how);
    await this.start();
  }

  async offer(version: string, changes = {}, behaviour = "well"): Promise<void> {
    await this.world.fleet.publish("shop", version, behaviour, changes);
    await this.world.fleet.promote("shop", version);
  }

  async check(asked = false): Promise<ComponentResult> {
    const { components, failure } = await this.agent.check(asked ? "operator" : "schedule", asked);
    assert.equal(failure, null, failure?.message);
    return components[0]!;
  }

  /** Time passes, and the agent attends as it would. */
  async pass(ms: number): Promise<void> {
    await this.clock.sleep(ms);
    await this.agent.attend();
  }

  get running(): string | undefined {
    return this.world.running[0];
  }

  async status() {
    return (await this.agent.status()).components[0]!;
  }
}

const ASK: Line = { when: "ask" };
const waits = (result: ComponentResult, code: string): void => {
  assert.deepEqual([result.result, result.code], ["waiting", code], result.reason);
};

describe("an update that waits", () => {
  it("is fetched, verified and staged, while the old version serves on", async () => {
    const site = await Site.with([ASK]);
    await site.offer("1.1.0");
    waits(await site.check(), "manners/asks");
    assert.equal(site.running, "1.0.0");
    const status = await site.status();
    assert.deepEqual(status.attempt?.state, "ready");
    assert.deepEqual(status.wait, { rule: "asks", until: null, command: "upkeep agent answer shop accept" });
    assert.match(status.why, /A person is asked .*`upkeep agent answer shop accept` changes it/);
    assert.equal(site.agent.components[0]!.openAttempt?.ready?.rule, "asks");
  });

  it("goes on waiting after a kill and after a power cut, with its reason, and is not fetched again", async () => {
    for (const how of ["killed", "power-cut"] as const) {
      const site = await Site.with([ASK]);
      await site.offer("1.1.0");
      await site.check();
      await site.restart(how);
      assert.equal(site.running, "1.0.0");
      assert.equal(site.agent.components[0]!.openAttempt?.ready?.rule, "asks");
      const before = site.world.fleet.reports.length;
      waits(await site.check(), "manners/asks");
      assert.equal(site.world.fleet.reports.length, before);
      await site.agent.manners.answer("shop", "accept", 0);
      await site.pass(0);
      assert.equal(site.running, "1.1.0");
    }
  });

  it("is activated without a server once its turn has come, because it was verified before", async () => {
    const site = await Site.with([ASK]);
    await site.offer("1.1.0");
    await site.check();
    site.world.fleet.serverDown = true;
    site.world.fleet.repositoryDown = true;
    await site.agent.manners.answer("shop@1.1.0", "accept", 0);
    await site.pass(1);
    assert.equal(site.running, "1.1.0");
    assert.deepEqual(site.agent.manners.memory.pending, []);
  });

  it("is replaced by a newer release, and an answer to the old one says nothing about that", async () => {
    const site = await Site.with([ASK]);
    await site.offer("1.1.0");
    await site.check();
    await site.agent.manners.answer("shop@1.1.0", "skip", 0);
    waits(await site.check(), "manners/skipped");
    await site.offer("1.2.0");
    waits(await site.check(), "manners/asks");
    await assert.rejects(site.agent.manners.answer("shop@1.1.0", "accept", 0), {
      code: "manners/unknown-prompt",
    });
    await site.agent.manners.answer("shop", "accept", 0);
    assert.equal((await site.check()).result, "updated");
    assert.equal(site.running, "1.2.0");
  });

  it("ends when its release is recalled while it waits", async () => {
    const site = await Site.with([ASK]);
    await site.offer("1.1.0");
    await site.check();
    await site.world.fleet.promote("shop", "1.0.0", [
      { version: "1.1.0", reason: "It loses data.", since: "2026-11-21T04:00:00Z" },
    ]);
    await site.check();
    assert.equal(site.agent.components[0]!.openAttempt, null);
    await site.pass(DAY);
    assert.equal(site.running, "1.0.0");
  });

  it("stays where it is while the server holds its product back, even after its deadline", async () => {
    const site = await Site.with([{ when: "ask", deadline: { within: 3600 } }]);
    await site.offer("1.1.0");
    await site.check();
    site.world.fleet.assigned.set("shop", { product: "shop", channel: "stable", hold: { reason: "paused" } });
    await site.check();
    await site.pass(2 * HOUR);
    assert.equal(site.running, "1.0.0");
    assert.equal((await site.status()).wait?.rule, "server-hold");
  });

  it("is not tried again and again when this machine is in its way", async () => {
    const site = await Site.with([ASK]);
    await site.offer("1.1.0");
    await site.check();
    await site.agent.manners.answer("shop", "accept", 0);
    const checks = site.world.fleet.checkIns.length;
    let tries = 0;
    site.world.atPoint = async (name) => {
      if (name !== "before activating:look-at-old") return;
      tries++;
      throw new DiskError("disk/io", "The disk is in the way.");
    };
    for (let i = 0; i < 24; i++) await site.pass(5000);
    assert.ok(tries >= 1 && tries <= 3, `${tries} tries in two minutes`);
    assert.ok(site.world.fleet.checkIns.length - checks <= 3, "nor is the server asked each time");
    site.world.atPoint = async () => {};
    await site.pass(HOUR);
    assert.equal(site.running, "1.1.0");
  });

  it("stays where it is while something of the device has to be mended", async () => {
    const site = await Site.with([ASK]);
    await site.offer("1.1.0");
    await site.check();
    await site.agent.manners.answer("shop", "accept", 0);
    site.world.grounded = new DiskError("disk/io", "Others may write the folder.");
    await site.restart("killed");
    await site.pass(DAY);
    assert.equal(site.running, "1.0.0");
  });

  it("lets a security release through at once where only features wait", async () => {
    const site = await Site.with([{ kinds: ["security"], when: "now" }, ASK]);
    await site.offer("1.1.0");
    waits(await site.check(), "manners/asks");
    await site.offer("1.1.1", { security: true });
    assert.equal((await site.check()).result, "updated");
    assert.equal(site.running, "1.1.1");
  });

  it("stays a security release when a feature takes the place of one that waited", async () => {
    const site = await Site.with([{ kinds: ["security"], when: "ask", deadline: { within: 7200 } }, ASK]);
    await site.offer("1.1.0", { security: true });
    await site.check();
    const { since } = site.agent.manners.memory.pending[0]!;
    await site.pass(HOUR);
    await site.offer("1.2.0");
    const result = await site.check();
    waits(result, "manners/asks");
    assert.equal(result.until, parseInstant(since) + 2 * HOUR, "the deadline goes on from the first");
    await site.pass(HOUR);
    assert.equal(site.running, "1.2.0");
  });

  it("is done at once for a person who asks for it, but not over a lock or a hold", async () => {
    const site = await Site.with([{ when: "ask", activeHours: [{ from: "00:00", to: "24:00" }] }]);
    await site.offer("1.1.0");
    await site.check();
    const component = site.agent.components[0]!;
    await site.agent.manners.locks(component).take("backup", { lease: 60, why: "writing" });
    waits(await site.check(true), "manners/busy");
    await site.agent.manners.locks(component).release("backup");
    await site.agent.manners.change({ holds: [{ scope: "shop", until: null }] });
    waits(await site.check(true), "manners/held");
    await site.agent.manners.change({ holds: [] });
    assert.equal((await site.check(true)).result, "updated");
  });
});

describe("an owner's hold", () => {
  it("outlasts everything but the deadline, which is kept to the minute", async () => {
    const site = await Site.with([{ when: "now", deadline: { within: 2 * 24 * 3600, warn: [3600] } }]);
    await site.agent.manners.change({ holds: [{ scope: "*", until: null }] });
    await site.offer("1.1.0");
    const result = await site.check();
    waits(result, "manners/held");
    await site.pass(47 * HOUR);
    assert.equal(site.running, "1.0.0");
    assert.ok(
      site.world.lines.some(({ event }) => event === "deadline-warning"),
      "people were warned",
    );
    await site.pass(HOUR - MINUTE);
    assert.equal(site.running, "1.0.0");
    await site.pass(MINUTE);
    assert.equal(site.running, "1.1.0");
  });

  it("ends by itself when it has an end", async () => {
    const site = await Site.with([]);
    const until = formatInstant(site.clock.now() + HOUR);
    await site.agent.manners.change({ holds: [{ scope: "shop", until }] });
    await site.offer("1.1.0");
    assert.equal((await site.check()).until, parseInstant(until));
    await site.pass(HOUR);
    assert.equal(site.running, "1.1.0");
  });

  it("does not keep bytes from coming, but opting out does, until the deadline is near", async () => {
    const site = await Site.with([{ when: "now", deadline: { within: 7200 } }]);
    await site.agent.manners.change({ optedOut: ["shop"] });
    await site.offer("1.1.0");
    waits(await site.check(), "manners/opted-out");
    const open = () => site.agent.components[0]!.openAttempt;
    assert.equal(open(), null, "nothing was begun");
    await site.clock.sleep(HOUR + 1);
    waits(await site.check(), "manners/opted-out");
    assert.equal(open()?.staged, true, "it is at hand");
    await site.pass(HOUR);
    assert.equal(site.running, "1.1.0");
  });

  it("is remembered over a power cut", async () => {
    const site = await Site.with([]);
    await site.agent.manners.change({ holds: [{ scope: "shop", until: null }] });
    await site.restart("power-cut");
    await site.offer("1.1.0");
    waits(await site.check(), "manners/held");
  });
});

describe("a clock that is set", () => {
  it("back or ahead, changes no wait and no deadline", async () => {
    for (const off of [-DAY, 10 * DAY, -400 * DAY]) {
      const site = await Site.with([{ when: "ask", deadline: { within: 2 * 3600 } }]);
      await site.offer("1.1.0");
      const { until } = await site.check();
      const before = site.clock.now();
      site.clock.setWall(before + off);
      await site.pass(HOUR);
      assert.equal(site.running, "1.0.0", `set by ${off / DAY} days`);
      assert.equal((await site.status()).until, formatInstant(until!));
      // Its server's clock is another one.
      site.world.fleet.serverDown = true;
      await site.pass(HOUR);
      assert.equal(site.running, "1.1.0", `set by ${off / DAY} days`);
    }
  });

  it("back while the machine was off, is not before what was known", async () => {
    const site = await Site.with([{ when: "ask", deadline: { within: 2 * 3600 } }]);
    await site.offer("1.1.0");
    await site.check();
    await site.pass(HOUR);
    site.clock.setWall(site.clock.now() - DAY);
    await site.restart("power-cut");
    site.world.fleet.serverDown = true;
    await site.pass(HOUR + MINUTE);
    assert.equal(site.running, "1.1.0");
  });
});

describe("a deadline that says stop", () => {
  const STOP: Line = { when: "ask", deadline: { within: 3600, after: "stop" } };

  it("lets the old version run no longer when the update cannot be had, and starts the update when it can", async () => {
    const site = await Site.with([STOP]);
    await site.agent.manners.aim("shop", {
      version: "1.1.0",
      manifestSha256: "ab".repeat(32),
      kind: "feature",
    });
    await site.pass(HOUR);
    assert.deepEqual(site.world.running, []);
    const status = await site.status();
    assert.match(status.why, /1\.1\.0 was to run here by .*nothing older run/);
    for (let i = 0; i < 3; i++) {
      await site.clock.sleep(MINUTE);
      await site.agent.tend();
    }
    assert.deepEqual(site.world.running, [], "nobody starts it again");
    await site.offer("1.1.0");
    assert.equal((await site.check()).result, "updated");
    assert.equal(site.running, "1.1.0");
  });

  it("holds after a power cut before anything signed says what time it is", async () => {
    const site = await Site.with([STOP]);
    await site.agent.manners.aim("shop", {
      version: "1.1.0",
      manifestSha256: "ab".repeat(32),
      kind: "feature",
    });
    await site.pass(HOUR);
    await site.restart("power-cut");
    assert.deepEqual(site.world.running, []);
  });

  it("takes nothing away by a wall clock that is ahead at a start of the machine", async () => {
    const site = await Site.with([STOP]);
    await site.agent.manners.aim("shop", {
      version: "1.1.0",
      manifestSha256: "ab".repeat(32),
      kind: "feature",
    });
    site.clock.setWall(site.clock.now() + 30 * DAY);
    await site.restart("power-cut");
    site.world.fleet.serverDown = true;
    await site.pass(MINUTE);
    assert.equal(site.running, "1.0.0");
  });
});

describe("locks of applications", () => {
  it("keep an update waiting until they are gone, and say who holds them", async () => {
    const site = await Site.with([{ when: "after-safe-point" }]);
    await writeAtomic(site.world.disk, `${SHOP}/data/x`, toUtf8(""));
    await site.agent.manners.locks(site.agent.components[0]!).take("till", { lease: 600, why: "a sale" });
    await site.offer("1.1.0");
    const result = await site.check();
    waits(result, "manners/busy");
    assert.match(result.reason, /till is in the middle of something: a sale/);
    await site.world.disk.removeFile(`${SHOP}/locks/till`);
    await site.pass(1);
    assert.equal(site.running, "1.1.0");
  });

  it("of a holder that crashed end with their lease, or at once when they name its process", async () => {
    const site = await Site.with([]);
    const locks = site.agent.manners.locks(site.agent.components[0]!);
    await locks.take("till", { lease: 600 });
    site.world.living.add(7);
    await locks.take("guard", { lease: 86_400, process: { pid: 7, startTime: "1" } });
    await site.offer("1.1.0");
    waits(await site.check(), "manners/busy");
    site.world.living.clear();
    await site.pass(10 * MINUTE - 1);
    assert.equal(site.running, "1.0.0");
    await site.pass(1);
    assert.equal(site.running, "1.1.0");
  });

  it("that say something that cannot be read hold for ten minutes all the same", async () => {
    const site = await Site.with([]);
    await site.agent.manners.locks(site.agent.components[0]!).take("x", {});
    await writeAtomic(site.world.disk, `${SHOP}/locks/till`, toUtf8("{{{"));
    await site.world.disk.removeFile(`${SHOP}/locks/x`);
    await site.offer("1.1.0");
    waits(await site.check(), "manners/busy");
    await site.pass(10 * MINUTE);
    assert.equal(site.running, "1.1.0");
  });
});

describe("an interlock", () => {
  const settings = {
    policy: { interlocks: [{ name: "parked", command: ["/opt/is-parked"], timeoutSeconds: 3 }] },
  };

  it("is asked before anything is stopped, and each answer but yes keeps the update waiting", async () => {
    const site = await Site.with([], settings);
    const asked = site.world.asked.length;
    await site.offer("1.1.0");
    for (const [answer, reason] of [
      [{ kind: "exit", code: 1, output: "it drives\n" }, /it drives/],
      [{ kind: "exit", code: 75, output: "30" }, /later/],
      [{ kind: "exit", code: null, output: "" }, /no/],
      [{ kind: "timeout" }, /within 3 s/],
      [{ kind: "not-started", what: "It is not there." }, /not there/],
    ] as const) {
      site.world.hooks.set("/opt/is-parked", () => answer);
      const result = await site.check();
      waits(result, "manners/interlock");
      assert.match(result.reason, reason);
      assert.equal(site.running, "1.0.0");
    }
    assert.equal(site.world.asked.length > asked, true);
    assert.deepEqual(site.world.asked.at(-1)?.env, {
      UPKEEP_PRODUCT: "shop",
      UPKEEP_VERSION: "1.1.0",
      UPKEEP_KIND: "feature",
    });
    site.world.hooks.set("/opt/is-parked", () => ({ kind: "exit", code: 0, output: "" }));
    await site.pass(1);
    assert.equal(site.running, "1.1.0");
  });

  it("says when to ask again", async () => {
    const site = await Site.with([], settings);
    site.world.hooks.set("/opt/is-parked", () => ({ kind: "exit", code: 75, output: "90\n" }));
    await site.offer("1.1.0");
    const { until } = await site.check();
    assert.equal(Math.abs(until! - site.clock.now() - 90_000) < 5000, true);
  });

  it("is not run while another rule makes the update wait", async () => {
    const site = await Site.with([ASK], settings);
    site.world.hooks.set("/opt/is-parked", () => ({ kind: "exit", code: 0, output: "" }));
    const asked = site.world.asked.length;
    await site.offer("1.1.0");
    await site.check();
    await site.pass(1);
    assert.equal(site.world.asked.length, asked);
  });
});

describe("the owner's executable for prompts", () => {
  const settings = { policy: { language: "de", prompt: { command: ["/opt/ask"] } } };

  it("is run once for a release, in the language of the device, and its answer counts", async () => {
    const site = await Site.with([ASK], settings);
    site.world.hooks.set("/opt/ask", () => ({ kind: "exit", code: 0, output: "later\n" }));
    await site.offer("1.1.0");
    await site.check();
    await site.pass(1);
    await site.agent.prompter.settle();
    assert.equal(site.world.asked.length, 1);
    assert.match(site.world.asked[0]!.env["UPKEEP_PROMPT_TEXT"]!, /shop 1\.1\.0 kann installiert werden/);
    assert.equal(site.agent.manners.memory.pending[0]!.answer?.choice, "later");
    await site.pass(3 * HOUR);
    assert.equal(site.world.asked.length, 1, "not before the later is over");
    site.world.hooks.set("/opt/ask", () => ({ kind: "exit", code: 0, output: "accept\n" }));
    await site.pass(HOUR);
    await site.agent.prompter.settle();
    assert.equal(site.world.asked.length, 2);
    await site.pass(1);
    assert.equal(site.running, "1.1.0");
  });

  it("answers nothing when it fails, and is not run again and again", async () => {
    const site = await Site.with([ASK], settings);
    site.world.hooks.set("/opt/ask", () => ({ kind: "exit", code: 1, output: "accept" }));
    await site.offer("1.1.0");
    await site.check();
    for (let i = 0; i < 4; i++) {
      await site.pass(MINUTE);
      await site.agent.prompter.settle();
    }
    assert.equal(site.world.asked.length, 1);
    assert.equal(site.agent.manners.memory.pending[0]!.answer, null);
    assert.equal(site.running, "1.0.0");
  });

  it("warns before a deadline without taking an answer", async () => {
    const site = await Site.with([{ when: "ask", deadline: { within: 7200, warn: [3600] } }], settings);
    site.world.hooks.set("/opt/ask", () => ({ kind: "exit", code: 0, output: "skip" }));
    await site.offer("1.1.0");
    await site.check();
    await site.pass(1);
    await site.agent.prompter.settle();
    await site.pass(HOUR);
    await site.agent.prompter.settle();
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(
      site.world.asked.map(({ env }) => env["UPKEEP_PROMPT"]),
      ["prompt", "warning"],
    );
    await site.pass(HOUR);
    assert.equal(site.running, "1.1.0", "a skip ends at the deadline");
  });
});

describe("the start of a device", () => {
  const BLOCK: Line = { when: "ask", atStart: "block", atStartSeconds: 60 };

  it("brings a product up to date before its old version serves, whatever else would wait", async () => {
    const site = await Site.with([BLOCK]);
    await site.offer("1.1.0");
    await site.restart("power-cut");
    assert.deepEqual(site.world.running, []);
    assert.match((await site.status()).why, /before 1\.0\.0 serves/);
    assert.equal((await site.check()).result, "updated");
    assert.equal(site.running, "1.1.0");
  });

  it("serves the old version after a check that found nothing newer", async () => {
    const site = await Site.with([BLOCK]);
    await site.restart("power-cut");
    assert.deepEqual(site.world.running, []);
    await site.check();
    assert.equal(site.running, "1.0.0");
  });

  it("serves the old version when nobody can be asked within the time", async () => {
    const site = await Site.with([BLOCK]);
    await site.restart("power-cut");
    site.world.fleet.serverDown = true;
    await site.agent.check("start");
    await site.pass(59_000);
    assert.deepEqual(site.world.running, []);
    await site.pass(1000);
    for (let i = 0; i < 4; i++) {
      await site.clock.sleep(5000);
      await site.agent.tend();
    }
    assert.equal(site.running, "1.0.0");
  });

  it("blocks nothing that runs already, nor what is new enough", async () => {
    const site = await Site.with([BLOCK]);
    await site.restart("killed");
    assert.equal(site.running, "1.0.0");
    const enough = await Site.with([{ ...BLOCK, servesFrom: "1.0.0" }]);
    await enough.restart("power-cut");
    assert.equal(enough.running, "1.0.0");
    const low = await Site.with([{ ...BLOCK, servesFrom: "1.0.1" }]);
    await low.restart("power-cut");
    assert.deepEqual(low.world.running, []);
  });
});

describe("what is remembered of manners", () => {
  it("is put aside when it cannot be read, and people hear of it", async () => {
    const site = await Site.with([ASK]);
    await writeAtomic(site.world.disk, `${FOLDER}/manners.json`, toUtf8("nonsense"));
    await site.restart("killed");
    const { notices } = await site.agent.status();
    assert.deepEqual(
      notices.map(({ code }) => code),
      ["manners/forgotten"],
    );
  });
});
