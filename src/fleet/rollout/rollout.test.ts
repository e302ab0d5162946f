// Rollouts by their rules: who is let in, what advances and what halts, what a device gets, and what time changes.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, HOUR, MINUTE, parseInstant, SECOND } from "../../core/instant.ts";
import type { Catalogue } from "../decide.ts";
import { NO_LABELS } from "../label-record.ts";
import type { Desired } from "../records.ts";
import { ROLLOUT_STATES, type RosterDevice, type Rollout, type RolloutDevice } from "../rollout-record.ts";
import { cohortOf, phaseOf } from "./cohort.ts";
import { decideDevice, decideProduct } from "./decide-device.ts";
import { dueEvent } from "./follow.ts";
import { judge, placeDevices, standingOf, tallyOf, type Judged } from "./judge.ts";
import { checkPlan, DEFAULT_RULES, parsePhase, phaseText } from "./plan.ts";
import { nextState, ROLLOUT_TABLE, type RolloutEvent } from "./table.ts";
import { opensAt, parseWindow, windowText } from "./window.ts";

const now = parseInstant("2026-11-21T04:00:00Z");
const digest = "a".repeat(64);
/** A device as a member of a rollout. */
const member = (id: string, group = "tills") => ({
  id,
  group,
  name: "till",
  platform: "linux-x64-glibc",
  labels: NO_LABELS,
});
const idOf = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

const rollout: Rollout = {
  id: "shop-1",
  product: "shop",
  version: "1.1.0",
  manifestSha256: digest,
  groups: ["tills"],
  phases: ["10%", "50%", "100%"].map(parsePhase),
  rules: { ...DEFAULT_RULES, soak: 0 },
  windows: [],
  deadline: null,
  startAt: null,
  approvals: 0,
  approvedBy: [],
  salt: "01",
  author: "operator:alice",
  created: now - HOUR,
  state: "running",
  since: now - HOUR,
  phase: 0,
  phaseSince: now - HOUR,
  started: now - HOUR,
  ended: null,
  countFrom: null,
  halt: null,
  pinned: [],
  revision: 2,
};
const desired: Desired = {
  group: "tills",
  product: "shop",
  channel: "stable",
  version: null,
  hold: null,
  holdUntil: null,
  changed: now - DAY,
};
/** A repository whose channel points to `current`. */
const offering = (current: string): Catalogue => ({
  timestamp: () => "f".repeat(64),
  current: () => ({ version: current, manifestSha256: digest }),
  byVersion: (_, version) => ({ version, manifestSha256: digest }),
});

/** Ids of devices by the phase that lets them in first. */
const inPhase = (phase: number, count: number): readonly string[] =>
  Array.from({ length: 1000 }, (_, n) => idOf(n))
    .filter((id) => phaseOf(rollout, member(id, "tills")) === phase)
    .slice(0, count);
const [early] = inPhase(0, 1) as [string];
const [late] = inPhase(2, 1) as [string];

describe("a cohort", () => {
  it("takes about its share of any fleet, and grows without losing a device", () => {
    const ids = Array.from({ length: 10_000 }, (_, n) => idOf(n));
    const below = (percent: number) => ids.filter((id) => cohortOf("salt", id) < percent);
    for (const percent of [1, 10, 50]) {
      const share = below(percent).length / 100;
      assert.ok(Math.abs(share - percent) < 1.5, `${percent} % took ${share} %`);
    }
    const wide = new Set(below(50));
    assert.ok(below(10).every((id) => wide.has(id)));
  });

  it("is another one in each rollout, so that the same devices are not always first", () => {
    const ids = Array.from({ length: 2000 }, (_, n) => idOf(n));
    const first = ids.filter((id) => cohortOf("01", id) < 10);
    const both = first.filter((id) => cohortOf("02", id) < 10);
    assert.ok(both.length < first.length / 3, `${both.length} of ${first.length} are first twice`);
  });

  it("is nothing of a device outside of the rollout's groups", () => {
    assert.equal(phaseOf(rollout, member(early, "kiosks")), null);
    assert.equal(phaseOf({ ...rollout, groups: [] }, member(early, "kiosks")), 0);
  });

  it("lets named devices and groups in where the phase says so", () => {
    const phases = [`device:${late}`, "group:kiosks 50%", "100%"].map(parsePhase);
    const of = { ...rollout, groups: [], phases };
    assert.equal(phaseOf(of, member(late, "tills")), 0);
    assert.equal(phaseOf(of, member(early, "tills")), 2);
    assert.equal(phaseOf(of, member(early, "kiosks")), 1);
  });
});

