// The agent on a scripted device: what it installs, what it refuses, what it reports, and in which order.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { writeAtomic } from "../core/disk.ts";
import { sha256Hex } from "../core/digest.ts";
import { DAY } from "../core/instant.ts";
import { signAssignment } from "../message/assignment.ts";
import { localSigner } from "../keys/signer.ts";
import { generateKeyPairSync } from "node:crypto";
import { signEnvelope } from "../core/dsse.ts";
import { PUBLISHER_ROOTS_TARGET, releaseTarget } from "../release/target-names.ts";
import type { AttemptReport, Report } from "../report/report.ts";
import { RepositoryError } from "../repository/errors.ts";
import { AgentWorld, EagerClock, FOLDER } from "../testing/agent-world.ts";
import type { Agent } from "./agent.ts";
import type { CheckResult } from "./check-result.ts";
import { withoutAgent } from "./status.ts";

const SHOP = `${FOLDER}/components/shop`;
const attempts = (reports: readonly Report[]): AttemptReport[] =>
  reports.filter((report) => report.kind === "attempt");
const only = (result: CheckResult) => {
  assert.equal(result.failure, null, result.failure?.message);
  assert.equal(result.components.length, 1);
  return result.components[0]!;
};

async function installed(
  version = "1.0.0",
  behaviour = "well",
): Promise<{ world: AgentWorld; agent: Agent }> {
  const world = new AgentWorld();
  await world.fleet.publish("shop", version, behaviour);
  await world.fleet.promote("shop", version);
  const agent = await world.open();
  await agent.start();
  assert.equal(only(await agent.check("start")).result, "updated");
  return { world, agent };
}

async function offer(world: AgentWorld, version: string, behaviour = "well", changes = {}): Promise<void> {
  await world.fleet.publish("shop", version, behaviour, changes);
  await world.fleet.promote("shop", version);
}

