// The decision as a function: what follows a channel may be followed without the server, what somebody chose may not.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decide, type Catalogue } from "./decide.ts";
import type { Desired } from "./records.ts";

const release = { version: "1.2.0", manifestSha256: "a".repeat(64) };
const catalogue: Catalogue = {
  timestamp: () => "b".repeat(64),
  current: () => release,
  byVersion: () => release,
};
const desired = (changes: Partial<Desired> = {}): Desired =>
  ({ product: "shop", channel: "stable", version: null, hold: null, holdUntil: null, ...changes }) as Desired;
const UNTIL = Date.parse("2026-12-05T00:00:00Z");

describe("what a device may follow without its server", () => {
  it("is a channel that it follows anyway", () => {
    const [component] = decide([desired()], catalogue, 0, UNTIL);
    assert.deepEqual(component, {
      product: "shop",
      channel: "stable",
      release,
      followUntil: "2026-12-05T00:00:00Z",
    });
  });

  it("is nothing for devices that would not understand it", () => {
    assert.deepEqual(decide([desired()], catalogue, 0), [{ product: "shop", channel: "stable", release }]);
  });

  it("is no release that somebody chose by its version, though the channel points to it", () => {
    const [component] = decide([desired({ version: "1.2.0" })], catalogue, 0, UNTIL);
    assert.deepEqual(component, { product: "shop", channel: "stable", release });
  });

  it("is nothing that is on hold", () => {
    const [component] = decide([desired({ hold: "paused" })], catalogue, 0, UNTIL);
    assert.deepEqual(component, { product: "shop", channel: "stable", hold: { reason: "paused" } });
  });
});
