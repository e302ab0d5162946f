// What a handler installs: only by a program that the owner named, step by step, taken back when it is not well, and whole after a kill at any step.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { exists, makeDirectories, writeAtomic } from "../core/disk.ts";
import { needsOfKind, type ComponentKind } from "../release/component-kind.ts";
import type { HandlerStep } from "../process/handler-protocol.ts";
import type { AttemptReport } from "../report/report.ts";
import { AgentWorld, FOLDER } from "../testing/agent-world.ts";
import type { Agent } from "./agent.ts";
import type { CheckResult } from "./check-result.ts";
import { parseSettings } from "./settings.ts";

const PROGRAM = "/opt/handlers/deb";
const KIND: ComponentKind = {
  kind: "handler",
  handler: "debian-package",
  file: "bin/service",
  settings: { package: "base" },
};

async function offer(world: AgentWorld, version: string): Promise<void> {
  await world.fleet.publish("base", version, "data", { component: KIND, ...needsOfKind(KIND) });
  await world.fleet.promote("base", version);
}

async function device(handler: object = { program: PROGRAM }): Promise<{ world: AgentWorld; agent: Agent }> {
  const world = new AgentWorld();
  world.settings = parseSettings({ startSpread: 0, handlers: { "debian-package": handler } } as never);
  await makeDirectories(world.disk, "/opt/handlers");
  await writeAtomic(world.disk, PROGRAM, toUtf8("handler"), 0o755);
  const agent = await world.open();
  await agent.start();
  return { world, agent };
}

const baseOf = (result: CheckResult) => {
  assert.equal(result.failure, null, result.failure?.message);
  return result.components.find(({ product }) => product === "base")!;
};
const check = async (agent: Agent) => baseOf(await agent.check("operator"));
const ends = (world: AgentWorld): readonly string[] =>
  world.fleet.reports
    .filter((report): report is AttemptReport => report.kind === "attempt")
    .map(({ to, outcome, code }) => [to, outcome, code ?? ""].join(" ").trim());