describe("a phase with an expression", () => {
  it("lets in whom it holds for, and of those the part that it names", () => {
    const of = { ...rollout, phases: ["where:tag = canary 50%", "100%"].map(parsePhase) };
    const labels = { tags: ["canary"], attributes: {} };
    const phases = Array.from({ length: 400 }, (_, n) => phaseOf(of, { ...member(idOf(n)), labels }));
    const first = phases.filter((phase) => phase === 0).length;
    assert.ok(first > 150 && first < 250, `${first} of 400`);
    assert.equal(phaseOf(of, member(early)), 1);
    assert.throws(() => checkPlan({ ...of, phases: ["where:tag", "100%"].map(parsePhase) }, now), {
      code: "fleet/bad-filter",
    });
  });
});

describe("a phase and a window as people write them", () => {
  it("come back as they were written", () => {
    for (const text of [
      "10%",
      "0.5%",
      "group:tills,kiosks 50%",
      "device:a,b",
      "100%",
      "where:tag in (a, b) 20%",
    ])
      assert.equal(phaseText(parsePhase(text)), text);
    assert.equal(phaseText(parsePhase("group:tills")), "group:tills 100%");
    assert.equal(windowText(parseWindow("mon-wed,sun 22:00-04:00")), "sun,mon,tue,wed 22:00-04:00");
    assert.equal(windowText(parseWindow("00:00-24:00")), "00:00-24:00");
  });

  for (const text of ["", "0%", "101%", "-5%", "tills", "group:", "device:a 10%", "group:a,,b", "10", "1e1%"])
    it(`refuses ${JSON.stringify(text)} as a phase`, () => {
      assert.throws(() => parsePhase(text), { code: "fleet/bad-rollout" });
    });

  for (const text of ["", "22-04", "25:00-04:00", "22:00-22:00", "monday 22:00-23:00", "mon- 22:00-23:00"])
    it(`refuses ${JSON.stringify(text)} as a window`, () => {
      assert.throws(() => parseWindow(text), { code: "fleet/bad-rollout" });
    });

  it("are refused together where no device or not every device would be reached", () => {
    const plan = (phases: readonly string[], more: object = {}) => ({
      ...rollout,
      phases: phases.map(parsePhase),
      ...more,
    });
    checkPlan(plan(["device:a", "10%", "100%"]), now);
    for (const [phases, more] of [
      [["10%"], {}],
      [["50%", "10%", "100%"], {}],
      [["100%", "group:tills 10%"], {}],
      [[], {}],
      [["100%"], { deadline: now }],
      [["100%"], { rules: { ...DEFAULT_RULES, sample: 0 } }],
      [["100%"], { rules: { ...DEFAULT_RULES, success: 101 } }],
      [["100%"], { approvals: 6 }],
    ] as const)
      assert.throws(() => checkPlan(plan(phases, more), now), { code: "fleet/bad-rollout" }, phases.join());
  });
});

describe("a window", () => {
  const of = (...windows: string[]) => ({ windows: windows.map(parseWindow), deadline: null });

  it("is open from its first minute to before its last, also over midnight", () => {
    // now is a Saturday, 04:00.
    assert.equal(opensAt(of("03:00-05:00"), now), now);
    assert.equal(opensAt(of("04:00-05:00"), now), now);
    assert.equal(opensAt(of("fri 22:00-04:01"), now), now);
    assert.equal(opensAt(of("fri 22:00-04:00"), now), now + 6 * DAY + 18 * HOUR);
    assert.equal(opensAt(of("sat 22:00-04:30"), now), now + 18 * HOUR);
  });

  it("says when the next of several opens", () => {
    assert.equal(opensAt(of("mon 06:00-07:00", "sun 05:00-06:00"), now), now + 25 * HOUR);
  });

  it("does not keep a device back after the deadline", () => {
    const late = { ...of("mon 06:00-07:00"), deadline: now };
    assert.equal(opensAt(late, now), now);
    assert.equal(opensAt({ ...late, deadline: now + HOUR }, now), now + HOUR);
  });
});

