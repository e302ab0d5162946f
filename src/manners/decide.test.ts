// The decision when an update is activated: a test for each row of the table, and for what stands above it.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, HOUR, MINUTE, parseInstant, SECOND } from "../core/instant.ts";
import {
  deadlineOf,
  decide,
  LONGEST_BUSY,
  refusesOld,
  REPAIR_GRACE,
  RULES,
  warningsDue,
  type Rule,
  type Situation,
} from "./decide.ts";
import { merge, type Merged } from "./merge.ts";
import type { Deadline, Line } from "./policy.ts";

const NOW = parseInstant("2026-11-25T09:00:00Z"); // A Wednesday.
const SINCE = NOW - HOUR;

const base: Situation = {
  stage: "activate",
  product: "shop",
  version: "1.1.0",
  kind: "feature",
  now: NOW,
  signedTime: true,
  zone: "UTC",
  since: SINCE,
  up: true,
  installed: true,
  blocked: false,
  asked: false,
  load: 0,
  idleSeconds: 9999,
  battery: null,
  metered: false,
  locks: [],
  interlocks: [],
  answer: null,
  hold: null,
  optedOut: false,
  serverHold: null,
  warned: null,
};
const policy = (line: Partial<Line> = {}): Merged =>
  merge({ format: 1, lines: [{ when: "now", ...line }] }, null, "shop", "feature");
const lock = { holder: "backup", why: "writing", leftMs: 5 * MINUTE };
const busyHours = [{ from: "07:00", to: "19:00" }];
const nightly = [{ from: "22:00", to: "04:00" }];
const fence = { name: "is-parked", why: "it drives", until: NOW + MINUTE };
const past: Deadline = { within: 1800 };

type Expected = { readonly rule: Rule; readonly until?: number | null; readonly now?: boolean };
const says = (facts: Partial<Situation>, line: Partial<Line>, expected: Expected): void => {
  const verdict = decide({ ...base, ...facts }, policy(line));
  assert.equal(verdict.rule, expected.rule);
  assert.equal(verdict.do, expected.now === true ? "now" : "wait");
  if (verdict.do === "wait" && expected.until !== undefined) assert.equal(verdict.until, expected.until);
};

/** Each row: its name, the facts and the line that make it decide, and what it says. */
const ROWS: { readonly [R in Rule]: readonly [Partial<Situation>, Partial<Line>, Omit<Expected, "rule">] } = {
  "server-hold": [{ serverHold: "paused" }, {}, { until: null }],
  interlock: [{ interlocks: [fence] }, {}, { until: NOW + MINUTE }],
  deadline: [{ hold: { until: null } }, { deadline: past }, { now: true }],
  held: [{ hold: { until: NOW + DAY } }, {}, { until: NOW + DAY }],
  busy: [{ locks: [lock] }, {}, { until: NOW + 5 * MINUTE }],
  asked: [{ asked: true }, { when: "ask" }, { now: true }],
  "opted-out": [{ optedOut: true }, {}, { until: null }],
  "repair-grace": [{ kind: "repair" }, {}, { until: SINCE + REPAIR_GRACE }],
  "first-installation": [{ installed: false }, { when: "ask" }, { now: true }],
  "at-start": [{ blocked: true, up: false }, { when: "ask", windows: nightly }, { now: true }],
  skipped: [{ answer: { choice: "skip", until: null } }, { when: "ask" }, { until: null }],
  accepted: [{ answer: { choice: "accept", until: null } }, { when: "ask", windows: nightly }, { now: true }],
  now: [{ load: 99 }, {}, { now: true }],
  asks: [{}, { when: "ask" }, { until: null }],
  "active-hours": [{}, { activeHours: busyHours }, { until: parseInstant("2026-11-25T19:00:00Z") }],
  window: [{}, { windows: nightly }, { until: parseInstant("2026-11-25T22:00:00Z") }],
  metered: [{ stage: "fetch", metered: true }, { metered: false }, { until: NOW + MINUTE }],
  battery: [{ battery: 29 }, { when: "when-possible" }, { until: NOW + MINUTE }],
  load: [{ load: 101 }, { when: "when-possible" }, { until: NOW + MINUTE }],
  idle: [{ idleSeconds: 100 }, { idleSeconds: 160 }, { until: NOW + 60 * SECOND }],
  "nothing-in-the-way": [{}, { when: "when-possible" }, { now: true }],
};