describe("the agent's story", () => {
  it("installs 1.0.0, updates to 1.1.0, takes back a crashing 1.2.0 with its reason, and gets 1.2.1", async () => {
    const { world, agent } = await installed();
    assert.deepEqual(world.running, ["1.0.0"]);
    await offer(world, "1.1.0", "well migrate");
    assert.equal(only(await agent.check("wake-up")).result, "updated");
    assert.deepEqual(world.running, ["1.1.0"]);

    await offer(world, "1.2.0", "crash migrate");
    const failed = only(await agent.check("wake-up"));
    assert.equal(failed.result, "rolled-back");
    assert.equal(failed.code, "process/exited");
    assert.match(failed.reason, /ended with exit code 1.*last words/);
    assert.deepEqual(world.running, ["1.1.0"]);
    assert.equal(
      fromUtf8(await world.disk.read(`${SHOP}/data/db`, 100)),
      "1.1.0",
      "the data went back as well",
    );

    const again = only(await agent.check("schedule"));
    assert.equal(again.result, "held");
    assert.equal(again.code, "release/failed-here");

    await offer(world, "1.2.1");
    assert.equal(only(await agent.check("schedule")).result, "updated");
    assert.deepEqual(world.running, ["1.2.1"]);

    const reports = attempts(world.fleet.reports);
    assert.deepEqual(
      reports.map(({ from, to, outcome, running }) => [from, to, outcome, running]),
      [
        [null, "1.0.0", "success", "1.0.0"],
        ["1.0.0", "1.1.0", "success", "1.1.0"],
        ["1.1.0", "1.2.0", "rolled-back", "1.1.0"],
        ["1.1.0", "1.2.1", "success", "1.2.1"],
      ],
    );
    assert.deepEqual(
      world.fleet.reports.map((report) => report.sequence),
      world.fleet.reports.map((_, i) => i + 1),
    );
    assert.ok(
      reports.every((report) => report.bytes > 0 && report.source === "origin" && report.duration > 0),
    );
    assert.equal(agent.outbox.waiting, 0);
  });

  it("says before it stops anything that the data could not be brought back, and waits", async () => {
    const { world, agent } = await installed("1.0.0", "well migrate");
    await offer(world, "1.1.0", "crash migrate");
    world.refusedData = "db";
    const starts = world.processes.started.length;
    const waits = only(await agent.check("schedule"));
    assert.deepEqual([waits.result, waits.code], ["waiting", "slot/data-not-kept"]);
    assert.deepEqual([world.running, world.processes.started.length], [["1.0.0"], starts]);
    assert.deepEqual(await world.disk.list(`${SHOP}/snapshots`), []);

    world.refusedData = null;
    assert.equal(only(await agent.check("schedule")).result, "rolled-back");
    assert.equal(fromUtf8(await world.disk.read(`${SHOP}/data/db`, 100)), "1.0.0");
  });

  it("waits without stopping anything while there is no room for a copy of the data", async () => {
    const { world, agent } = await installed("1.0.0", "well migrate");
    await writeAtomic(world.disk, `${SHOP}/data/big`, new Uint8Array(400_000));
    await offer(world, "1.1.0", "well migrate");
    const [free, starts] = [await world.disk.free("/"), world.processes.started.length];
    world.disk.capacity -= free - 350_000;
    const waits = only(await agent.check("schedule"));
    assert.deepEqual([waits.result, waits.code], ["waiting", "agent/no-space"]);
    assert.match(waits.reason, /A copy of the component's data needs/);
    assert.deepEqual([world.running, world.processes.started.length], [["1.0.0"], starts]);
    world.disk.capacity += free;
    assert.equal(only(await agent.check("schedule")).result, "updated");
  });

  it("tells when data was too large to be copied, before the switch and when it went back", async () => {
    const { world } = await installed("1.0.0", "well migrate");
    world.settings = { startSpread: 0, components: { shop: { snapshotBytes: 3 } } };
    const again = await world.open();
    await again.start();
    await offer(world, "1.1.0", "crash migrate");
    const back = only(await again.check("schedule"));
    assert.equal(back.result, "rolled-back");
    assert.match(back.reason, /Its data was not copied before and is left as the new version made it\.$/);
    const skipped = world.lines.find((line) => line.event === "snapshot-skipped");
    assert.deepEqual([skipped?.["bytes"], skipped?.["limit"]], [5, 3]);
  });

  it("asks of a disk what a small update needs, and no more", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    const free = await world.disk.free("/");
    world.disk.capacity -= free - 100_000;
    const waits = only(await agent.check("schedule"));
    assert.deepEqual([waits.result, waits.code], ["waiting", "agent/no-space"]);
    world.disk.capacity += 300_000;
    assert.equal(only(await agent.check("schedule")).result, "updated");
  });

  it("keeps the last good slots, what runs and nothing else", async () => {
    const { world, agent } = await installed();
    for (const version of ["1.1.0", "1.2.0", "1.3.0", "1.4.0"]) {
      await offer(world, version);
      assert.equal(only(await agent.check("schedule")).result, "updated");
    }
    const slots = (await world.disk.list(`${SHOP}/slots`)).map((name) => name.slice(0, 5));
    assert.deepEqual(slots, ["1.2.0", "1.3.0", "1.4.0"]);
    assert.deepEqual(await world.disk.list(`${FOLDER}/download`), []);
    assert.deepEqual(await world.disk.list(`${SHOP}/snapshots`), []);
  });

  it("installs a single file byte for byte, so that it can be served on", async () => {
    const world = new AgentWorld();
    await world.fleet.publish("shop", "1.0.0", "well", {}, "file");
    await world.fleet.promote("shop", "1.0.0");
    const agent = await world.open();
    await agent.start();
    assert.equal(only(await agent.check("start")).result, "updated");
    const bytes = await world.disk.read(`${SHOP}/current/service`, 1000);
    assert.deepEqual(bytes, world.fleet.targets.get("products/shop/1.0.0/service"));
    assert.equal((await world.disk.stat(`${SHOP}/current/service`)).mode, 0o555);
  });

  it("says of data that it is installed, and not that it came through a probation", async () => {
    const { world, agent } = await installed("1.0.0", "data");
    await offer(world, "1.1.0", "data");
    const update = only(await agent.check("schedule"));
    assert.deepEqual(
      [update.result, update.reason],
      ["updated", "1.1.0 is installed; it is data, and nothing is started."],
    );
    assert.deepEqual(world.processes.started, []);
    await offer(world, "1.2.0");
    assert.equal(only(await agent.check("schedule")).reason, "1.2.0 runs and came through its probation.");
  });

  it("tells once of settings for a component that it does not have, and which name is near", async () => {
    const world = new AgentWorld();
    world.settings = {
      startSpread: 0,
      components: { shpo: { stopSeconds: 1 }, shop: { stopSeconds: 1 }, other: {} },
    };
    await offer(world, "1.0.0");
    const agent = await world.open();
    await agent.start();
    await agent.check("start");
    await agent.check("schedule");
    assert.deepEqual(
      world.lines.filter(({ event }) => event === "settings-unused").map(({ message }) => message),
      [
        "agent.toml sets something for the component shpo, which this device does not have; it has shop.",
        "agent.toml sets something for the component other, which this device does not have.",
      ],
    );
  });

  it("goes back by hand, stays there, and takes what is newer", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    await agent.check("schedule");
    const back = await agent.rollBack("shop");
    assert.equal(back.result, "updated");
    assert.deepEqual(world.running, ["1.0.0"]);
    const held = only(await agent.check("schedule"));
    assert.deepEqual([held.result, held.code], ["held", "release/left-by-hand"]);
    assert.match(held.reason, /1\.1\.0 was left by hand on this device/);
    assert.deepEqual(world.running, ["1.0.0"]);
    await assert.rejects(agent.rollBack("shop"), { code: "agent/nothing-to-go-back-to" });
    await offer(world, "1.1.1");
    assert.equal(only(await agent.check("schedule")).result, "updated");
  });

  it("tries what failed once more when somebody says so, and says so in its log; nothing older gets in by it", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    world.processes.mood = "sick";
    assert.equal(only(await agent.check("schedule")).result, "rolled-back");
    world.processes.mood = null;
    assert.equal(only(await agent.check("operator")).result, "held", "asking alone does not do it");
    assert.equal(only(await agent.retrySkipped()).result, "updated");
    assert.deepEqual(world.running, ["1.1.0"]);
    assert.ok(world.lines.some(({ event }) => event === "skip-list-forgotten"));
    assert.deepEqual((await agent.status()).components[0]?.skipped, []);
    assert.deepEqual(
      attempts(world.fleet.reports).map(({ to, outcome }) => [to, outcome]),
      [
        ["1.0.0", "success"],
        ["1.1.0", "rolled-back"],
        ["1.1.0", "success"],
      ],
    );
    await offer(world, "1.2.0", "sick");
    await agent.check("schedule");
    assert.equal(only(await agent.retrySkipped()).result, "rolled-back", "still sick, and skipped again");
    assert.equal((await agent.status()).components[0]?.skipped.length, 1);
    await offer(world, "0.9.0");
    assert.equal(only(await agent.retrySkipped()).code, "release/older");
    assert.deepEqual(world.running, ["1.1.0"]);
  });

  it("goes back when the running version is recalled, but never below the floor", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    await agent.check("schedule");
    const recall = [{ version: "1.1.0", reason: "loses orders", since: "2026-11-21T04:00:00Z" }];
    await world.fleet.promote("shop", "1.0.0", recall);
    assert.equal(only(await agent.check("schedule")).result, "updated");
    assert.deepEqual(world.running, ["1.0.0"]);

    await offer(world, "1.2.0", "well", { floor: "1.2.0" });
    await agent.check("schedule");
    await world.fleet.promote("shop", "1.0.0", [{ ...recall[0]!, version: "1.2.0" }]);
    const refused = only(await agent.check("schedule"));
    assert.equal(refused.result, "refused");
    assert.match(refused.reason, /below the floor 1\.2\.0/);
    await assert.rejects(agent.rollBack("shop"), { code: "agent/nothing-to-go-back-to" });
    assert.deepEqual(world.running, ["1.2.0"]);
  });

  it("installs a component after the one it depends on", async () => {
    const world = new AgentWorld();
    const dependencies = [{ product: "base", range: ">=2.0.0" }];
    await world.fleet.publish("app", "1.0.0", "well", { dependencies });
    await world.fleet.publish("base", "2.0.0", "well");
    for (const [product, version] of [
      ["app", "1.0.0"],
      ["base", "2.0.0"],
    ] as const)
      await world.fleet.promote(product, version);
    const agent = await world.open();
    await agent.start();
    const result = await agent.check("start");
    assert.deepEqual(
      result.components.map(({ product, result }) => [product, result]),
      [
        ["base", "updated"],
        ["app", "updated"],
      ],
    );
  });

  it("starts again what ended by itself, with growing pauses, and tells of a crash loop", async () => {
    const clock = new EagerClock();
    const world = new AgentWorld(clock);
    await offer(world, "1.0.0");
    const agent = await world.open();
    await agent.start();
    await agent.check("start");
    const before = world.processes.started.length;
    for (let seconds = 0; seconds < 120; seconds++) {
      for (const program of world.processes.running) world.processes.kill(program);
      await clock.sleep(1000);
      await agent.tend();
    }
    const starts = world.processes.started.length - before;
    assert.ok(starts >= 5 && starts <= 9, `${starts} starts in two minutes`);
    await agent.check("schedule");
    assert.ok(
      world.fleet.reports.some((report) => report.kind === "alarm" && report.code === "process/crash-loop"),
    );
  });
});