describe("the table of states", () => {
  it("leads nowhere from a recalled rollout, and only by a recall from one that is over", () => {
    assert.deepEqual(ROLLOUT_TABLE.recalled, {});
    assert.deepEqual(Object.keys(ROLLOUT_TABLE.done), ["recall"]);
    assert.deepEqual(Object.keys(ROLLOUT_TABLE.aborted), ["recall"]);
  });

  it("reaches every state from a plan", () => {
    const seen = new Set<string>(["planned"]);
    for (const state of seen)
      for (const next of Object.values(ROLLOUT_TABLE[state as Rollout["state"]])) seen.add(next);
    assert.deepEqual([...seen].toSorted(), [...ROLLOUT_STATES].toSorted());
  });

  for (const [state, event] of [
    ["done", "resume"],
    ["halted", "advance"],
    ["paused", "halt"],
    ["aborted", "start"],
    ["running", "approve"],
    ["running", "start"],
  ] as const satisfies readonly (readonly [Rollout["state"], RolloutEvent])[])
    it(`refuses to ${event} a rollout that is ${state}`, () => {
      assert.throws(() => nextState("shop-1", state, event), { code: "fleet/rollout-state" });
    });
});

describe("what a device gets under a rollout", () => {
  const gets = (
    change: Partial<Rollout>,
    device: { readonly id: string; readonly runs?: string | null; readonly group?: string },
    current = "1.0.0",
    own: Partial<Desired> = {},
  ) => {
    const { runs = "1.0.0", group = "tills" } = device;
    const { component, rule } = decideProduct(
      { ...desired, group, ...own },
      [{ ...rollout, ...change }],
      { ...member(device.id, group), reported: () => runs },
      offering(current),
      now,
      now + DAY,
    );
    return [rule, "release" in component ? component.release.version : component.hold.reason] as const;
  };

  it("is the release for who is let in, and a hold for the others", () => {
    assert.deepEqual(gets({}, { id: early }), ["offered", "1.1.0"]);
    assert.deepEqual(gets({}, { id: late }), ["phase", "not-your-turn"]);
    assert.deepEqual(gets({ phase: 2 }, { id: late }), ["offered", "1.1.0"]);
  });

  it("stays held although the channel points to the release already", () => {
    for (const state of ["planned", "scheduled", "paused", "halted", "aborted", "recalled"] as const) {
      const [, what] = gets({ state, phase: 2 }, { id: late }, "1.1.0");
      assert.notEqual(what, "1.1.0", state);
    }
    assert.deepEqual(gets({}, { id: late }, "1.1.0"), ["phase", "not-your-turn"]);
  });

  it("is what the group had before for a device that has less", () => {
    assert.deepEqual(gets({}, { id: late, runs: null }), ["phase", "1.0.0"]);
    assert.deepEqual(gets({}, { id: late, runs: "0.9.0" }), ["phase", "1.0.0"]);
    assert.deepEqual(gets({ state: "halted" }, { id: late, runs: "0.9.0" }), ["halted", "1.0.0"]);
  });

  it("lets no device follow the channel past the rollout while the server is away", () => {
    const { components } = decideDevice(
      [desired],
      [rollout],
      { ...member(late), reported: () => null },
      offering("1.0.0"),
      now,
      now + DAY,
    );
    assert.equal("followUntil" in components[0]!, false);
  });

  it("says why in the words of the assignment: paused, halted, not your turn", () => {
    assert.deepEqual(gets({ state: "paused" }, { id: early }), ["paused", "paused"]);
    assert.deepEqual(gets({ state: "halted" }, { id: early }), ["halted", "halted"]);
    assert.deepEqual(gets({ state: "planned", approvals: 1 }, { id: early }), [
      "not-approved",
      "not-your-turn",
    ]);
    assert.deepEqual(gets({ state: "scheduled" }, { id: early }), ["not-started", "not-your-turn"]);
    assert.deepEqual(gets({ windows: [parseWindow("06:00-07:00")] }, { id: early }), [
      "window",
      "not-your-turn",
    ]);
  });

  it("is the release for who runs it already, also while it is halted, but not when it was recalled", () => {
    assert.deepEqual(gets({ state: "halted" }, { id: late, runs: "1.1.0" }), ["runs-it", "1.1.0"]);
    assert.deepEqual(gets({ state: "aborted" }, { id: late, runs: "1.1.0" }, "1.1.0"), ["runs-it", "1.1.0"]);
    assert.deepEqual(gets({ state: "recalled" }, { id: late, runs: "1.1.0" }, "1.0.0"), ["follows", "1.0.0"]);
    assert.deepEqual(gets({ state: "recalled" }, { id: late, runs: "1.1.0" }, "1.1.0"), [
      "recalled",
      "recalled",
    ]);
  });

  it("is no release with other bytes than those that the rollout was made for", () => {
    assert.deepEqual(gets({ manifestSha256: "b".repeat(64) }, { id: early }), ["no-release", "no-release"]);
  });

  it("is what the group has after an abort, unless that is the release itself", () => {
    assert.deepEqual(gets({ state: "aborted" }, { id: late }, "1.2.0"), ["follows", "1.2.0"]);
    assert.deepEqual(gets({ state: "aborted" }, { id: late }, "1.1.0"), ["aborted", "halted"]);
    assert.deepEqual(gets({ state: "aborted" }, { id: late, group: "kiosks" }, "1.1.0"), [
      "follows",
      "1.1.0",
    ]);
  });

  it("stays what an operator held", () => {
    assert.deepEqual(gets({}, { id: early }, "1.0.0", { hold: "paused" }), ["group-held", "paused"]);
  });

  it("comes to everybody at the deadline, whatever phase is open, but not past a halt", () => {
    assert.deepEqual(gets({ deadline: now }, { id: late }), ["offered", "1.1.0"]);
    assert.deepEqual(gets({ deadline: now, state: "halted" }, { id: late }), ["halted", "halted"]);
  });
});