describe("the decision when an update is activated", () => {
  for (const rule of RULES)
    it(`has a row for ${rule}`, () => {
      const [facts, line, expected] = ROWS[rule];
      says(facts, line, { rule, ...expected });
    });

  it("names a command that changes each wait", () => {
    for (const [facts, line] of Object.values(ROWS)) {
      const verdict = decide({ ...base, ...facts }, policy(line));
      if (verdict.do === "wait") assert.match(verdict.command, /^upkeep (agent|fleet) /);
    }
  });

  it("lets the owner's hold outlast everything but the deadline", () => {
    const facts: Partial<Situation> = {
      hold: { until: null },
      asked: true,
      answer: { choice: "accept", until: null },
    };
    says(facts, { deadline: { within: 7200 } }, { rule: "held", until: SINCE + 2 * HOUR });
    says(facts, { deadline: past }, { rule: "deadline", now: true });
  });

  it("never lets a deadline pass an interlock, unless the signed policy says that it does", () => {
    says({ interlocks: [fence] }, { deadline: past }, { rule: "interlock", until: NOW + MINUTE });
    says(
      { interlocks: [fence] },
      { deadline: { ...past, overInterlocks: true } },
      { rule: "deadline", now: true },
    );
    says({ interlocks: [fence], asked: true }, {}, { rule: "interlock" });
    says(
      { interlocks: [fence] },
      { deadline: { within: 7200, overInterlocks: true } },
      { rule: "interlock" },
    );
  });

  it("obeys the server's hold above the deadline that came from it", () => {
    says({ serverHold: "recalled" }, { deadline: past }, { rule: "server-hold", until: null });
  });

  it("ends each wait of a person, an application or an hour at the deadline", () => {
    const deadline: Deadline = { within: 2 * 3600 };
    const due = SINCE + 2 * HOUR;
    says(
      { answer: { choice: "later", until: NOW + DAY } },
      { when: "ask", deadline },
      { rule: "asks", until: due },
    );
    says({ answer: { choice: "skip", until: null } }, { deadline }, { rule: "skipped", until: due });
    says({ optedOut: true }, { deadline }, { rule: "opted-out", until: due });
    says({}, { activeHours: busyHours, deadline }, { rule: "active-hours", until: due });
    says({ locks: [{ ...lock, leftMs: DAY }] }, { deadline }, { rule: "busy", until: due });
    says(
      {},
      { when: "ask", deadline: { by: "2026-11-25T09:30:00Z" } },
      { rule: "asks", until: NOW + 30 * MINUTE },
    );
  });

  it("asks again when the time of a 'later' is over", () => {
    says({ answer: { choice: "later", until: NOW + 1 } }, { when: "ask" }, { rule: "asks", until: NOW + 1 });
    says({ answer: { choice: "later", until: NOW } }, { when: "ask" }, { rule: "asks", until: null });
  });

  it("waits for no application longer than a fortnight, however often it renews its lock", () => {
    says({ locks: [lock], since: NOW - LONGEST_BUSY + 1 }, {}, { rule: "busy" });
    says({ locks: [lock], since: NOW - LONGEST_BUSY }, {}, { rule: "now", now: true });
  });

  it("asks for a safe point also when a person wants the update at once", () => {
    says({ locks: [lock], asked: true }, {}, { rule: "busy" });
  });

  it("repairs at once what does not run, whatever its owner holds", () => {
    const down: Partial<Situation> = {
      kind: "repair",
      up: false,
      hold: { until: null },
      optedOut: true,
      locks: [lock],
    };
    says(down, {}, { rule: "repair-grace", now: true });
    says({ kind: "repair", since: NOW - REPAIR_GRACE }, {}, { rule: "repair-grace", now: true });
    says({ kind: "repair", since: NOW + 1 }, {}, { rule: "repair-grace", now: true });
    says({ kind: "repair", hold: { until: null } }, {}, { rule: "held" });
    says({ up: false, hold: { until: null } }, {}, { rule: "held" });
    says({ up: false, optedOut: true }, {}, { rule: "opted-out" });
    says({ up: false, locks: [lock] }, {}, { rule: "busy" });
  });

  it("fetches ahead while activation waits, but not over a metered link or for an owner who opted out", () => {
    const fetch = { stage: "fetch" } as const;
    const waiting = {
      hold: { until: null },
      locks: [lock],
      interlocks: [fence],
      load: 900,
      battery: 1,
      idleSeconds: 0,
    };
    const line: Partial<Line> = {
      when: "ask",
      windows: nightly,
      activeHours: busyHours,
      idleSeconds: 9,
      maxLoad: 100,
      minBattery: 9,
    };
    says({ ...fetch, ...waiting, answer: { choice: "skip", until: null } }, line, {
      rule: "nothing-in-the-way",
      now: true,
    });
    says({ ...fetch, kind: "repair" }, {}, { rule: "now", now: true });
    says({ ...fetch, optedOut: true }, {}, { rule: "opted-out" });
    says({ metered: true }, { metered: false }, { rule: "nothing-in-the-way", now: true });
  });

  it("fetches over a metered link when the deadline is near", () => {
    const facts = { stage: "fetch", metered: true } as const;
    says(facts, { metered: false, deadline: { within: 7200 } }, { rule: "deadline", now: true });
    says(facts, { metered: false, deadline: { within: 7201 } }, { rule: "metered" });
    says(
      facts,
      { metered: false, deadline: { within: 10_800, warn: [7200] } },
      { rule: "deadline", now: true },
    );
    says(facts, { metered: false, deadline: { within: 10_801, warn: [7200] } }, { rule: "metered" });
  });

  it("takes what this machine cannot tell for nothing in the way", () => {
    const blind = { load: null, idleSeconds: null, battery: null, metered: null };
    says(blind, { when: "when-possible", idleSeconds: 60 }, { rule: "nothing-in-the-way", now: true });
    says({ ...blind, stage: "fetch" }, { when: "when-possible" }, { rule: "nothing-in-the-way", now: true });
  });

  it("lets conditions hold for a line that says now", () => {
    says({ load: 3 }, { maxLoad: 2 }, { rule: "load" });
    says({ battery: 20 }, { minBattery: 21 }, { rule: "battery" });
    says({ idleSeconds: 0 }, { idleSeconds: 1 }, { rule: "idle" });
    says({ stage: "fetch", metered: true }, { metered: false }, { rule: "metered" });
  });

  it("lets all conditions through at their bound", () => {
    says(
      { load: 2, battery: 20, idleSeconds: 30 },
      { maxLoad: 2, minBattery: 20, idleSeconds: 30 },
      { rule: "nothing-in-the-way", now: true },
    );
  });

  it("waits for hours that both lists allow", () => {
    const line: Partial<Line> = { windows: [{ from: "08:00", to: "23:00" }], activeHours: busyHours };
    says({}, line, { rule: "active-hours", until: parseInstant("2026-11-25T19:00:00Z") });
    const never: Partial<Line> = { windows: [{ from: "08:00", to: "18:00" }], activeHours: busyHours };
    says({}, never, { rule: "active-hours", until: null });
  });
});

