// Updates through patches: the cheapest way that works is taken, a way that fails leads to the next, and where the bytes came from is reported.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ReleaseManifest } from "../release/manifest.ts";
import type { AttemptReport } from "../report/report.ts";
import { AgentWorld, FOLDER } from "../testing/agent-world.ts";
import type { Agent } from "./agent.ts";

/** Words that the program passes over, so that a patch is smaller than it. */
const BULK = Array.from({ length: 800 }, (_, i) => `w${(i * 7919) % 1000}`).join(" ");

type Story = {
  readonly world: AgentWorld;
  readonly agent: Agent;
  readonly releases: readonly ReleaseManifest[];
};

/** Releases 1.0.0, 1.1.0, …, each installed but the last `pending`; the channel points to what is installed. */
async function story(count: number, pending: number, archive: "file" | "tar" = "file"): Promise<Story> {
  const world = new AgentWorld();
  const releases: ReleaseManifest[] = [];
  for (let i = 0; i < count; i++)
    releases.push(await world.fleet.publish("shop", `1.${i}.0`, `well ${BULK}`, {}, archive));
  const agent = await world.open();
  await agent.start();
  for (const { version } of releases.slice(0, count - pending)) await take(world, agent, version);
  return { world, agent, releases };
}

async function take(world: AgentWorld, agent: Agent, version: string): Promise<AttemptReport> {
  await world.fleet.promote("shop", version);
  const { components, failure } = await agent.check("wake-up");
  assert.equal(failure, null, failure?.message);
  assert.equal(components[0]!.result, "updated", components[0]!.reason);
  assert.deepEqual(world.running, [version]);
  const report = world.fleet.reports.filter(({ kind }) => kind === "attempt").at(-1);
  assert.ok(report?.kind === "attempt");
  return report;
}

const wayFailures = (world: AgentWorld) =>
  world.lines
    .filter(({ event }) => event === "way-failed")
    .map(({ way, code }) => `${String(way)} ${String(code)}`);

for (const archive of ["file", "tar"] as const) {
  describe(`an update of a ${archive} through patches`, () => {
    it("fetches the patch alone, and says what came as a patch and what from the old version", async () => {
      const { world, agent, releases } = await story(2, 1, archive);
      const target = await world.fleet.addPatch(releases[1]!, releases[0]!);
      const report = await take(world, agent, "1.1.0");
      const { length } = world.fleet.targets.get(target)!;
      const whole = releases[1]!.artifacts[0]!.length;
      assert.ok(length < whole / 2);
      assert.deepEqual([report.bytes, report.source], [length, "origin"]);
      assert.deepEqual(report.bytesBy, { patch: length, own: whole - length });
      assert.equal(report.detour, undefined);
      assert.deepEqual(await world.disk.list(`${FOLDER}/download`), []);
      const status = (await agent.status()).components[0]!;
      assert.deepEqual(status.fetched, report.bytesBy);
    });

    it("goes over the release between when there is no direct patch", async () => {
      const { world, agent, releases } = await story(3, 2, archive);
      const first = await world.fleet.addPatch(releases[1]!, releases[0]!);
      const last = await world.fleet.addPatch(releases[2]!, releases[1]!);
      const report = await take(world, agent, "1.2.0");
      const bytes = [first, last].map((target) => world.fleet.targets.get(target)!.length);
      assert.equal(report.bytes, bytes[0]! + bytes[1]!);
      assert.equal(report.bytesBy?.patch, report.bytes);
    });

    it("fetches the whole when the patch was damaged at the mirror, and reports the detour", async () => {
      const { world, agent, releases } = await story(2, 1, archive);
      const target = await world.fleet.addPatch(releases[1]!, releases[0]!);
      const damaged = Uint8Array.from(world.fleet.targets.get(target)!);
      damaged[100]! ^= 1;
      world.fleet.mirror.set(target, damaged);
      const report = await take(world, agent, "1.1.0");
      assert.equal(report.detour, "mirror/wrong-content");
      assert.equal(report.bytesBy?.origin, releases[1]!.artifacts[0]!.length);
      assert.deepEqual(wayFailures(world), ["patch mirror/wrong-content"]);
    });

    it("takes the next patch when one was made wrongly by its publisher, and the whole when no other is left", async () => {
      const { world, agent, releases } = await story(3, 2, archive);
      const direct = await world.fleet.addPatch(releases[2]!, releases[0]!);
      await world.fleet.addPatch(releases[1]!, releases[0]!);
      await world.fleet.addPatch(releases[2]!, releases[1]!);
      const wrong = Uint8Array.from(world.fleet.targets.get(direct)!);
      // Listed so: what is signed is not yet what is right.
      wrong[60]! ^= 1;
      world.fleet.targets.set(direct, wrong);
      const manifest = { ...releases[2]!, artifacts: releases[2]!.artifacts };
      assert.equal(manifest.version, "1.2.0");
      const report = await take(world, agent, "1.2.0");
      assert.equal(report.detour, "delta/wrong-result");
      assert.equal(report.bytesBy?.origin, undefined, "the chain led there");
      assert.deepEqual(wayFailures(world), ["patch delta/wrong-result"]);
    });
  });
}

describe("a device whose installed files were damaged", () => {
  it("applies no patch to them, and fetches the whole", async () => {
    const { world, agent, releases } = await story(2, 1);
    await world.fleet.addPatch(releases[1]!, releases[0]!);
    const slots = `${FOLDER}/components/shop/slots`;
    const [slot] = await world.disk.list(slots);
    const path = `${slots}/${slot!}/service`;
    const file = await world.disk.open(path, "write");
    await file.write(7, Uint8Array.of(0x21));
    await file.close();
    const report = await take(world, agent, "1.1.0");
    assert.equal(report.detour, "slot/damaged");
    assert.equal(report.bytesBy?.origin, releases[1]!.artifacts[0]!.length);
  });
});

describe("an archive of another tool", () => {
  it("is fetched whole: its bytes cannot be had again from what is installed", async () => {
    const world = new AgentWorld();
    const old = await world.fleet.publish("shop", "1.0.0", `well ${BULK}`);
    const agent = await world.open();
    await agent.start();
    await take(world, agent, "1.0.0");
    const next = await world.fleet.publish("shop", "1.1.0", `well ${BULK}`);
    await world.fleet.addPatch(next, old);
    const report = await take(world, agent, "1.1.0");
    assert.deepEqual([report.bytes, report.source], [next.artifacts[0]!.length, "origin"]);
    assert.equal(report.bytesBy, undefined);
    assert.deepEqual(wayFailures(world), []);
  });
});
