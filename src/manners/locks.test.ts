// Locks of applications: leases that end by themselves, whatever clocks and files say.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { z } from "../core/schema.ts";
import {
  holderSchema,
  judgeLocks,
  LEASE,
  lockSchema,
  LONGEST_LEASE,
  type FoundLock,
  type Seen,
} from "./locks.ts";

const NONE: Seen = new Map();
const lock = (changes: Partial<FoundLock> = {}): FoundLock => ({ holder: "backup", stamp: "s1", ...changes });

describe("a lock of an application", () => {
  it("holds for its lease from when it was seen first, and no longer", () => {
    const first = judgeLocks([lock({ lease: 60, why: "writes" })], NONE, 5000);
    assert.deepEqual(first.held, [{ holder: "backup", why: "writes", leftMs: 60_000 }]);
    const late = judgeLocks([lock({ lease: 60 })], first.seen, 64_999);
    assert.equal(late.held[0]?.leftMs, 1);
    const over = judgeLocks([lock({ lease: 60 })], first.seen, 65_000);
    assert.deepEqual([over.held, over.over], [[], ["backup"]]);
  });

  it("is renewed by a new stamp", () => {
    const first = judgeLocks([lock({ lease: 60 })], NONE, 0);
    const renewed = judgeLocks([lock({ lease: 60, stamp: "s2" })], first.seen, 59_000);
    assert.equal(renewed.held[0]?.leftMs, 60_000);
  });

  it("has a lease of ten minutes when it says nothing", () => {
    assert.equal(judgeLocks([lock()], NONE, 0).held[0]?.leftMs, LEASE * 1000);
  });

  it("is forgotten when its file is gone", () => {
    const first = judgeLocks([lock()], NONE, 0);
    assert.equal(judgeLocks([], first.seen, 1).seen.size, 0);
  });

  it("is refused with a lease beyond a day, a member that is not known, or a name that is a path", () => {
    assert.equal(z.safeParse(lockSchema, { lease: LONGEST_LEASE }).success, true);
    for (const bad of [
      { lease: LONGEST_LEASE + 1 },
      { lease: 0 },
      { why: "a\nb" },
      { more: 1 },
      { process: { pid: 0, startTime: "1" } },
    ])
      assert.equal(z.safeParse(lockSchema, bad).success, false, JSON.stringify(bad));
    for (const bad of ["", ".", "../x", "a/b", "-x", "a".repeat(65)])
      assert.equal(z.safeParse(holderSchema, bad).success, false, bad);
  });
});
