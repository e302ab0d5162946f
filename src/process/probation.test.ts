// Probation as timelines: patience with what starts, none with what ends, and no verdict from what cannot be known.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { readCommand, readHttp, type Observation } from "./health.ts";
import { beginProbation, deadlineMs, observe, type ProbationRules, type Verdict } from "./probation.ts";
import { afterEnd, CRASH_LOOP } from "./restart.ts";

const RULES: ProbationRules = {
  job: false,
  startSeconds: 10,
  intervalSeconds: 5,
  timeoutSeconds: 5,
  successes: 2,
  failures: 3,
  probationSeconds: 30,
  wellBefore: true,
};
const well: Observation = { kind: "well" };
const sick: Observation = { kind: "sick", reason: "answered 500" };
const unknown: Observation = { kind: "unknown", reason: "answered 429" };
const ended = (success: boolean): Observation => ({ kind: "exited", reason: "ended", success });

/** Observations by second; returns the last verdict and when it came. */
function run(
  timeline: readonly (readonly [number, Observation])[],
  rules = RULES,
): readonly [number, Verdict] {
  let state = beginProbation(0);
  for (const [second, seen] of timeline) {
    const [next, verdict] = observe(state, seen, second * 1000, rules);
    state = next;
    if (verdict.kind === "well" || verdict.kind === "failed") return [second, verdict];
  }
  return [-1, { kind: "watch" }];
}

const every = (seconds: number, until: number, seen: (second: number) => Observation) =>
  Array.from(
    { length: Math.floor(until / seconds) },
    (_, i) => [(i + 1) * seconds, seen((i + 1) * seconds)] as const,
  );

describe("probation", () => {
  it("ends well after enough good probes and the whole time of being well", () => {
    assert.deepEqual(run(every(5, 100, () => well)), [40, { kind: "well" }]);
  });

  it("begins anew when the version falls sick in between", () => {
    const [second, verdict] = run(every(5, 200, (s) => (s === 35 ? sick : well)));
    assert.deepEqual([second, verdict.kind], [75, "well"]);
  });

  it("is patient while the version starts", () => {
    const [, verdict] = run(every(1, 60, (s) => (s < 9 ? sick : well)));
    assert.equal(verdict.kind, "well");
  });

  it("fails after so many bad probes in a row, with the last reason", () => {
    const [second, verdict] = run(every(5, 100, () => sick));
    assert.deepEqual(
      [second, verdict],
      [20, { kind: "failed", code: "process/unhealthy", reason: "answered 500" }],
    );
  });

  it("starts a program again that ended, and fails when it ends again and again", () => {
    let state = beginProbation(0);
    const verdicts: string[] = [];
    for (let i = 1; i <= 3; i++) {
      const [next, verdict] = observe(state, ended(false), i * 1000, RULES);
      state = next;
      verdicts.push(verdict.kind === "failed" ? verdict.code : verdict.kind);
    }
    assert.deepEqual(verdicts, ["restart", "restart", "process/exited"]);
  });

  it("finds out a program that answers well between its crashes", () => {
    const [second, verdict] = run(every(1, 100, (s) => (s % 2 === 0 ? ended(false) : well)));
    assert.deepEqual([second, verdict.kind === "failed" && verdict.code], [6, "process/exited"]);
  });

  it("counts crashes and bad probes together", () => {
    const seen = (s: number): Observation => (s < 12 ? well : s === 12 ? sick : ended(false));
    const [second, verdict] = run(every(1, 100, seen));
    assert.deepEqual([second, verdict.kind === "failed" && verdict.code], [14, "process/exited"]);
  });

  it("ends at last for a version that is never well long enough", () => {
    const flapping = every(5, 1000, (s) => (s % 20 === 0 ? sick : well));
    const [second, verdict] = run(flapping);
    assert.deepEqual(verdict.kind === "failed" && verdict.code, "process/never-settled");
    assert.ok(second * 1000 <= deadlineMs(RULES) + 5000);
  });

  it("never goes back for what cannot be known, unless the old version was seen well", () => {
    const timeline = every(5, 1000, () => unknown);
    const [, held] = run(timeline);
    assert.deepEqual(held.kind === "failed" && held.code, "process/unknown-too-long");
    assert.equal(run(timeline, { ...RULES, wellBefore: false })[1].kind, "well");
  });

  it("takes a job's exit code as its verdict", () => {
    const rules = { ...RULES, job: true };
    assert.deepEqual(run([[3, ended(true)]], rules), [3, { kind: "well" }]);
    const [, verdict] = run([[3, ended(false)]], rules);
    assert.deepEqual(verdict.kind === "failed" && verdict.code, "process/exited");
    const [, never] = run(
      every(5, 1000, () => unknown),
      rules,
    );
    assert.deepEqual(never.kind === "failed" && never.code, "process/never-settled");
  });
});

describe("a probe", () => {
  const output = "no database";
  const exit = (code: number) => readCommand({ kind: "exit", exit: { code, signal: null }, output });
  it("tells sickness of the version from trouble of the world", () => {
    assert.deepEqual(
      [200, 204, 302, 404, 429, 500, 503].map((status) => readHttp({ kind: "status", status }).kind),
      ["well", "well", "sick", "sick", "unknown", "sick", "sick"],
    );
    assert.equal(readHttp({ kind: "refused", what: "refused the connection" }).kind, "sick");
    assert.deepEqual([exit(0).kind, exit(1).kind, exit(75).kind], ["well", "sick", "unknown"]);
    assert.equal(readCommand({ kind: "not-started", what: "EMFILE" }).kind, "unknown");
    assert.equal(readCommand({ kind: "timeout", output: "" }).kind, "sick");
  });

  it("passes on what the command said", () => {
    const seen = exit(1);
    assert.match(seen.kind === "sick" ? seen.reason : "", /exit code 1; it said: no database/);
  });
});

describe("restarts after the commit", () => {
  it("come slower and slower, and quickly again after a long good run", () => {
    let state = { failures: 0, startedAt: 0 };
    const waits: number[] = [];
    for (let i = 0; i < 9; i++) {
      const { waitMs, next } = afterEnd(state, 1000);
      waits.push(waitMs / 1000);
      state = next;
    }
    assert.deepEqual(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert.ok(state.failures > CRASH_LOOP);
    assert.equal(afterEnd({ ...state, startedAt: 0 }, 3_600_000).waitMs, 1000);
  });
});