describe("the agent takes back", () => {
  for (const [behaviour, code] of [
    ["sick", "process/unhealthy"],
    ["deaf", "process/unhealthy"],
    ["crash", "process/exited"],
  ] as const) {
    it(`a version that is ${behaviour}`, async () => {
      const { world, agent } = await installed();
      await offer(world, "1.1.0", behaviour);
      const result = only(await agent.check("schedule"));
      assert.deepEqual([result.result, result.code, result.running], ["rolled-back", code, "1.0.0"]);
      assert.deepEqual(world.running, ["1.0.0"]);
    });
  }

  it("a first version that never worked, and runs nothing then", async () => {
    const world = new AgentWorld();
    await offer(world, "1.0.0", "crash");
    const agent = await world.open();
    await agent.start();
    const result = only(await agent.check("start"));
    // There is nothing to go back to, so nothing is said to have gone back.
    assert.deepEqual([result.result, result.running, result.until], ["failed", null, null]);
    assert.deepEqual(
      attempts(world.fleet.reports).map(({ outcome }) => outcome),
      ["failure"],
    );
    assert.deepEqual(world.running, []);
    assert.equal(only(await agent.check("schedule")).code, "release/failed-here");
    await offer(world, "1.0.1");
    assert.equal(only(await agent.check("schedule")).result, "updated");
  });

  it("nothing because of a lasting 429 when the old version answered the same", async () => {
    const { world, agent } = await installed("1.0.0", "busy");
    await offer(world, "1.1.0", "busy");
    assert.equal(only(await agent.check("schedule")).result, "updated");
  });

  it("a version whose probe is for ever unknown although the old one was seen well", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0", "busy");
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["rolled-back", "process/unknown-too-long"]);
  });
});

