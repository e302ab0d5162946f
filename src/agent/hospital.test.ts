// The days of a hospital's machine: three components, hours, a metered link, people, an application that crashes, a clock that is set, and a deadline.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, formatInstant, HOUR, MINUTE, parseInstant } from "../core/instant.ts";
import type { Line } from "../manners/policy.ts";
import { AgentWorld, EagerClock } from "../testing/agent-world.ts";
import type { Agent } from "./agent.ts";

const ACTIVE = [{ from: "07:00", to: "19:00", zone: "UTC" }];
const LINES: readonly Line[] = [
  { kinds: ["security"], when: "ask", deadline: { within: (2 * DAY) / 1000, warn: [3600] } },
  { products: ["sync"], when: "now" },
  { products: ["db"], when: "after-safe-point", activeHours: ACTIVE, metered: false },
  { products: ["screen"], when: "ask", activeHours: ACTIVE, metered: false },
];

describe("a hospital's machine", () => {
  const clock = new EagerClock();
  const world = new AgentWorld(clock);
  world.fleet.editAssignment = (assignment) => ({ ...assignment, policy: { format: 1, lines: [...LINES] } });
  let agent: Agent;
  /** How far the wall clock was set off, which the hospital does not notice. */
  let off = 0;

  const start = async (): Promise<void> => {
    agent = await world.open();
    await agent.start();
  };
  const offer = async (product: string, version: string, changes = {}): Promise<void> => {
    await world.fleet.publish(product, version, "well", changes);
    await world.fleet.promote(product, version);
  };
  const check = async (): Promise<void> => void (await agent.check("schedule"));
  const now = (): number => clock.now() - off;
  /** Passes time up to that instant in steps of half an hour, as an agent that attends and checks. */
  const until = async (text: string): Promise<void> => {
    const end = parseInstant(text);
    while (now() < end) {
      await clock.sleep(Math.min(HOUR / 2, end - now()));
      await agent.attend();
    }
  };
  const runs = (product: string): string | undefined =>
    world.processes.running
      .map((program) => /\/components\/([^/]+)\/slots\/([^/]+)-/.exec(program)!)
      .find(([, name]) => name === product)?.[2];
  const versions = (): readonly (string | undefined)[] => ["db", "screen", "sync"].map(runs);
  const rules = async (): Promise<readonly (string | undefined)[]> => {
    const { components } = await agent.status();
    return ["db", "screen"].map((name) => components.find(({ product }) => product === name)?.wait?.rule);
  };

  it("installs everything at night, over any link, before it serves", async () => {
    world.metered = true;
    for (const product of ["db", "screen", "sync"]) await offer(product, "1.0.0");
    await start();
    await check();
    assert.deepEqual(versions(), ["1.0.0", "1.0.0", "1.0.0"]);
  });

  it("lets the background service change in the morning, and fetches nothing else over the metered link", async () => {
    await until("2026-11-21T08:00:00Z");
    for (const product of ["db", "screen", "sync"]) await offer(product, "1.1.0");
    await check();
    assert.deepEqual(versions(), ["1.0.0", "1.0.0", "1.1.0"]);
    assert.deepEqual(await rules(), ["metered", "metered"]);
    assert.ok(
      agent.components.every(({ openAttempt }) => openAttempt === null),
      "nothing was begun",
    );
  });

  it("fetches at noon, and waits for the evening; a clock that is set back a day changes nothing", async () => {
    await until("2026-11-21T12:00:00Z");
    world.metered = false;
    await check();
    assert.deepEqual(await rules(), ["active-hours", "asks"]);
    off = -DAY;
    clock.setWall(clock.now() - DAY);
    await until("2026-11-21T18:30:00Z");
    assert.deepEqual(versions(), ["1.0.0", "1.0.0", "1.1.0"]);
    const { components } = await agent.status();
    assert.equal(components.find(({ product }) => product === "db")?.until, "2026-11-21T19:00:00Z");
  });

  it("restarts nothing in the morning after it slept through its window", async () => {
    await clock.sleep(13 * HOUR);
    assert.equal(formatInstant(now()), "2026-11-22T07:30:00Z");
    await agent.attend();
    assert.deepEqual(versions(), ["1.0.0", "1.0.0", "1.1.0"]);
    assert.deepEqual(await rules(), ["active-hours", "asks"]);
  });

  it("knows after a power cut what is ready, and why it waits", async () => {
    world.restart(world.disk.clone(), "power-cut");
    // Its clock was set right meanwhile.
    clock.setWall(now());
    off = 0;
    await start();
    assert.deepEqual(versions(), ["1.0.0", "1.0.0", "1.1.0"]);
    assert.deepEqual(
      agent.components
        .filter(({ openAttempt }) => openAttempt !== null)
        .map(({ product, openAttempt }) => [product, openAttempt!.ready?.rule]),
      [
        ["db", "active-hours"],
        ["screen", "asks"],
      ],
    );
    await agent.attend();
    assert.deepEqual(versions(), ["1.0.0", "1.0.0", "1.1.0"]);
  });

  it("waits in the evening for the commit of the database's client, and not for one that crashed", async () => {
    world.living.add(4711);
    const db = agent.components.find(({ product }) => product === "db")!;
    await agent.manners
      .locks(db)
      .take("client", { lease: 86_400, why: "a commit", process: { pid: 4711, startTime: "1" } });
    await until("2026-11-22T20:00:00Z");
    assert.deepEqual(await rules(), ["busy", "asks"]);
    world.living.clear();
    await clock.sleep(MINUTE);
    await agent.attend();
    assert.equal(runs("db"), "1.1.0");
  });

  it("hears 'later' twice, and stays", async () => {
    for (const time of [HOUR, 2 * HOUR]) await agent.manners.answer("screen", "later", time);
    await until("2026-11-22T23:00:00Z");
    assert.equal(runs("screen"), "1.0.0");
    assert.deepEqual((await rules())[1], "asks");
  });

  it("keeps the deadline of a security release to the minute, after its warning, whatever is held or answered", async () => {
    // To the second, as documents say it.
    const known = parseInstant(formatInstant(now() + 999));
    await clock.sleep(known - now());
    await offer("screen", "1.1.1", { security: true });
    await check();
    await agent.manners.answer("screen", "skip", 0);
    await agent.manners.change({ holds: [{ scope: "*", until: null }] });
    const due = known + 2 * DAY;
    await until(formatInstant(due - HOUR - MINUTE));
    assert.ok(!world.lines.some(({ event }) => event === "deadline-warning"));
    await until(formatInstant(due - HOUR));
    assert.ok(world.lines.some(({ event }) => event === "deadline-warning"));
    await until(formatInstant(due - MINUTE));
    assert.equal(runs("screen"), "1.0.0");
    await until(formatInstant(due));
    assert.equal(runs("screen"), "1.1.1");
    assert.deepEqual(versions(), ["1.1.0", "1.1.1", "1.1.0"]);
  });
});
