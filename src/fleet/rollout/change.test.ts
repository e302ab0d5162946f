// What people and servers do with rollouts, on records: made once, approved by others, started, halted, ended, recalled, and all of it on record.

import assert from "node:assert/strict";
import { beforeEach, describe, it } from "node:test";
import { DAY, HOUR, MINUTE, parseInstant } from "../../core/instant.ts";
import type { AttemptReport } from "../../report/report.ts";
import { MemoryFleet } from "../../testing/memory-fleet.ts";
import { assign } from "../assign.ts";
import { checkChain } from "../audit.ts";
import type { Catalogue } from "../decide.ts";
import type { Rollout } from "../rollout-record.ts";
import { neededApprovals, setApprovals } from "./approvals.ts";
import {
  abortRollout,
  advanceRollout,
  approveRollout,
  needRollout,
  pauseRollout,
  planRollout,
  resumeRollout,
  startRollout,
} from "./change.ts";
import { takeDue, takeVerdict } from "./follow.ts";
import { noteAttempt, offeredRow } from "./note.ts";
import { DEFAULT_RULES, parsePhase, type RolloutPlan } from "./plan.ts";

const now = parseInstant("2026-11-21T04:00:00Z");
const digest = "a".repeat(64);
const plan: RolloutPlan = {
  product: "shop",
  version: "1.1.0",
  manifestSha256: digest,
  groups: ["tills"],
  phases: ["device:d1", "100%"].map(parsePhase),
  rules: DEFAULT_RULES,
  windows: [],
  deadline: null,
  startAt: null,
  approvals: 0,
  salt: "01",
};
const offering = (current: string): Catalogue => ({
  timestamp: () => "f".repeat(64),
  current: () => ({ version: current, manifestSha256: digest }),
  byVersion: (_, version) => ({ version, manifestSha256: digest }),
});
const [ALICE, BOB, CAROL] = ["operator:alice", "operator:bob", "operator:carol"] as const;

let fleet: MemoryFleet;
beforeEach(async () => {
  fleet = new MemoryFleet();
  for (const group of ["tills", "kiosks"])
    await assign(fleet, now, { group, product: "shop", channel: "stable", create: true });
});
const make = (change: Partial<RolloutPlan> = {}): Promise<Rollout> =>
  planRollout(fleet, now, { ...plan, ...change }, ALICE);
const actions = (): readonly string[] =>
  fleet.auditRows
    .filter(({ subject }) => subject === "shop-1")
    .map(({ actor, action }) => `${actor} ${action}`);

describe("making a rollout", () => {
  it("gives each its own name, and refuses a second one in the same groups", async () => {
    assert.equal((await make()).id, "shop-1");
    await assert.rejects(make(), { code: "fleet/rollout-overlaps" });
    await assert.rejects(make({ groups: [] }), { code: "fleet/rollout-overlaps" });
    await assert.rejects(make({ groups: ["tills", "kiosks"] }), { code: "fleet/rollout-overlaps" });
    assert.equal((await make({ groups: ["kiosks"] })).id, "shop-2");
    await abortRollout(fleet, now, "shop-1", ALICE);
    assert.equal((await make()).id, "shop-3");
  });

  it("refuses groups that are not there, and writes nothing then", async () => {
    await assert.rejects(make({ groups: ["tils"] }), { code: "fleet/unknown-group" });
    await assert.rejects(make({ phases: ["group:tils", "100%"].map(parsePhase) }), {
      code: "fleet/unknown-group",
    });
    assert.equal(fleet.rolloutRows.size, 0);
  });
});

describe("approvals", () => {
  it("come from as many other people as the rollout asks for: not its author, and nobody twice", async () => {
    await make({ approvals: 2 });
    const approve = (who: string) => approveRollout(fleet, now, "shop-1", who);
    await assert.rejects(startRollout(fleet, now, "shop-1", ALICE), { code: "fleet/second-person" });
    await assert.rejects(approve(ALICE), { code: "fleet/second-person" });
    await approve(BOB);
    await assert.rejects(approve(BOB), { code: "fleet/second-person" });
    await assert.rejects(startRollout(fleet, now, "shop-1", BOB), { code: "fleet/second-person" });
    await approve(CAROL);
    assert.equal((await startRollout(fleet, now, "shop-1", ALICE)).state, "running");
    assert.deepEqual(actions(), [
      `${ALICE} rollout/planned`,
      `${BOB} rollout/approved`,
      `${CAROL} rollout/approved`,
      `${ALICE} rollout/started`,
    ]);
    checkChain(null, fleet.auditRows);
  });

  it("can be asked for by the fleet, of one product or of all, and the log says who changed that", async () => {
    assert.equal(await neededApprovals(fleet, "shop"), 0);
    await setApprovals(fleet, now, { product: null, number: 1 }, ALICE);
    assert.equal(await neededApprovals(fleet, "shop"), 1);
    await setApprovals(fleet, now, { product: "shop", number: 2 }, ALICE);
    assert.deepEqual([await neededApprovals(fleet, "shop"), await neededApprovals(fleet, "till")], [2, 1]);
    assert.deepEqual(fleet.auditRows.at(-1)?.facts, { before: 1, after: 2 });
  });
});