describe("the agent refuses", () => {
  const unchanged = async (world: AgentWorld): Promise<void> => {
    assert.deepEqual(world.running, ["1.0.0"]);
    const slots = await world.disk.list(`${SHOP}/slots`);
    assert.equal(slots.length, 1, "nothing new that could run is on disk");
    assert.match(await world.disk.readLink(`${SHOP}/current`), /^slots\/1\.0\.0-/);
  };

  it("an artifact with other bytes than listed (arbitrary software installation)", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    world.fleet.mirror.set("products/shop/1.1.0/shop.tar.gz", toUtf8("evil"));
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["refused", "mirror/wrong-content"]);
    await unchanged(world);
    assert.equal(attempts(world.fleet.reports).at(-1)?.outcome, "refused");
    const calm = only(await agent.check("schedule"));
    assert.equal(calm.result, "waiting");
    assert.notEqual(calm.until, null);
    world.fleet.mirror.clear();
    assert.equal(only(await agent.check("operator")).result, "updated");
  });

  it("a manifest that others than the publisher signed", async () => {
    const { world, agent } = await installed();
    const manifest = await world.fleet.publish("shop", "1.1.0", "well");
    const stranger = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
    const body = toUtf8(JSON.stringify(manifest));
    world.fleet.targets.set(releaseTarget("shop", "1.1.0"), await signEnvelope("release", body, [stranger]));
    await world.fleet.promote("shop", "1.1.0");
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["refused", "dsse/no-valid-signature"]);
    await unchanged(world);
    const alarm = world.fleet.reports.at(-1)!;
    assert.equal(alarm.kind === "alarm" && alarm.code, "dsse/no-valid-signature");
    const before = world.fleet.reports.length;
    await agent.check("schedule");
    assert.equal(world.fleet.reports.length, before, "one report per refusal, not one per check");
  });

  it("an assignment that names a manifest TUF does not list", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    world.fleet.editAssignment = (assignment) => ({
      ...assignment,
      components: [
        { product: "shop", channel: "stable", release: { version: "1.1.0", manifestSha256: "0".repeat(64) } },
      ],
    });
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["refused", "agent/wrong-release"]);
    await unchanged(world);
  });

  it("an assignment to a version that TUF does not list", async () => {
    const { world, agent } = await installed();
    world.fleet.assigned.set("shop", {
      product: "shop",
      channel: "stable",
      release: { version: "9.9.9", manifestSha256: "0".repeat(64) },
    });
    assert.equal(only(await agent.check("schedule")).code, "mirror/not-found");
    await unchanged(world);
  });

  it("an older version, though the director assigns it (rollback attack)", async () => {
    const { world, agent } = await installed("1.0.0");
    await offer(world, "0.9.0");
    const result = only(await agent.check("operator"));
    assert.deepEqual([result.result, result.code], ["refused", "release/older"]);
    await unchanged(world);
  });

  const forged: readonly (readonly [string, string, (world: AgentWorld) => void])[] = [
    [
      "for another device",
      "message/wrong-device",
      (world) =>
        (world.fleet.editAssignment = (a) => ({ ...a, device: "0a0b0c0d-0000-4000-8000-000000000002" })),
    ],
    [
      "that answers another question (replay)",
      "message/wrong-nonce",
      (world) => (world.fleet.editAssignment = (a) => ({ ...a, nonce: `${"A".repeat(42)}A` })),
    ],
    [
      "that expired (freeze)",
      "message/expired",
      (world) => (world.fleet.editAssignment = (a) => ({ ...a, expires: "2026-11-21T03:00:00Z" })),
    ],
    [
      "with a changed byte",
      "dsse/",
      (world) =>
        (world.fleet.editEnvelope = (bytes) => bytes.map((byte, i) => (i === 120 ? byte ^ 1 : byte))),
    ],
  ];
  for (const [what, code, tamper] of forged) {
    it(`an assignment ${what}`, async () => {
      const { world, agent } = await installed();
      await offer(world, "1.1.0");
      tamper(world);
      const result = await agent.check("schedule");
      assert.ok(result.failure?.code.startsWith(code), result.failure?.code);
      await unchanged(world);
      assert.ok(
        world.fleet.reports.some((report) => report.kind === "alarm" && report.code.startsWith(code)),
      );
    });
  }

  it("an assignment that the publisher's key signed instead of the director's", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    let last: Parameters<typeof signAssignment>[0] | null = null;
    world.fleet.editAssignment = (assignment) => (last = assignment);
    world.fleet.editEnvelope = () => toUtf8("{}");
    await agent.check("schedule");
    const envelope = await signAssignment(last!, world.fleet.publisher);
    world.fleet.editEnvelope = () => envelope;
    const result = await agent.check("schedule");
    assert.equal(result.failure?.code, "dsse/no-valid-signature");
    await unchanged(world);
  });

  it("a pinned publisher when nobody can check it, and one whose check fails (fail closed)", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0", "well", { publisher: { subject: "CN=Shop" } });
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["refused", "agent/no-verifier"]);
    await unchanged(world);

    const seen: string[] = [];
    world.fleet.targets.set(PUBLISHER_ROOTS_TARGET, toUtf8("roots"));
    world.verifyPublisher = async ({ path, name }, _pin, roots) => {
      seen.push(path);
      assert.deepEqual([name, fromUtf8(roots)], ["shop.tar.gz", "roots"]);
      throw new Error("not signed by CN=Shop");
    };
    await agent.stop();
    const next = await world.open();
    await next.start();
    assert.equal(only(await next.check("operator")).result, "failed");
    assert.equal(seen.length, 1);
    await unchanged(world);
    world.verifyPublisher = async () => {};
    await next.stop();
    const last = await world.open();
    await last.start();
    assert.equal(only(await last.check("operator")).result, "updated");
  });

  it("a signature beside the archive that is not the one its release names", async () => {
    const { world, agent } = await installed();
    const { artifacts } = await world.fleet.publish("shop", "1.1.0", "well");
    const beside = toUtf8("signature");
    const target = `${artifacts[0]!.target}.sig`;
    const signature = { target, length: beside.length, sha256: sha256Hex(beside) };
    await offer(world, "1.1.0", "well", {
      publisher: { subject: "CN=Shop" },
      artifacts: [{ ...artifacts[0]!, signature }],
    });
    world.fleet.targets.set(PUBLISHER_ROOTS_TARGET, toUtf8("roots"));
    world.fleet.targets.set(target, toUtf8("Signature"));
    const seen: unknown[] = [];
    world.verifyPublisher = async ({ product, version, platform, signature }) => {
      seen.push([product, version, platform?.os, platform?.arch, fromUtf8(signature!)]);
    };
    await agent.stop();
    const next = await world.open();
    await next.start();
    assert.equal(only(await next.check("operator")).code, "agent/wrong-bytes");
    await unchanged(world);
    assert.deepEqual(seen, []);
    world.fleet.targets.set(target, beside);
    assert.equal(only(await next.check("operator")).result, "updated");
    assert.deepEqual(seen, [["shop", "1.1.0", "linux", "x64", "signature"]]);
  });

  it("to do anything when its own image is not as it was published", async () => {
    const world = new AgentWorld();
    world.selfCheck = async () => Promise.reject(new Error("another digest"));
    const agent = await world.open();
    await assert.rejects(agent.start(), { code: "agent/self-check-failed" });
    assert.deepEqual(world.fleet.checkIns, []);
  });

  it("a release for another platform, and says so", async () => {
    const { world, agent } = await installed();
    const manifest = await world.fleet.publish("shop", "1.1.0", "well");
    const artifacts = manifest.artifacts.map((artifact) => ({ ...artifact, arch: "arm64" as const }));
    await offer(world, "1.1.0", "well", { artifacts });
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.code], ["refused", "release/no-artifact"]);
    await unchanged(world);
  });

  it("a circle of dependencies, and nothing else with it", async () => {
    const world = new AgentWorld();
    await world.fleet.publish("a", "1.0.0", "well", { dependencies: [{ product: "b", range: "*" }] });
    await world.fleet.publish("b", "1.0.0", "well", { dependencies: [{ product: "a", range: "*" }] });
    await world.fleet.publish("c", "1.0.0", "well");
    await world.fleet.publish("d", "1.0.0", "well", { dependencies: [{ product: "a", range: "*" }] });
    for (const product of ["a", "b", "c", "d"]) await world.fleet.promote(product, "1.0.0");
    const agent = await world.open();
    await agent.start();
    const { failure, components } = await agent.check("start");
    assert.equal(failure, null);
    assert.deepEqual(components.map(({ product, result, code }) => [product, result, code]).toSorted(), [
      ["a", "refused", "agent/dependency-circle"],
      ["b", "refused", "agent/dependency-circle"],
      ["c", "updated", null],
      ["d", "refused", "release/dependency-missing"],
    ]);
    assert.deepEqual(world.running, ["1.0.0"]);
  });
});

