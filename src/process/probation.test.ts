// Probation as a series of observations at given times.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Observation } from "./health.ts";
import {
  beginProbation,
  deadlineMs,
  observe,
  restarted,
  type ProbationRules,
  type Verdict,
} from "./probation.ts";

const rules: ProbationRules = {
  job: false,
  startSeconds: 5,
  intervalSeconds: 1,
  timeoutSeconds: 1,
  successes: 2,
  failures: 3,
  probationSeconds: 10,
  wellBefore: true,
};
const well: Observation = { kind: "well" };
const sick: Observation = { kind: "sick", reason: "it answers 500" };
const unknown: Observation = { kind: "unknown", reason: "nobody can tell" };
const ended: Observation = { kind: "exited", success: false, reason: "it ended with 70" };

/** Plays observations at seconds; a restart happens half a second later. Returns the verdicts up to the first that is final. */
function play(
  series: readonly (readonly [second: number, seen: Observation])[],
  changed: Partial<ProbationRules> = {},
): readonly Verdict[] {
  let state = beginProbation(0);
  const verdicts: Verdict[] = [];
  for (const [second, seen] of series) {
    const [next, verdict] = observe(state, seen, second * 1000, { ...rules, ...changed });
    verdicts.push(verdict);
    state = verdict.kind === "restart" ? restarted(next, second * 1000 + 500) : next;
    if (verdict.kind === "well" || verdict.kind === "failed") break;
  }
  return verdicts;
}

const last = (verdicts: readonly Verdict[]): Verdict => verdicts.at(-1)!;
const every = (seen: Observation, from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => [from + i, seen] as const);

describe("probation", () => {
  it("ends well when it was well for long enough, and not a moment before", () => {
    const verdicts = play(every(well, 1, 12));
    assert.equal(verdicts.length, 12);
    assert.deepEqual(last(verdicts), { kind: "well" });
  });

  it("holds no silence against a program that starts up", () => {
    assert.deepEqual(last(play([...every(sick, 1, 4), ...every(well, 5, 16)])), { kind: "well" });
  });

  it("ends badly after as many bad answers in a row as the release allows", () => {
    assert.deepEqual(last(play([...every(well, 1, 6), ...every(sick, 7, 9)])), {
      kind: "failed",
      code: "process/unhealthy",
      reason: "it answers 500",
    });
  });

  it("lets one bad answer pass, and begins to count its good time anew", () => {
    const verdicts = play([...every(well, 1, 8), [9, sick], ...every(well, 10, 21)]);
    assert.deepEqual(last(verdicts), { kind: "well" });
    assert.equal(verdicts.length, 21);
  });

  it("finds out a program that answers well between its crashes", () => {
    const crashing = [1, 3, 5, 7].flatMap((second) => [
      [second, well] as const,
      [second + 1, ended] as const,
    ]);
    const verdicts = play(crashing);
    assert.deepEqual(
      verdicts.map(({ kind }) => kind),
      ["watch", "restart", "watch", "restart", "watch", "failed"],
    );
    assert.equal((last(verdicts) as { code: string }).code, "process/exited");
  });

  it("counts crashes and bad answers together", () => {
    const verdicts = play([...every(well, 1, 6), [7, sick], [8, ended], [9, ended]]);
    assert.deepEqual(last(verdicts), { kind: "failed", code: "process/exited", reason: "it ended with 70" });
  });

  it("never excuses an end by the start-up time", () => {
    const verdicts = play([
      [1, ended],
      [2, ended],
      [3, ended],
    ]);
    assert.equal(last(verdicts).kind, "failed");
    assert.equal(verdicts.length, 3);
  });

  it("takes a job's end as its answer", () => {
    assert.deepEqual(
      last(play([[1, { kind: "exited", success: true, reason: "it ended with 0" }]], { job: true })),
      { kind: "well" },
    );
    assert.equal(last(play([[1, ended]], { job: true })).kind, "failed");
  });

  it("gives a verdict when nobody can tell: against the new one only if the old one could be seen well", () => {
    const end = deadlineMs(rules) / 1000;
    assert.equal((last(play([[end, unknown]])) as { code: string }).code, "process/unknown-too-long");
    assert.deepEqual(last(play([[end, unknown]], { wellBefore: false })), { kind: "well" });
  });
});