describe("a component that a handler installs", () => {
  it("goes through its steps in order, with its file, its settings and one id", async () => {
    const { world, agent } = await device();
    await offer(world, "1.0.0");
    const result = await check(agent);
    assert.deepEqual([result.result, result.running], ["updated", "1.0.0"]);
    assert.match(result.reason, /by the handler debian-package/);
    const steps = ["prepare", "install", "verify", "commit", "cleanup"];
    assert.deepEqual(
      world.handlers.steps,
      steps.map((step) => `${step} 1.0.0`),
    );
    assert.equal(new Set(world.handlers.asked.map(({ attempt }) => attempt)).size, 1);
    const { to, from, settings, state, product } = world.handlers.asked[1]!;
    assert.match(to!.file, /\/components\/base\/slots\/1\.0\.0-[0-9a-f]+\/bin\/service$/);
    assert.deepEqual([from, { ...settings }, product], [null, { package: "base" }, "base"]);
    assert.equal((await world.disk.stat(state)).mode, 0o700);
    assert.deepEqual(world.handlers.programs[0], PROGRAM);
    assert.deepEqual(world.processes.started, []);
    await offer(world, "1.1.0");
    await check(agent);
    assert.equal(world.handlers.asked.at(-1)!.from!.version, "1.0.0");
    assert.equal(world.handlers.installed, "1.1.0");
  });

  for (const step of ["install", "verify", "commit"] as const)
    it(`goes back when "${step}" fails, and is not tried again`, async () => {
      const { world, agent } = await device();
      await offer(world, "1.0.0");
      await check(agent);
      await offer(world, "1.1.0");
      world.handlers.exit = (asked) => (asked.step === step && asked.to?.version === "1.1.0" ? 1 : 0);
      const result = await check(agent);
      assert.deepEqual([result.result, result.code], ["rolled-back", "process/handler-failed"]);
      assert.match(result.reason, new RegExp(`did not carry out "${step}".*it was scripted so`));
      assert.deepEqual(world.handlers.steps.slice(-2), ["rollback 1.1.0", "cleanup 1.1.0"]);
      assert.equal(world.handlers.installed, "1.0.0");
      const asked = world.handlers.asked.length;
      assert.equal((await check(agent)).result, "held");
      assert.equal(world.handlers.asked.length, asked);
      assert.deepEqual(ends(world), ["1.0.0 success", "1.1.0 rolled-back process/handler-failed"]);
    });

  it("is not touched when its preparation fails", async () => {
    const { world, agent } = await device();
    await offer(world, "1.0.0");
    world.handlers.exit = ({ step }) => (step === "prepare" ? 1 : 0);
    assert.deepEqual(
      [(await check(agent)).code, world.handlers.steps],
      ["process/handler-failed", ["prepare 1.0.0", "cleanup 1.0.0"]],
    );
  });

  it("waits, and is not held against the release, when the handler says later", async () => {
    const { world, agent } = await device();
    await offer(world, "1.0.0");
    for (const busy of ["prepare", "install", "verify"] as const) {
      world.handlers.exit = ({ step }) => (step === busy ? 75 : 0);
      const result = await check(agent);
      assert.deepEqual([result.result, result.code], ["waiting", "process/handler-waits"], busy);
    }
    world.handlers.exit = () => 0;
    assert.equal((await check(agent)).result, "updated");
    assert.deepEqual(ends(world), ["1.0.0 success"]);
  });

  it("goes back by hand through the handler, too", async () => {
    const { world, agent } = await device();
    for (const version of ["1.0.0", "1.1.0"]) {
      await offer(world, version);
      await check(agent);
    }
    const before = world.handlers.steps.length;
    assert.equal((await agent.rollBack("base")).running, "1.0.0");
    assert.deepEqual(
      world.handlers.steps.slice(before),
      ["prepare", "install", "verify", "commit", "cleanup"].map((step) => `${step} 1.0.0`),
    );
    assert.equal(world.handlers.installed, "1.0.0");
  });

  it("keeps going back until the handler has done it", async () => {
    const { world, agent } = await device();
    await offer(world, "1.0.0");
    await check(agent);
    await offer(world, "1.1.0");
    world.handlers.exit = ({ step }) => (step === "verify" || step === "rollback" ? 1 : 0);
    await agent.check("operator");
    assert.equal(world.handlers.installed, "1.1.0");
    assert.equal(ends(world).length, 1, "no end before it is over");
    world.handlers.exit = () => 0;
    await agent.check("schedule");
    assert.equal(world.handlers.installed, "1.0.0");
    assert.deepEqual(ends(world), ["1.0.0 success", "1.1.0 rolled-back process/handler-failed"]);
  });
});

describe("which handler may be used", () => {
  /** What agent.toml says, and why it does not do. */
  const REFUSED: readonly (readonly [string, object, RegExp])[] = [
    ["is not set at all", { "raw-image": { program: PROGRAM } }, /agent\.toml sets none of that name/],
    [
      "is not for this product",
      { "debian-package": { program: PROGRAM, products: ["shop"] } },
      /is not for base/,
    ],
    ["is missing", { "debian-package": { program: "/opt/handlers/none" } }, /is missing/],
    [
      "can be written by others",
      { "debian-package": { program: "/opt/handlers/open" } },
      /others may write \/opt\/handlers\/open/,
    ],
    [
      "lies in a component that is not installed",
      { "debian-package": { component: "tools", program: "bin/deb" } },
      /tools, which holds it, is not installed/,
    ],
  ];
  for (const [what, handlers, why] of REFUSED)
    it(`is the owner's to say: one that ${what} makes the release wait`, async () => {
      const { world, agent } = await device();
      await agent.stop();
      await writeAtomic(world.disk, "/opt/handlers/open", toUtf8("handler"), 0o757);
      world.settings = parseSettings({ startSpread: 0, handlers } as never);
      const next = await world.open();
      await next.start();
      await offer(world, "1.0.0");
      const result = await check(next);
      assert.deepEqual([result.result, result.code], ["waiting", "process/no-handler"]);
      assert.match(result.reason, why);
      assert.deepEqual(world.handlers.asked, []);
      assert.equal(await exists(world.disk, `${FOLDER}/components/base/current`), false);
      const alarm = world.fleet.reports.find((report) => report.kind === "alarm");
      assert.equal(alarm?.kind === "alarm" && alarm.code, "process/no-handler");
    });

  it("can be a component of its own, whose slot is read before it is used", async () => {
    const { world, agent } = await device({ component: "tools", program: "bin/service" });
    await world.fleet.publish("tools", "1.0.0", "data");
    await world.fleet.promote("tools", "1.0.0");
    await agent.check("operator");
    await offer(world, "1.0.0");
    assert.equal((await check(agent)).result, "updated");
    assert.match(world.handlers.programs[0]!, /\/components\/tools\/slots\/1\.0\.0-[0-9a-f]+\/bin\/service$/);
    const tool = world.handlers.programs[0]!;
    await world.disk.removeFile(tool);
    await writeAtomic(world.disk, tool, toUtf8("evil"), 0o555);
    await offer(world, "1.1.0");
    const asked = world.handlers.asked.length;
    const result = await check(agent);
    assert.equal(result.result, "waiting");
    assert.equal(world.handlers.asked.length, asked, "a changed handler is not run (tampering)");
  });

  it("is refused in the settings when its place makes no sense", () => {
    for (const handler of [
      { program: "bin/deb" },
      { component: "tools", program: "/usr/bin/dpkg" },
      { component: "tools", program: "../../bin/sh" },
      { program: PROGRAM, shell: true },
      { program: PROGRAM, timeoutSeconds: 0 },
    ])
      assert.throws(() => parseSettings({ handlers: { deb: handler } } as never), { code: "schema/invalid" });
  });
});

