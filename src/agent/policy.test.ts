// When the agent checks: figures of the schedule, both clocks, and the bound on what wake-ups can do.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { DAY, HOUR, MINUTE, SECOND } from "../core/instant.ts";
import {
  beginWait,
  firstCheck,
  FULL_BUCKET,
  nextCheck,
  reconnectWait,
  remaining,
  retryOfRefused,
  takeToken,
  WAKE_BURST,
} from "./policy.ts";

const facts = { interval: 300, failures: 0, retryAfter: null, draw: 0.5 };

describe("the schedule", () => {
  it("keeps to the interval within a tenth", () => {
    for (const [draw, ms] of [
      [0, 270_000],
      [0.5, 300_000],
      [0.999999, 330_000],
    ] as const)
      assert.deepEqual(nextCheck({ ...facts, draw }), { ms, reason: "schedule" });
  });

  it("does not let a server make it frantic or silent", () => {
    assert.equal(nextCheck({ ...facts, interval: 0 }).ms, 10 * SECOND);
    assert.equal(nextCheck({ ...facts, interval: 10 ** 9 }).ms, DAY);
    assert.ok(nextCheck({ ...facts, retryAfter: 10 ** 9 }).ms <= 1.1 * DAY);
    assert.ok(nextCheck({ ...facts, retryAfter: 0 }).ms >= 5 * SECOND);
  });

  it("retries sooner than scheduled after a failure, then slower, never later than scheduled", () => {
    const waits = [1, 2, 3, 4, 5, 6, 7, 30].map(
      (failures) => nextCheck({ ...facts, failures, draw: 0.999 }).ms,
    );
    assert.ok(waits[0]! <= 5 * SECOND);
    assert.deepEqual(
      waits.toSorted((a, b) => a - b),
      waits,
    );
    assert.ok(waits.every((ms) => ms <= 330 * SECOND));
  });

  it("obeys Retry-After, spread by a tenth", () => {
    assert.deepEqual(nextCheck({ ...facts, failures: 3, retryAfter: 100, draw: 0 }), {
      ms: 100_000,
      reason: "retry-after",
    });
    assert.equal(nextCheck({ ...facts, retryAfter: 100, draw: 0.5 }).ms, 105_000);
  });

  it("spreads the first checks after a start", () => {
    assert.equal(firstCheck(120, 0.25).ms, 30 * SECOND);
  });
});

describe("a wait", () => {
  const waiting = beginWait({ ms: HOUR, reason: "schedule" }, 1000, 10 * DAY);
  it("ends by the monotonic clock when wall time is set back", () => {
    assert.equal(remaining(waiting, 1000 + HOUR, 9 * DAY), 0);
    assert.equal(remaining(waiting, 1000 + HOUR - 5, 9 * DAY), 5);
  });
  it("ends by the wall clock when the machine slept and the monotonic clock stood still", () => {
    assert.equal(remaining(waiting, 1500, 11 * DAY), 0);
  });
  it("is never longer than it was", () => {
    fc.assert(
      fc.property(fc.nat(10 * HOUR), fc.integer({ min: -100 * DAY, max: 100 * DAY }), (ahead, jump) => {
        const left = remaining(waiting, 1000 + ahead, 10 * DAY + jump);
        assert.ok(left >= 0 && left <= HOUR);
      }),
    );
  });
});

describe("wake-ups", () => {
  it("ring a bounded number of times, however many come (flood)", () => {
    let bucket = FULL_BUCKET;
    let granted = 0;
    for (let i = 0; i < 10_000; i++) {
      const taken = takeToken(bucket, i);
      bucket = taken.bucket;
      if (taken.granted) granted++;
    }
    assert.equal(granted, WAKE_BURST);
    assert.equal(takeToken(bucket, 10_000 + 30 * SECOND).granted, true);
  });

  it("are listened for again between one second and five minutes", () => {
    for (let failures = 0; failures < 40; failures++)
      for (const draw of [0, 0.5, 0.9999]) {
        const ms = reconnectWait(failures, draw);
        assert.ok(ms >= SECOND && ms <= 5 * MINUTE, `${ms}`);
      }
  });

  it("do not make a refused release be tried at each of them", () => {
    assert.deepEqual([1, 2, 3, 20].map(retryOfRefused), [MINUTE, 2 * MINUTE, 4 * MINUTE, 24 * HOUR]);
  });
});