describe("leading a rollout", () => {
  it("starts now, or by itself at its time", async () => {
    await make({ startAt: now + HOUR });
    assert.equal((await startRollout(fleet, now, "shop-1", ALICE)).state, "scheduled");
    const started = await takeDue(fleet, now + HOUR, "shop-1", "due");
    assert.deepEqual([started?.state, started?.phase, started?.started], ["running", 0, now + HOUR]);
    // Another server that saw it due as well comes too late.
    assert.equal(await takeDue(fleet, now + HOUR, "shop-1", "due"), null);
  });

  it("opens the next phase by hand, and no phase after the last", async () => {
    await make();
    await startRollout(fleet, now, "shop-1", ALICE);
    assert.equal((await advanceRollout(fleet, now, "shop-1", BOB)).phase, 1);
    await assert.rejects(advanceRollout(fleet, now, "shop-1", BOB), { code: "fleet/rollout-state" });
  });

  it("pauses and goes on in the same phase; each step wakes its groups and no other", async () => {
    await make();
    await startRollout(fleet, now, "shop-1", ALICE);
    const before = fleet.wakeRows.get("group:tills")!;
    await pauseRollout(fleet, now, "shop-1", BOB);
    assert.ok(fleet.wakeRows.get("group:tills")! > before);
    assert.equal(fleet.wakeRows.get("group:kiosks"), undefined);
    assert.equal((await resumeRollout(fleet, now + DAY, "shop-1", BOB)).phase, 0);
    assert.equal((await needRollout(fleet, "shop-1")).state, "running");
    await assert.rejects(resumeRollout(fleet, now, "shop-1", BOB), { code: "fleet/rollout-state" });
    await assert.rejects(pauseRollout(fleet, now, "nothing", BOB), { code: "fleet/unknown-rollout" });
  });
});

const halt = { among: "all", failed: 3, silent: 0, finished: 4, code: "a/b", firstError: "Error: x" };

describe("what a server concluded", () => {
  it("halts a rollout, on record with what failed; a person may go on in spite of it", async () => {
    await make();
    const running = await startRollout(fleet, now, "shop-1", ALICE);
    const halted = await takeVerdict(fleet, now, running, { kind: "halt", halt }, offering("1.0.0"));
    assert.equal(halted?.state, "halted");
    const row = fleet.auditRows.at(-1)!;
    assert.deepEqual(
      [row.actor, row.action, row.facts["firstError"]],
      ["server", "rollout/halted", "Error: x"],
    );
    const resumed = await resumeRollout(fleet, now + HOUR, "shop-1", BOB);
    assert.deepEqual([resumed.state, resumed.countFrom, resumed.halt], ["running", now + HOUR, null]);
    assert.deepEqual(fleet.auditRows.at(-1)?.facts["despite"], halt);
  });

  it("counts for nothing once the rollout is another than the one that was judged (two servers)", async () => {
    await make();
    const running = await startRollout(fleet, now, "shop-1", ALICE);
    const advance = { kind: "advance", why: "enough" } as const;
    assert.equal((await takeVerdict(fleet, now, running, advance, offering("1.0.0")))?.phase, 1);
    assert.equal(await takeVerdict(fleet, now, running, advance, offering("1.0.0")), null);
    await pauseRollout(fleet, now, "shop-1", BOB);
    const paused = await needRollout(fleet, "shop-1");
    assert.equal(await takeVerdict(fleet, now, paused, { kind: "halt", halt }, offering("1.0.0")), null);
  });

  it("ends it after its last phase: the release is what the groups have from then on", async () => {
    await make({ phases: [parsePhase("100%")] });
    const running = await startRollout(fleet, now, "shop-1", ALICE);
    const done = await takeVerdict(fleet, now, running, { kind: "advance", why: "all" }, offering("1.0.0"));
    assert.equal(done?.state, "done");
    assert.equal((await fleet.desired("tills"))[0]?.version, "1.1.0");
    assert.equal((await fleet.desired("kiosks"))[0]?.version, null);
    // Recalled later: what the group followed before is what it follows again.
    const recalled = await takeDue(fleet, now + DAY, "shop-1", "recall");
    assert.equal(recalled?.state, "recalled");
    assert.equal((await fleet.desired("tills"))[0]?.version, null);
    checkChain(null, fleet.auditRows);
  });

  it("leaves a group that follows its channel to it where the channel leads there by now", async () => {
    await make({ phases: [parsePhase("100%")] });
    const running = await startRollout(fleet, now, "shop-1", ALICE);
    await takeVerdict(fleet, now, running, { kind: "advance", why: "all" }, offering("1.1.0"));
    assert.equal((await fleet.desired("tills"))[0]?.version, null);
  });

  it("does not undo what a person changed since, when the release is recalled", async () => {
    await make({ phases: [parsePhase("100%")] });
    const running = await startRollout(fleet, now, "shop-1", ALICE);
    await takeVerdict(fleet, now, running, { kind: "advance", why: "all" }, offering("1.0.0"));
    await assign(fleet, now, { group: "tills", product: "shop", channel: "stable", version: "1.0.5" });
    await takeDue(fleet, now + DAY, "shop-1", "recall");
    assert.equal((await fleet.desired("tills"))[0]?.version, "1.0.5");
  });
});