describe("an agent that is killed while a handler works", () => {
  const STEPS: readonly HandlerStep[] = ["prepare", "install", "verify", "commit", "cleanup"];
  for (const good of [true, false])
    for (const step of good ? STEPS : (["install", "verify", "rollback", "cleanup"] as const))
      for (const done of [true, false])
        it(`heals: ${good ? "a good" : "a bad"} release, killed ${done ? "after" : "before"} "${step}" was carried out`, async () => {
          const { world, agent } = await device();
          await offer(world, "1.0.0");
          await check(agent);
          await offer(world, "1.1.0");
          const bad = ({ step, to }: { step: string; to: { version: string } | null }): number =>
            !good && step === "verify" && to?.version === "1.1.0" ? 1 : 0;
          let killed = false;
          const cut = (): void => {
            killed = true;
            world.disk.cutPower();
          };
          world.handlers.exit = (asked) => {
            if (!killed && !done && asked.step === step && asked.to?.version === "1.1.0") {
              cut();
              return 99;
            }
            return bad(asked);
          };
          world.handlers.carriedOut = (asked) => {
            if (!killed && done && asked.step === step && asked.to?.version === "1.1.0") cut();
          };
          await agent.check("operator").catch(() => undefined);
          assert.equal(killed, true);
          world.restart(world.disk.clone(), "killed");
          const next = await world.open();
          await next.start();
          await next.check("operator");
          const version = good ? "1.1.0" : "1.0.0";
          assert.equal(world.handlers.installed, version);
          assert.equal(world.handlers.committed, version);
          assert.equal(next.components[0]!.state.committed?.version, version);
          assert.equal(
            ends(world).filter((end) => end.startsWith("1.1.0")).length,
            1,
            "exactly one terminal report",
          );
          // Whatever was begun was cleaned up after.
          assert.equal(world.handlers.asked.at(-1)!.step, "cleanup");
        });

  it("lets what it had started end before the step comes again", async () => {
    const { world, agent } = await device();
    await offer(world, "1.0.0");
    world.handlers.carriedOut = ({ step }) => {
      if (step === "install") world.disk.cutPower();
    };
    await agent.check("operator").catch(() => undefined);
    world.handlers.carriedOut = () => {};
    world.restart(world.disk.clone(), "killed");
    const order: string[] = [];
    const { processes, handlers } = world;
    const find = processes.find.bind(processes);
    processes.find = async (wanted) => {
      if (order.length > 0 || !(await exists(world.disk, `${FOLDER}/components/base/handler.json`)))
        return find(wanted);
      return {
        identity: { pid: 7, startTime: "7", boot: wanted.boot, token: wanted.token },
        exited: Promise.resolve().then(() => {
          order.push("the old one ended");
          return { code: null, signal: null };
        }),
        stop: async () => void order.push("nothing of it is left"),
        await: async () => {},
      };
    };
    handlers.carriedOut = ({ step }) => order.push(step);
    const next = await world.open();
    await next.start();
    assert.deepEqual(order.slice(0, 3), ["the old one ended", "nothing of it is left", "install"]);
  });
});
