// The agent as a real process with a real service: the whole job, every kind of kill, and what an operator sees.

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { AttemptState, Effect } from "../../src/agent/attempt-table.ts";
import { eventually, Site, type Json } from "./_agent.ts";

/** A place in the state table at which the process ends itself. */
type Point = `${AttemptState}:${Effect}`;

let site: Site;
let minor = 0;
const next = (): string => `1.${++minor}.0`;

/** Exactly one process of exactly one whole version runs, and `current` names it. */
async function assertOne(version: string): Promise<void> {
  await site.until(version);
  assert.equal(site.services().length, 1, `${site.services().length} processes of the component`);
  const shop = join(site.device, "components/shop");
  assert.ok(readlinkSync(join(shop, "current")).startsWith(`slots/${version}-`));
  assert.deepEqual(
    readdirSync(join(shop, "slots")).filter((name) => name.startsWith(".tmp-")),
    [],
  );
}

const terminal = (version: string): readonly Json[] =>
  site.attempts().filter((report) => report["to"] === version);

before(async () => {
  site = await Site.create();
  site.publish("1.0.0");
  await site.startServer();
  site.enroll();
});
after(() => site.remove());

describe("the agent without a daemon", () => {
  it("installs what it is assigned, and leaves it running", async () => {
    const ran = site.update();
    assert.equal(ran.status, 0, ran.stderr);
    await assertOne("1.0.0");
    assert.equal(readFileSync(join(site.device, "components/shop/data/last-version"), "utf8"), "1.0.0");
  });

  it("says that there is nothing to do, and takes over what runs", async () => {
    const [pid] = site.services();
    assert.equal(site.update().status, 0);
    assert.deepEqual(site.services(), [pid]);
  });

  it("enrols a device once", () => {
    const again = site.upkeep(site.device, "agent", "enroll", "--server", "127.0.0.1:1", "--json");
    assert.notEqual(again.status, 0);
  });
});

describe("an agent killed at each step is SAFE", () => {
  // The turning points; test/e2e/agent-kill-matrix.test.ts cuts at every disk operation, in memory.
  const points = [
    "downloading:fetch",
    "staging:stage",
    "activating:note-activating",
    "activating:stop",
    "activating:switch-forward",
    "probation:start-and-watch-new",
    "committed:note-end",
    "committed:report",
  ] satisfies readonly Point[];
  for (const at of points) {
    const point = `after ${at}`;
    it(`killed ${point}`, async () => {
      const from = `1.${minor}.0`;
      const version = next();
      site.publish(version);
      const killed = site.updateUntil(version, point);
      assert.equal(killed.signal, "SIGKILL", `the point was not reached: ${killed.stdout}${killed.stderr}`);
      assert.ok(site.services().length <= 1);
      const answers = await site.ask();
      assert.ok(answers === null || answers === from || answers === version, `${answers} answers`);
      const ran = site.updateTo(version);
      assert.equal(ran.status, 0, `${ran.stdout}${ran.stderr}`);
      await assertOne(version);
      assert.deepEqual(
        terminal(version).map((report) => report["outcome"]),
        ["success"],
      );
    });
  }

  const back = [
    "rolling-back:note-rolling-back",
    "rolling-back:restore",
    "rolling-back:switch-back",
    "rolled-back:note-end",
  ] satisfies readonly Point[];
  for (const at of back) {
    const point = `after ${at}`;
    it(`killed ${point}`, async () => {
      const good = `1.${minor}.0`;
      await assertOne(good);
      const bad = `1.${minor}.1`;
      site.publish(bad, "process.exit(7)");
      assert.equal(site.updateUntil(bad, point).signal, "SIGKILL");
      const ran = site.update();
      assert.ok(ran.status === 0 || ran.status === 1, `${ran.stdout}${ran.stderr}`);
      await assertOne(good);
      assert.deepEqual(
        terminal(bad).map((report) => [report["outcome"], report["code"], report["running"]]),
        [["rolled-back", "process/exited", good]],
      );
      const version = next();
      site.publish(version);
      assert.equal(site.updateTo(version).status, 0);
      await assertOne(version);
    });
  }
});

describe("an agent killed inside a system call is SAFE", () => {
  const strace = existsSync("/usr/bin/strace");
  for (const [call, times] of [
    ["fsync", [5, 23, 41]],
    ["rename", [4, 12]],
    ["symlink", [1]],
  ] as const) {
    for (const when of times) {
      it(`at ${call} number ${when}`, { skip: strace ? false : "strace is not installed" }, async () => {
        const from = `1.${minor}.0`;
        const version = next();
        site.publish(version);
        // One thread for the disk, so that the count means something.
        const killed = site.updateUntil(
          version,
          "nowhere",
          [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            `trace=${call}`,
            "-e",
            `inject=${call}:signal=SIGKILL:when=${when}`,
          ],
          { UV_THREADPOOL_SIZE: "1" },
        );
        // strace ends the way its tracee did; a count that is not reached is an update that went through.
        const answers = await site.ask();
        assert.ok(
          answers === null || answers === from || answers === version,
          `${answers}; ${killed.stderr}`,
        );
        const ran = site.update();
        assert.equal(ran.status, 0, `${ran.stdout}${ran.stderr}`);
        await assertOne(version);
        assert.deepEqual(
          terminal(version).map((report) => report["outcome"]),
          ["success"],
        );
      });
    }
  }
});

