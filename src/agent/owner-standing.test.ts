// What a device says of its owner's wishes at a check-in: held or opted out only if that is true of all that is installed.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ownerStanding } from "./manners-memory.ts";

const now = Date.UTC(2026, 10, 28);
const until = (ms: number): string => new Date(now + ms).toISOString().replace(".000", "");
const memory = (
  optedOut: readonly string[],
  holds: readonly { scope: string; until: string | null }[] = [],
): Parameters<typeof ownerStanding>[0] => ({
  optedOut: [...optedOut],
  holds: holds.map((hold) => ({ ...hold })),
});

describe("the standing of a device", () => {
  it("is on while its owner says nothing, or speaks of some components only", () => {
    assert.equal(ownerStanding(memory([]), ["shop", "db"], now), "on");
    assert.equal(ownerStanding(memory(["shop"], []), ["shop", "db"], now), "on");
    assert.equal(ownerStanding(memory([], [{ scope: "shop", until: null }]), ["shop", "db"], now), "on");
  });

  it("is opted-out when all are, by name or by the star", () => {
    assert.equal(ownerStanding(memory(["*"]), ["shop", "db"], now), "opted-out");
    assert.equal(ownerStanding(memory(["shop", "db"]), ["shop", "db"], now), "opted-out");
    assert.equal(ownerStanding(memory(["*"]), [], now), "opted-out");
  });

  it("is held while each is held or opted out, and no longer than the hold", () => {
    const held = memory(["db"], [{ scope: "shop", until: until(1000) }]);
    assert.equal(ownerStanding(held, ["shop", "db"], now), "held");
    assert.equal(ownerStanding(held, ["shop", "db"], now + 1001), "on");
    assert.equal(ownerStanding(memory([], [{ scope: "*", until: null }]), [], now), "held");
  });
});
