// The rules of the fleet that need no store: decisions, quotas, liveness, the audit chain.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, HOUR, MINUTE, parseInstant } from "../core/instant.ts";
import { checkChain, chainRow } from "./audit.ts";
import type { AuditRow } from "./records.ts";
import { decide, type Catalogue } from "./decide.ts";
import { liveness } from "./liveness.ts";
import { Quotas } from "./quota.ts";
import type { Desired, WakeScope } from "./records.ts";
import { newestWake } from "./wake.ts";

const now = parseInstant("2026-11-21T04:00:00Z");
const release = { version: "1.2.0", manifestSha256: "a".repeat(64) };
const catalogue: Catalogue = {
  timestamp: () => "f".repeat(64),
  current: (product, channel) => (product === "shop" && channel === "stable" ? release : null),
  byVersion: (product, version) => (product === "shop" && version === "1.2.0" ? release : null),
};
const desired: Desired = {
  group: "default",
  product: "shop",
  channel: "stable",
  version: null,
  hold: null,
  holdUntil: null,
  changed: now,
};
const decided = (change: Partial<Desired>, of: Catalogue = catalogue) =>
  decide([{ ...desired, ...change }], of, now)[0];
const place = { product: "shop", channel: "stable" };

describe("a decision", () => {
  it("is the release that the channel points to", () => {
    assert.deepEqual(decided({}), { ...place, release });
  });

  it("is a pinned release as long as it is listed", () => {
    assert.deepEqual(decided({ version: "1.2.0" }), { ...place, release });
    assert.deepEqual(decided({ version: "1.1.0" }), { ...place, hold: { reason: "no-release" } });
  });

  it("holds while the operator says so, and until when", () => {
    const until = now + HOUR;
    assert.deepEqual(decided({ hold: "paused", holdUntil: until }), {
      ...place,
      hold: { reason: "paused", until: "2026-11-21T05:00:00Z" },
    });
    assert.deepEqual(decided({ hold: "paused" }), { ...place, hold: { reason: "paused" } });
    assert.deepEqual(decided({ hold: "paused", holdUntil: now }), { ...place, release });
  });

  it("holds while the server does not know its own repository", () => {
    const blind = { ...catalogue, timestamp: () => null };
    assert.deepEqual(decided({}, blind), { ...place, hold: { reason: "unavailable" } });
  });
});

describe("a quota", () => {
  it("gives a burst at once, then one per period, and says how long to wait", () => {
    const quotas = new Quotas({ burst: 3, refillMs: 1000 });
    assert.deepEqual(
      [0, 0, 0, 0].map((at) => quotas.take("a", at)),
      [0, 0, 0, 1000],
    );
    assert.equal(quotas.take("a", 1000), 0);
    assert.equal(quotas.take("a", 1000), 1000);
  });

  it("gives back what was taken before the outcome was known, never above the burst", () => {
    const quotas = new Quotas({ burst: 2, refillMs: 1000 });
    for (let i = 0; i < 10; i++) {
      assert.equal(quotas.take("a", 0), 0);
      quotas.give("a");
    }
    quotas.give("a");
    quotas.give("nobody");
    assert.deepEqual(
      [0, 0, 0].map(() => quotas.take("a", 0)),
      [0, 0, 1000],
    );
  });

  it("of one does not touch another's", () => {
    const quotas = new Quotas({ burst: 1, refillMs: 1000 });
    for (let i = 0; i < 100; i++) quotas.take("greedy", 0);
    assert.equal(quotas.take("modest", 0), 0);
  });

  it("keeps a bounded number of identities", () => {
    const quotas = new Quotas({ burst: 1, refillMs: 1000 }, 10);
    for (let i = 0; i < 100; i++) quotas.take(`key ${i}`, 0);
    assert.equal(quotas.size, 10);
  });
});

describe("liveness", () => {
  const of = (silent: number, more: object = {}) =>
    liveness({ status: "active", enrolled: now - 90 * HOUR, lastSeen: now - silent, ...more }, 300, now);

  it("goes from online through late to dead", () => {
    assert.equal(of(0), "online");
    assert.equal(of(12 * MINUTE), "online");
    assert.equal(of(13 * MINUTE), "late");
    assert.equal(of(61 * MINUTE), "dead");
  });

  it("takes a sighting from ahead of now for none: a device that a wrong clock saw in two years is not online until then", () => {
    assert.equal(of(-4 * MINUTE), "online");
    assert.equal(of(-730 * DAY), "dead");
    assert.equal(of(-730 * DAY, { enrolled: now - 20 * MINUTE }), "late");
    assert.equal(of(-730 * DAY, { enrolled: now + 700 * DAY }), "dead");
  });

  it("tells new and revoked devices apart", () => {
    assert.equal(of(0, { lastSeen: null, enrolled: now - MINUTE }), "new");
    assert.equal(of(0, { lastSeen: null }), "dead");
    assert.equal(of(0, { status: "revoked" }), "revoked");
  });
});

describe("the audit log", () => {
  const entry = { actor: "operator", action: "device/revoked", subject: "x", facts: { name: "till" } };
  const rows: AuditRow[] = [];
  for (let i = 0; i < 4; i++) rows.push(chainRow(rows.at(-1) ?? null, now + i * 1000, entry));

  it("holds together, also when checked in pieces", () => {
    const half = checkChain(null, rows.slice(0, 2));
    assert.equal(checkChain(half, rows.slice(2))?.sequence, 4);
  });

  for (const [what, broken] of [
    ["a changed row", rows.map((row) => (row.sequence === 2 ? { ...row, subject: "y" } : row))],
    ["a removed row", rows.filter((row) => row.sequence !== 2)],
    ["a missing start", rows.slice(1)],
    ["a row put in", [...rows.slice(0, 2), { ...rows[1]!, sequence: 3 }, ...rows.slice(2)]],
  ] as const) {
    it(`shows ${what}`, () => {
      assert.throws(() => checkChain(null, broken), { code: "fleet/audit-broken" });
    });
  }
});

describe("the newest wake-up of a device", () => {
  it("is the highest of all, its group and itself", () => {
    const wakes = new Map<WakeScope, number>([
      ["all", 3],
      ["group:tills", 7],
      ["device:a", 5],
    ]);
    assert.equal(newestWake(wakes, { id: "a", group: "default" }), 5);
    assert.equal(newestWake(wakes, { id: "b", group: "tills" }), 7);
    assert.equal(newestWake(wakes, { id: "b", group: "default" }), 3);
    assert.equal(newestWake(new Map(), { id: "b", group: "default" }), 0);
  });
});
