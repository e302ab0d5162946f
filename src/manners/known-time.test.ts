// The time of waits: a clock that is set anywhere changes nothing.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, HOUR, parseInstant } from "../core/instant.ts";
import { firstAnchor, isWorthKeeping, signedAnchor, timeBy } from "./known-time.ts";

const NOON = parseInstant("2026-11-25T12:00:00Z");
const up = (ms: number, boot = "b1") => ({ boot, ms });

describe("the time that waits are measured by", () => {
  it("is the signed instant and what passed since, asleep or awake", () => {
    const anchor = signedAnchor(NOON, up(1000));
    assert.deepEqual(timeBy(anchor, up(1000)), { now: NOON, signed: true });
    assert.deepEqual(timeBy(anchor, up(1000 + DAY)), { now: NOON + DAY, signed: true });
  });

  it("says nothing about another boot", () => {
    assert.equal(timeBy(signedAnchor(NOON, up(1000)), up(5000, "b2")), null);
    assert.equal(timeBy(signedAnchor(NOON, up(1000)), up(999)), null);
    assert.equal(timeBy(null, up(1)), null);
  });

  it("is never before what was known when the machine ran last", () => {
    const before = signedAnchor(NOON, up(1000));
    assert.equal(firstAnchor(before, up(5, "b2"), NOON - 30 * DAY).instant, NOON);
    assert.equal(firstAnchor(before, up(5, "b2"), NOON + HOUR).instant, NOON + HOUR);
    assert.equal(firstAnchor(before, up(5, "b2"), NOON + HOUR).signed, false);
    assert.equal(firstAnchor(null, up(5), NOON).instant, NOON);
  });

  it("is written down when it was learned, after another boot, after a correction, and each hour", () => {
    const kept = signedAnchor(NOON, up(0));
    assert.equal(isWorthKeeping(null, kept), true);
    assert.equal(isWorthKeeping(kept, signedAnchor(NOON + 60_000, up(60_000))), false);
    assert.equal(isWorthKeeping(kept, signedAnchor(NOON + 62_001, up(60_000))), true);
    assert.equal(isWorthKeeping(kept, signedAnchor(NOON + HOUR + 1, up(HOUR + 1))), true);
    assert.equal(isWorthKeeping(kept, signedAnchor(NOON, up(0, "b2"))), true);
    assert.equal(isWorthKeeping({ ...kept, signed: false }, kept), true);
  });
});