describe("a deadline", () => {
  const line: Partial<Line> = { when: "ask", deadline: { within: 3600 * 4, warn: [7200, 600] } };
  const due = SINCE + 4 * HOUR;
  const at = (now: number, more: Partial<Situation> = {}): Situation => ({ ...base, now, ...more });

  it("is kept to the millisecond when its warnings were given", () => {
    assert.equal(decide(at(due - 1, { warned: due - 2 * HOUR }), policy(line)).do, "wait");
    assert.equal(decide(at(due, { warned: due - 2 * HOUR }), policy(line)).rule, "deadline");
  });

  it("gives people the shortest warning when the machine slept through all of them", () => {
    assert.equal(decide(at(due + DAY), policy(line)).do, "wait");
    assert.equal(deadlineOf(at(due + DAY, { warned: due + DAY }), policy(line)), due + DAY + 10 * MINUTE);
    assert.equal(decide(at(due + DAY + 10 * MINUTE, { warned: due + DAY }), policy(line)).rule, "deadline");
  });

  it("warns once for each lead time", () => {
    assert.deepEqual(warningsDue(at(due - 2 * HOUR - 1), policy(line), []), []);
    assert.deepEqual(warningsDue(at(due - 2 * HOUR), policy(line), []), [7200]);
    assert.deepEqual(warningsDue(at(due - 10 * MINUTE), policy(line), [7200]), [600]);
    assert.deepEqual(warningsDue(at(due), policy(line), [7200, 600]), []);
    assert.deepEqual(warningsDue(at(due, { serverHold: "paused" }), policy(line), []), []);
    assert.deepEqual(warningsDue(at(due), policy(), []), []);
  });

  it("counts from now on for a release that was noted by a clock that was ahead", () => {
    assert.equal(
      deadlineOf(at(NOW, { since: NOW + 10 * DAY }), policy({ deadline: { within: 3600 } })),
      NOW + HOUR,
    );
    const early = at(NOW, { since: NOW + 10 * DAY });
    assert.deepEqual(warningsDue(early, policy({ deadline: { within: 3600, warn: [3600] } }), []), [3600]);
  });

  it("lets the old version run on, unless the policy says stop, the time is signed, and nobody at the server holds", () => {
    const stop: Partial<Line> = { deadline: { within: 1800, after: "stop" } };
    assert.match(refusesOld(base, policy(stop)) ?? "", /1\.1\.0 was to run here by 2026-11-25T08:30:00Z/);
    assert.equal(refusesOld(base, policy({ deadline: { within: 1800, after: "install" } })), null);
    assert.equal(refusesOld(base, policy({ deadline: { within: 1800 } })), null);
    assert.equal(refusesOld({ ...base, signedTime: false }, policy(stop)), null);
    assert.equal(refusesOld({ ...base, serverHold: "paused" }, policy(stop)), null);
    assert.equal(refusesOld({ ...base, since: NOW }, policy(stop)), null);
    assert.equal(refusesOld(base, policy()), null);
  });
});