describe("the running agent", () => {
  it("adopts what runs, updates at a wake-up, and is asked over its socket", async () => {
    const [pid] = site.services();
    site.startAgent();
    await eventually("the agent is connected", () =>
      existsSync(join(site.device, "control.sock")) && site.status()["wakeUps"] === "connected" ? true : null,
    );
    assert.deepEqual(site.services(), [pid], "no restart of a component because of its agent");
    const version = next();
    site.publish(version);
    site.ok(site.upkeep(site.operator, "fleet", "wake"));
    await eventually("the update at a wake-up", async () => ((await site.ask()) === version ? true : null));
    await eventually("its commit", () =>
      JSON.stringify(site.status()).includes(`"committed":"${version}"`) ? true : null,
    );
    await assertOne(version);
    const ran = site.update();
    assert.equal(ran.status, 0, ran.stderr);
    const status = site.status();
    assert.equal(status["live"], true);
    assert.match(String(status["why"]), /next check is at/);
    const second = site.upkeep(site.device, "agent", "run");
    assert.equal(second.status, 4);
    assert.match(second.stderr, /agent\/locked/);
  });

  it("starts again what somebody killed", async () => {
    const [pid] = site.services();
    process.kill(pid!, "SIGKILL");
    await eventually("another process", () => {
      const [now] = site.services();
      return now !== undefined && now !== pid ? true : null;
    });
    await assertOne(`1.${minor}.0`);
  });

  it("skips what it went back from by hand until it is told to try it again", async () => {
    site.ok(site.upkeep(site.device, "agent", "rollback", "shop"));
    await site.until(`1.${minor - 1}.0`);
    assert.match(site.update().stdout, /"result":"held"/);
    const again = site.ok(site.upkeep(site.device, "agent", "update", "--retry-skipped", "--json"));
    assert.match(again.stdout, /"result":"updated"/);
    await assertOne(`1.${minor}.0`);
    assert.match(site.agentLog, /agent\/skip-list-forgotten/);
  });

  it("goes back by hand, and forward with the next release", async () => {
    const ran = site.upkeep(site.device, "agent", "rollback", "shop", "--json");
    assert.equal(ran.status, 0, ran.stderr);
    await site.until(`1.${minor - 1}.0`);
    const version = next();
    site.publish(version);
    assert.equal(site.updateTo(version).status, 0);
    await assertOne(version);
  });

  it("is followed by another after SIGKILL, which takes its component over", async () => {
    const [pid] = site.services();
    await site.stopAgent("SIGKILL");
    assert.deepEqual(site.services(), [pid]);
    site.startAgent();
    await eventually("the agent answers", () =>
      site.upkeep(site.device, "agent", "status").stdout.includes("is waiting") ? true : null,
    );
    assert.deepEqual(site.services(), [pid]);
  });

  it("refuses a tampered artifact with a code, and takes the right one when it is back", async () => {
    const version = next();
    site.publish(version, "", ["--no-delta"]);
    const targets = join(site.operator, `repository/targets/products/shop/${version}`);
    const name = readdirSync(targets).find((file) => file.endsWith(".tar"))!;
    const good = readFileSync(join(targets, name));
    const bad = Buffer.from(good);
    bad[bad.length >> 1]! ^= 1;
    writeFileSync(join(targets, name), bad);
    const ran = site.updateTo(version);
    assert.equal(ran.status, 3, `${ran.stdout}${ran.stderr}`);
    assert.equal(ran.json["code"], "mirror/wrong-content");
    await assertOne(`1.${minor - 1}.0`);
    // The wake-up tried it, and then the operator: two attempts, one report each.
    const reports = terminal(version);
    assert.ok(reports.length > 0 && reports.every((report) => report["outcome"] === "refused"));
    assert.equal(new Set(reports.map((report) => report["attempt"])).size, reports.length);
    writeFileSync(join(targets, name), good);
    assert.equal(site.updateTo(version).status, 0);
    await assertOne(version);
  });

  it("says that the server is away, loses no report, and goes on when it is back", async () => {
    await site.stopServer();
    const away = site.update();
    assert.equal(away.status, 5, `${away.stdout}${away.stderr}`);
    assert.ok(String(away.json["code"]).length > 0);
    await site.until(`1.${minor}.0`);
    const version = next();
    site.publish(version);
    await site.serve();
    assert.equal(site.updateTo(version).status, 0);
    await assertOne(version);
    assert.equal(site.status()["reportsWaiting"], 0);
  });

  it("stops its component when it is stopped itself", async () => {
    await site.stopAgent("SIGTERM");
    assert.deepEqual(site.services(), []);
    assert.equal(await site.ask(), null);
    const status = site.status();
    assert.deepEqual([status["live"], status["doing"]], [false, "stopped"]);
  });
});
