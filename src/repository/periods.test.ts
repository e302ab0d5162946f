// Tests of lifetimes: what a role says of itself, and what may not be concluded where it says nothing.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY } from "../core/instant.ts";
import { NO_EXTRA, type RoleKeys } from "./metadata.ts";
import { carriesPeriod, EXPIRY, isFromAhead, periodOf } from "./periods.ts";

const role = (extra: RoleKeys["extra"]): RoleKeys => ({ keyids: ["a"], threshold: 1, extra });

describe("the life of a role", () => {
  it("that another tool made is its own affair: no clock is accused for it", () => {
    const foreign = role(NO_EXTRA);
    assert.equal(carriesPeriod(foreign), false);
    assert.equal(isFromAhead("timestamp", foreign, 90 * DAY, 0), false);
    assert.equal(periodOf("timestamp", foreign).expiryDays, 1);
  });

  it("that is written down tells when it was signed", () => {
    const ours = role({ [EXPIRY]: 1 });
    assert.equal(carriesPeriod(ours), true);
    assert.equal(isFromAhead("timestamp", ours, DAY, 0), false);
    assert.equal(isFromAhead("timestamp", ours, 3 * DAY, 0), true);
  });
});