describe("what is installed and no longer assigned", () => {
  it("stays as it is, and the status says why nothing happens to it", async () => {
    const { world, agent } = await installed();
    world.fleet.assigned.delete("shop");
    const result = only(await agent.check("schedule"));
    assert.deepEqual([result.result, result.running, result.code], ["held", "1.0.0", null]);
    assert.match((await agent.status()).components[0]!.why, /assigns no release of it/);
    assert.deepEqual(world.running, ["1.0.0"]);
  });
});

describe("the status", () => {
  it("says until when a probation lasts", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    const seen: (string | null)[] = [];
    world.atPoint = async () => {
      const [shop] = (await agent.status()).components;
      if (shop!.attempt?.state === "probation") seen.push(shop!.why, shop!.until);
    };
    await agent.check("wake-up");
    assert.match(String(seen[0]), /on probation/);
    assert.match(String(seen.at(-1)), /^\d{4}-.*Z$/);
  });

  it("of an agent that ended names that as the reason, and nothing as under way", async () => {
    const { agent } = await installed();
    const left = withoutAgent({
      ...(await agent.status()),
      doing: "checking",
      until: "2026-01-01T00:00:00Z",
    });
    assert.deepEqual([left.doing, left.until, left.wakeUps], ["stopped", null, "disconnected"]);
    assert.match(String(left.why), /No agent runs/);
  });
});

