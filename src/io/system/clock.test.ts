// The real clock keeps the promises of its port.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { systemClock } from "./clock.ts";

describe("the system's clock", () => {
  it("sleeps at least as long as told, by its own monotonic measure", async () => {
    const from = systemClock.monotonic();
    await systemClock.sleep(15);
    // Timers of the platform may fire up to a millisecond early.
    assert.ok(systemClock.monotonic() - from >= 14);
  });

  it("wakes with the very reason of the signal, already given or given later", async () => {
    const reason = new Error("the agent is stopping");
    await assert.rejects(systemClock.sleep(60_000, AbortSignal.abort(reason)), (error) => error === reason);
    const later = new AbortController();
    const sleeping = systemClock.sleep(60_000, later.signal);
    later.abort(reason);
    await assert.rejects(sleeping, (error) => error === reason);
  });
});