const machine = (n: number, change: Partial<RosterDevice> = {}): RosterDevice => ({
  id: idOf(n),
  name: `till ${n}`,
  group: "tills",
  status: "active",
  enrolled: now - 90 * DAY,
  lastSeen: now,
  platform: "linux-x64-glibc",
  labels: NO_LABELS,
  ...change,
});
const row = (device: string, change: Partial<RolloutDevice> = {}): RolloutDevice => ({
  rollout: "shop-1",
  device,
  phase: 0,
  offered: now - 30 * MINUTE,
  result: "offered",
  at: null,
  sequence: 0,
  code: null,
  step: null,
  firstError: null,
  ...change,
});
const succeeded = { result: "succeeded", at: now - MINUTE } as const;
const failed = {
  result: "failed",
  at: now - MINUTE,
  code: "process/unhealthy",
  firstError: "Error: no GPU",
} as const;
const whole: Rollout = { ...rollout, phases: [parsePhase("100%")], groups: [] };
const never = (): boolean => false;
const verdict = (of: Rollout, devices: readonly Judged[], at = now) =>
  judge(of, placeDevices(of, devices, at, never), at);
/** `count` devices, each with the row that `result` gives it. */
const fleet = (
  count: number,
  result: (n: number) => Partial<RolloutDevice> | null,
  change: (n: number) => Partial<RosterDevice> = () => ({}),
): readonly Judged[] =>
  Array.from({ length: count }, (_, n) => {
    const given = result(n);
    return {
      device: machine(n, change(n)),
      row: given === null ? null : row(idOf(n), given),
      running: "1.0.0",
    };
  });

describe("a rollout halts", () => {
  const halted = (of: Rollout, devices: readonly Judged[], at = now) => {
    const judged = verdict(of, devices, at);
    return judged.kind === "halt" ? judged.halt : null;
  };

  it("when enough devices failed, and too large a part of those with a result", () => {
    assert.deepEqual(
      halted(
        whole,
        fleet(10, (n) => (n < 3 ? failed : succeeded)),
      ),
      {
        among: "all",
        failed: 3,
        silent: 0,
        finished: 10,
        code: "process/unhealthy",
        firstError: "Error: no GPU",
      },
    );
  });

  it("not by fewer devices than the sample, whatever part they are (one hostile device)", () => {
    assert.equal(
      halted(
        whole,
        fleet(2, () => failed),
      ),
      null,
    );
    assert.equal(
      halted(
        { ...whole, rules: { ...whole.rules, sample: 2 } },
        fleet(2, () => failed),
      )?.failed,
      2,
    );
  });

  it("not by a part below the limit", () => {
    assert.equal(
      halted(
        whole,
        fleet(100, (n) => (n < 9 ? failed : succeeded)),
      ),
      null,
    );
    assert.equal(
      halted(
        whole,
        fleet(100, (n) => (n < 10 ? failed : succeeded)),
      )?.failed,
      10,
    );
  });

  it("for one kind of machine that fails although it drowns among the others, and says which", () => {
    const arm = (n: number) => (n < 4 ? { platform: "linux-arm64-glibc" } : {});
    const halt = halted(
      whole,
      fleet(200, (n) => (n < 4 ? failed : succeeded), arm),
    );
    assert.equal(halt?.among, "platform linux-arm64-glibc");
    assert.equal(halt.finished, 4);
  });

  it("for one group that fails although it drowns among the others, and says which", () => {
    const halt = halted(
      whole,
      fleet(
        200,
        (n) => (n < 4 ? failed : succeeded),
        (n) => (n < 4 ? { group: "kiosks" } : {}),
      ),
    );
    assert.equal(halt?.among, "group kiosks");
  });

  it("when devices fall silent over the update, but not when the whole fleet is switched off", () => {
    const gone = { lastSeen: now - 25 * MINUTE };
    const at = now + 2 * HOUR;
    const back = { lastSeen: at };
    const halt = halted(
      whole,
      fleet(
        20,
        (n) => (n < 10 ? {} : null),
        (n) => (n < 10 ? gone : back),
      ),
      at,
    );
    assert.deepEqual([halt?.silent, halt?.failed], [10, 0]);
    assert.equal(
      halted(
        whole,
        fleet(
          20,
          (n) => (n < 10 ? {} : null),
          () => gone,
        ),
        at,
      ),
      null,
    );
  });

  it("not for a device that went on for long after its update and is switched off now", () => {
    const judged = { device: machine(1, { lastSeen: now }), row: row(idOf(1), succeeded), running: "1.1.0" };
    const at = now + 30 * DAY;
    assert.equal(standingOf(whole, judged, at, never), "silent");
    const later = { ...judged, device: machine(1, { lastSeen: now + 5 * HOUR }) };
    assert.equal(standingOf(whole, later, at, never), "current");
  });

  it("not again for what a person saw when it was resumed", () => {
    const devices = fleet(10, (n) => (n < 5 ? failed : succeeded));
    assert.equal(halted({ ...whole, countFrom: now }, devices), null);
    assert.notEqual(halted({ ...whole, countFrom: now - HOUR }, devices), null);
  });

  it("not by reports of devices that were not offered the release", () => {
    assert.equal(
      halted(
        whole,
        fleet(10, () => null),
      ),
      null,
    );
  });
});

