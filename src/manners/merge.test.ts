// How group and owner meet: the owner may delay, and weakens nothing.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseInstant } from "../core/instant.ts";
import { merge } from "./merge.ts";
import { lineFor, parsePolicy, type Line, type Policy } from "./policy.ts";

const policy = (...lines: readonly Line[]): Policy => ({ format: 1, lines: [...lines] });
const both = (group: Partial<Line>, device: Partial<Line>) =>
  merge(policy({ when: "now", ...group }), policy({ when: "now", ...device }), "shop", "feature");

describe("the meeting of two policies", () => {
  it("is now, without conditions, where nobody says anything", () => {
    const found = merge(null, null, "shop", "security");
    assert.deepEqual(
      { ...found, origins: new Set(Object.values(found.origins)) },
      {
        when: "now",
        windows: [],
        activeHours: [],
        idleSeconds: null,
        maxLoad: null,
        minBattery: null,
        metered: true,
        deadline: null,
        atStart: "background",
        atStartSeconds: 0,
        servesFrom: null,
        origins: new Set(["default"]),
      },
    );
  });

  it("has security releases on a line of their own", () => {
    const group = policy({ kinds: ["security"], when: "now" }, { when: "ask" });
    assert.equal(merge(group, null, "shop", "security").when, "now");
    assert.equal(merge(group, null, "shop", "feature").when, "ask");
    assert.equal(merge(group, null, "shop", "recall").when, "ask");
  });

  it("takes the first line that fits product and kind", () => {
    const group = policy({ products: ["till"], when: "ask" }, { products: ["shop"], when: "when-possible" });
    assert.equal(lineFor(group, "shop", "feature")?.when, "when-possible");
    assert.equal(lineFor(group, "other", "feature"), null);
    assert.equal(lineFor(null, "shop", "feature"), null);
  });

  it("waits as long as the one who waits longer, whoever that is", () => {
    assert.deepEqual(
      [both({ when: "ask" }, {}).when, both({ when: "ask" }, {}).origins.when],
      ["ask", "group"],
    );
    assert.deepEqual(
      [both({}, { when: "ask" }).when, both({}, { when: "ask" }).origins.when],
      ["ask", "device"],
    );
    assert.equal(both({ when: "ask" }, { when: "ask" }).origins.when, "both");
    assert.equal(both({ when: "when-possible" }, { when: "after-safe-point" }).when, "after-safe-point");
  });

  it("asks for all windows, keeps all active hours free, and takes the stricter of two bounds", () => {
    const hours = (from: string, to: string) => [{ from, to }];
    const found = both(
      {
        windows: hours("20:00", "04:00"),
        activeHours: hours("07:00", "12:00"),
        maxLoad: 2,
        minBattery: 50,
        idleSeconds: 5,
      },
      {
        windows: hours("22:00", "06:00"),
        activeHours: hours("13:00", "19:00"),
        maxLoad: 1,
        minBattery: 20,
        idleSeconds: 60,
      },
    );
    assert.equal(found.windows.length, 2);
    assert.equal(found.activeHours.length, 2);
    assert.deepEqual([found.maxLoad, found.minBattery, found.idleSeconds], [1, 50, 60]);
    assert.deepEqual(
      [found.origins.maxLoad, found.origins.minBattery, found.origins.idleSeconds, found.origins.windows],
      ["device", "group", "device", "both"],
    );
  });

  it("lets neither allow a metered link that the other forbids", () => {
    assert.equal(both({ metered: false }, { metered: true }).metered, false);
    assert.equal(both({ metered: true }, { metered: false }).metered, false);
    assert.equal(both({ metered: true }, {}).metered, true);
    assert.deepEqual(
      [both({}, { metered: false }).metered, both({}, { metered: false }).origins.metered],
      [false, "device"],
    );
  });

  it("means load, battery and link where a line merely says when possible", () => {
    const { maxLoad, minBattery, metered } = both({ when: "when-possible" }, {});
    assert.deepEqual([maxLoad, minBattery, metered], [100, 30, false]);
    assert.equal(both({ when: "when-possible", metered: true, maxLoad: 4 }, {}).metered, true);
    assert.equal(both({ when: "when-possible", metered: true, maxLoad: 4 }, {}).maxLoad, 4);
    assert.equal(both({ when: "when-possible", metered: true }, { metered: false }).metered, false);
  });

  it("never lets an owner move the deadline of the group further away, or soften what follows it", () => {
    const group: Partial<Line> = {
      deadline: { within: 7200, after: "stop", overInterlocks: true, warn: [60] },
    };
    assert.deepEqual(both(group, { deadline: { within: 9000 } }).deadline, group.deadline);
    assert.deepEqual(both(group, { deadline: { within: 7200, after: "install" } }).deadline, group.deadline);
    assert.deepEqual(both(group, { deadline: { within: 3600, after: "install" } }).deadline, {
      within: 3600,
      warn: [60],
      after: "stop",
      overInterlocks: true,
    });
    const mixed = merge(
      policy({ when: "now", deadline: { by: "2026-11-27T00:00:00Z" } }),
      policy({ when: "now", deadline: { within: 3600, warn: [30] } }),
      "shop",
      "feature",
      parseInstant("2026-11-26T00:00:00Z"),
    );
    assert.deepEqual(mixed.deadline, { within: 3600, warn: [30] });
    assert.deepEqual(both({}, { deadline: { within: 60 } }).deadline, { within: 60 });
    assert.equal(both({}, { deadline: { within: 60 } }).origins.deadline, "device");
  });

  it("blocks at a start where one of the two wants it, as long as the one who waits longer", () => {
    assert.equal(both({ atStart: "block" }, { atStart: "background" }).atStart, "block");
    assert.equal(both({}, { atStart: "block" }).atStartSeconds, 300);
    assert.equal(both({ atStart: "block", atStartSeconds: 20 }, {}).atStartSeconds, 20);
    assert.equal(
      both({ atStart: "block", atStartSeconds: 20 }, { atStart: "block", atStartSeconds: 0 }).atStartSeconds,
      0,
    );
    assert.equal(both({ servesFrom: "1.10.0" }, { servesFrom: "1.9.0" }).servesFrom, "1.10.0");
    assert.equal(both({ servesFrom: "1.9.0" }, {}).servesFrom, "1.9.0");
  });
});

describe("a policy document", () => {
  it("is refused with a member, a word or a version that is not known", () => {
    for (const bad of [
      { format: 2, lines: [] },
      { format: 1, lines: [], more: true },
      { format: 1, lines: [{ when: "now", more: true }] },
      { format: 1, lines: [{ when: "soon" }] },
      { format: 1, lines: [{}] },
      { format: 1, lines: [{ when: "now", kinds: ["features"] }] },
      { format: 1, lines: [{ when: "now", deadline: {} }] },
      { format: 1, lines: [{ when: "now", deadline: { within: 60, by: "2026-11-27T00:00:00Z" } }] },
      { format: 1, lines: [{ when: "now", deadline: { within: 59 } }] },
      { format: 1, lines: [{ when: "now", deadline: { by: "tomorrow" } }] },
      { format: 1, lines: Array.from({ length: 65 }, () => ({ when: "now" })) },
    ])
      assert.throws(() => parsePolicy(bad), { code: "schema/invalid" }, JSON.stringify(bad).slice(0, 80));
    assert.equal(
      parsePolicy({ format: 1, lines: [{ when: "now", deadline: { within: 60 } }] }).lines.length,
      1,
    );
  });
});