const attempt = (change: Partial<AttemptReport> = {}): AttemptReport => ({
  id: "1".repeat(32),
  device: "d1",
  sequence: 5,
  previous: null,
  issued: "2026-11-21T04:00:00Z",
  boot: "2".repeat(32),
  kind: "attempt",
  attempt: "3".repeat(32),
  product: "shop",
  from: "1.0.0",
  to: "1.1.0",
  outcome: "rolled-back",
  code: "process/unhealthy",
  step: "rolling-back",
  started: "2026-11-21T04:00:00Z",
  duration: 1,
  bytes: 1,
  source: "origin",
  running: "1.0.0",
  ...change,
});

const machine = { name: "till", platform: { os: "linux", arch: "x64" } } as const;

describe("the result of an attempt", () => {
  const note = (device: string, report: AttemptReport, firstError: string | null = null, group = "tills") =>
    noteAttempt(fleet, now, { ...machine, id: device, group }, { ...report, device }, firstError);
  beforeEach(async () => {
    await make();
    await startRollout(fleet, now, "shop-1", ALICE);
  });

  it("is noted once for each device, and the latest report counts", async () => {
    await note("d1", attempt(), "Error:  no\n GPU");
    const failed = await fleet.rolloutDevice("shop-1", "d1");
    assert.deepEqual(
      [failed?.result, failed?.code, failed?.firstError],
      ["failed", "process/unhealthy", "Error: no GPU"],
    );
    const { code: _code, ...success } = attempt({ sequence: 6, outcome: "success", running: "1.1.0" });
    await note("d1", success);
    await note("d1", attempt({ sequence: 4 }));
    assert.equal((await fleet.rolloutDevice("shop-1", "d1"))?.result, "succeeded");
    assert.equal(fleet.rolloutDeviceRows.size, 1);
  });

  it("weighs nothing of a device that was not let in (hostile reports)", async () => {
    await note("d2", attempt());
    await note("d1", attempt(), null, "kiosks");
    assert.equal(fleet.rolloutDeviceRows.size, 0);
    await fleet.addRolloutDevices([offeredRow({ rollout: "shop-1", device: "d2", phase: 0, offered: now })]);
    await note("d2", attempt());
    assert.equal((await fleet.rolloutDevice("shop-1", "d2"))?.result, "failed");
  });

  it("is none of another release, of a repair, or of an attempt that made room for a newer one", async () => {
    await note("d1", attempt({ to: "1.2.0" }));
    await note("d1", attempt({ from: "1.1.0" }));
    await note("d1", attempt({ outcome: "superseded" }));
    assert.equal(fleet.rolloutDeviceRows.size, 0);
  });

  it("is noted while the rollout is halted too, and no more when it is over", async () => {
    await fleet.addRolloutDevices([offeredRow({ rollout: "shop-1", device: "d2", phase: 0, offered: now })]);
    const running = await needRollout(fleet, "shop-1");
    await takeVerdict(fleet, now, running, { kind: "halt", halt }, offering("1.0.0"));
    await note("d2", attempt());
    assert.equal((await fleet.rolloutDevice("shop-1", "d2"))?.result, "failed");
    await abortRollout(fleet, now + MINUTE, "shop-1", BOB);
    await note("d2", attempt({ sequence: 9, outcome: "refused" }));
    assert.equal((await fleet.rolloutDevice("shop-1", "d2"))?.sequence, 5);
  });
});