describe("a rollout advances", () => {
  it("when enough devices of the phase run the release, and the phase has lasted", () => {
    const devices = fleet(10, (n) => (n < 9 ? succeeded : {}));
    assert.equal(verdict(whole, devices).kind, "advance");
    const soaking = { ...whole, rules: { ...whole.rules, soak: 3601 } };
    assert.equal(verdict(soaking, devices).kind, "wait");
    assert.equal(verdict(soaking, devices, now + SECOND).kind, "advance");
    assert.equal(
      verdict(
        whole,
        fleet(10, (n) => (n < 8 ? succeeded : {})),
      ).kind,
      "wait",
    );
  });

  it("without devices that are away, but not without any that is there", () => {
    const devices = fleet(10, (n) => (n < 9 ? succeeded : {}));
    const half = placeDevices(whole, devices, now, ({ id }) => id === idOf(9));
    assert.equal(tallyOf(half).away, 1);
    assert.equal(judge({ ...whole, rules: { ...whole.rules, success: 100 } }, half, now).kind, "advance");
    const none = placeDevices(
      whole,
      fleet(3, () => null),
      now,
      () => true,
    );
    assert.equal(judge(whole, none, now).kind, "wait");
  });

  it("past a phase in which there is no device", () => {
    assert.equal(
      verdict({ ...whole, phases: [parsePhase("device:nobody"), parsePhase("100%")] }, []).kind,
      "advance",
    );
  });

  it("counts a device that had the release before, or has a newer one", () => {
    for (const running of ["1.1.0", "1.2.0"])
      assert.equal(standingOf(whole, { device: machine(1), row: null, running }, now, never), "current");
    assert.equal(
      standingOf(whole, { device: machine(1), row: null, running: "1.1.0-rc.1" }, now, never),
      "waiting",
    );
  });

  it("counts no revoked device", () => {
    const revoked = fleet(
      3,
      () => null,
      () => ({ status: "revoked" }),
    );
    assert.equal(placeDevices(whole, revoked, now, never).length, 0);
  });
});

describe("time and the repository alone", () => {
  it("start a scheduled rollout when it is due, and end one whose release was recalled", () => {
    const scheduled = { ...rollout, state: "scheduled", startAt: now } as const;
    assert.equal(dueEvent(scheduled, never, now - 1), null);
    assert.equal(dueEvent(scheduled, never, now), "due");
    assert.equal(dueEvent({ ...rollout, state: "done" }, never, now), null);
    for (const state of ["planned", "running", "halted", "done", "aborted"] as const)
      assert.equal(
        dueEvent({ ...rollout, state }, (_, version) => version === "1.1.0", now),
        "recall",
      );
    assert.equal(
      dueEvent({ ...rollout, state: "recalled" }, () => true, now),
      null,
    );
  });
});
