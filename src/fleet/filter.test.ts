// Filters and labels: what an expression means, what is none, and what one device may have.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MemoryFleet } from "../testing/memory-fleet.ts";
import { parseFilter, type Filterable } from "./filter.ts";
import { changeLabels, MOST_TAGS } from "./labels.ts";

const till: Filterable = {
  name: "till-7",
  group: "tills",
  platform: "linux-arm64-musl",
  labels: { tags: ["canary", "till"], attributes: { site: "new york", floor: "2" } },
};

describe("a filter", () => {
  for (const [text, holds] of [
    ["group = tills", true],
    ["group != tills", false],
    ["name = till-*", true],
    ["name = *", null],
    ["os = linux and arch = arm64 and libc = musl", true],
    ["tag = canary", true],
    ["tag != canary", false],
    ["tag = beta", false],
    ["tag in (beta, canary)", true],
    ["not tag = beta", true],
    ["not not tag = till", true],
    ['attr.site = "new york"', true],
    ["attr.site = berlin", false],
    ["attr.missing != x", true],
    ["attr.missing = x", false],
    ["attr.constructor = x", false],
    // `and` binds closer than `or`.
    ["tag = beta and tag = till or group = tills", true],
    ["tag = beta and (tag = till or group = tills)", false],
    ["group = tills or tag = till and tag = beta", true],
    ["(group = kiosks or group = tills) and not arch = x64", true],
    ['name = "till-*"', false],
  ] as const)
    it(`${JSON.stringify(text)} is ${holds === null ? "refused" : holds}`, () => {
      if (holds === null) assert.throws(() => parseFilter(text), { code: "fleet/bad-filter" });
      else assert.equal(parseFilter(text)(till), holds);
    });

  for (const text of [
    "",
    "tag",
    "tag =",
    "= till",
    "tag = till tag = beta",
    "tag = till and",
    "(tag = till",
    "tag = till)",
    "tag in ()",
    "tag in till",
    "secret = x",
    "attr. = x",
    "name = t*l",
    "tag = 'till'",
    'tag = "open',
    "tag = till; drop table device",
    `tag = ${"a".repeat(300)}`,
    "(".repeat(30),
    "not ".repeat(50),
    Array.from({ length: 100 }, () => "tag = a").join(" or "),
    "tag = a or ".repeat(200),
  ])
    it(`refuses ${JSON.stringify(text.slice(0, 40))}`, () => {
      assert.throws(() => parseFilter(text), { code: "fleet/bad-filter" });
    });
});

describe("labels", () => {
  const change = { add: [], remove: [], set: [], unset: [] };
  const label = (fleet: MemoryFleet, more: object) =>
    changeLabels(fleet, 1, { id: "d" }, { ...change, ...more }, "operator:kim");

  it("are set and removed, and the audit log has before and after", async () => {
    const fleet = new MemoryFleet();
    await label(fleet, { add: ["till", "canary"], set: [["site", "berlin"]] });
    const after = await label(fleet, { remove: ["till"], unset: ["nothing"], set: [["floor", "2"]] });
    assert.deepEqual(after, { tags: ["canary"], attributes: { floor: "2", site: "berlin" } });
    assert.deepEqual(fleet.auditRows.at(-1)?.facts, {
      before: { tags: ["canary", "till"], attributes: { site: "berlin" } },
      after,
    });
  });

  it("are bounded: no script fills the store with them", async () => {
    const fleet = new MemoryFleet();
    const tags = Array.from({ length: MOST_TAGS }, (_, n) => `tag-${n}`);
    await label(fleet, { add: tags });
    await assert.rejects(label(fleet, { add: ["one-more"] }), { code: "fleet/too-many-labels" });
    await label(fleet, { add: ["one-more"], remove: ["tag-0"] });
  });

  for (const more of [
    { add: ["Till"] },
    { add: [""] },
    { add: ["a b"] },
    { set: [["site", ""]] },
    { set: [["site", "a\nb"]] },
    { set: [["site", "x".repeat(257)]] },
    { set: [["__proto__", "x"]] },
  ])
    it(`refuse ${JSON.stringify(more).slice(0, 40)}`, async () => {
      await assert.rejects(label(new MemoryFleet(), more), { code: "fleet/bad-label" });
    });
});