describe("when the world is in the way, the agent", () => {
  it("says that the server is down, keeps running, and goes on later", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    world.fleet.serverDown = true;
    const down = await agent.check("schedule");
    assert.equal(down.failure?.code, "mirror/unreachable");
    assert.deepEqual(world.running, ["1.0.0"]);
    const status = JSON.parse(fromUtf8(await world.disk.read(`${FOLDER}/status.json`, 100_000))) as {
      lastCheck: { code: string };
    };
    assert.equal(status.lastCheck.code, "mirror/unreachable");
    world.fleet.serverDown = false;
    assert.equal(only(await agent.check("schedule")).result, "updated");
  });

  it("tells of a frozen repository (indefinite freeze) once, and stops nothing that runs", async () => {
    const { world, agent } = await installed();
    const sentence = "The timestamp has expired.";
    world.fleet.repositoryTrouble = new RepositoryError("repository/expired", sentence);
    for (let i = 0; i < 3; i++) {
      assert.equal((await agent.check("schedule")).failure?.code, "repository/expired");
      assert.deepEqual(world.running, ["1.0.0"]);
    }
    const { lastCheck } = await agent.status();
    assert.deepEqual([lastCheck?.result, lastCheck?.code], ["failed", "repository/expired"]);
    const alarms = () =>
      world.fleet.reports.flatMap((report) =>
        report.kind === "alarm" ? [[report.code, report.reason]] : [],
      );
    assert.deepEqual(alarms(), [["repository/expired", `The repository is frozen. ${sentence}`]]);
    world.fleet.repositoryTrouble = null;
    assert.equal((await agent.check("schedule")).failure, null);
    await world.clock.sleep(DAY);
    world.fleet.repositoryTrouble = new RepositoryError("repository/expired", sentence);
    await agent.check("schedule");
    assert.equal(alarms().length, 2, "a new freeze is a new alarm");
  });

  it("shows what a refresh noticed as long as it lasts, and reports each alarm among it once", async () => {
    const { world, agent } = await installed();
    const notice = (about: string, alarm: boolean) => ({
      code: "repository/mirror-failed",
      about,
      message: `${about} failed.`,
      alarm,
    });
    const told = () =>
      world.fleet.reports.flatMap((report) => (report.kind === "alarm" ? [report.reason] : []));
    world.fleet.notices = [notice("a", true), notice("b", true), notice("c", false)];
    await agent.check("schedule");
    await agent.check("schedule");
    assert.deepEqual(told(), ["a failed.", "b failed."]);
    assert.deepEqual(
      (await agent.status()).notices.map(({ about }) => about),
      ["a", "b", "c"],
    );
    world.fleet.notices = [notice("b", true)];
    await agent.check("schedule");
    await world.clock.sleep(DAY);
    world.fleet.notices = [notice("a", true), notice("b", true)];
    // Told although the server that is asked afterwards is away; it waits in the outbox.
    world.fleet.serverDown = true;
    await agent.check("schedule");
    world.fleet.serverDown = false;
    await agent.check("schedule");
    assert.deepEqual(
      told().filter((reason) => /^[abc] failed/.test(reason)),
      ["a failed.", "b failed.", "a failed."],
    );
    assert.equal(world.lines.filter(({ event }) => event === "notice").length, 4);
  });

  it("waits for room on a full disk, says how much is missing, and goes on with the same attempt", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    world.disk.capacity -= (await world.disk.free("/")) - 100_000;
    const full = only(await agent.check("schedule"));
    assert.deepEqual([full.result, full.code], ["waiting", "agent/no-space"]);
    assert.match(full.reason, /needs \d+ bytes on disk and \d+ are free/);
    world.disk.capacity = Number.MAX_SAFE_INTEGER;
    assert.equal(only(await agent.check("schedule")).result, "updated");
    assert.equal(attempts(world.fleet.reports).filter((report) => report.to === "1.1.0").length, 1);
  });

  it("ends an attempt that is overtaken by a newer release", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    world.disk.capacity -= (await world.disk.free("/")) - 100_000;
    await agent.check("schedule");
    world.disk.capacity = Number.MAX_SAFE_INTEGER;
    await offer(world, "1.1.1");
    assert.equal(only(await agent.check("schedule")).result, "updated");
    const outcomes = attempts(world.fleet.reports).map(({ to, outcome }) => [to, outcome]);
    assert.deepEqual(outcomes.slice(1), [
      ["1.1.0", "superseded"],
      ["1.1.1", "success"],
    ]);
  });

  it("is not moved by a wall clock that jumps during probation", async () => {
    const clock = new EagerClock();
    const world = new AgentWorld(clock);
    await offer(world, "1.0.0");
    const agent = await world.open();
    await agent.start();
    const sleep = clock.sleep.bind(clock);
    let jumps = 0;
    clock.sleep = async (ms, signal) => {
      await sleep(ms, signal);
      clock.setWall(clock.now() + (jumps++ % 2 === 0 ? 400 : -400) * DAY);
    };
    assert.equal(only(await agent.check("start")).result, "updated");
    assert.ok(jumps > 3);
  });

  it("obeys a hold and says until when", async () => {
    const { world, agent } = await installed();
    await offer(world, "1.1.0");
    world.fleet.assigned.set("shop", {
      product: "shop",
      channel: "stable",
      hold: { reason: "not-your-turn", until: "2026-11-22T00:00:00Z" },
    });
    const held = only(await agent.check("schedule"));
    assert.deepEqual([held.result, held.until], ["held", Date.parse("2026-11-22T00:00:00Z")]);
    assert.match(held.reason, /has not reached this device/);
  });
});
