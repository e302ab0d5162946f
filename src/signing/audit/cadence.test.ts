// Tests of the pace of the audit log's groups.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { Cadence, GROUP_EVERY, GROUP_MOST } from "./cadence.ts";

describe("the cadence of a log", () => {
  const start = (busy: boolean, fed: boolean) => {
    const clock = new ScriptedClock();
    const work = { busy, fed };
    const cadence = new Cadence(clock, { busy: () => work.busy, fed: () => work.fed });
    const began: number[] = [];
    const run = async (groups: number): Promise<void> => {
      for (let i = 0; i < groups; i++) {
        await cadence.next();
        began.push(clock.monotonic());
      }
    };
    return { clock, work, began, run };
  };

  it("lets a log that is not busy begin at once", async () => {
    const { began, run } = start(false, true);
    await run(3);
    assert.deepEqual(began, [0, 0, 0]);
  });

  it("begins a group every 5 ms while keys run dry, and every 15 ms while they have enough to do", async () => {
    for (const [fed, every] of [
      [false, GROUP_EVERY],
      [true, GROUP_MOST],
    ] as const) {
      const { clock, began, run } = start(true, fed);
      void run(3);
      await clock.advance(60);
      assert.deepEqual(began, [0, every, 2 * every]);
    }
  });

  it("ends a long wait at the next look when a key runs dry, or when the work is done", async () => {
    for (const change of [{ fed: false }, { busy: false }]) {
      const { clock, work, began, run } = start(true, true);
      void run(2);
      await clock.advance(7);
      Object.assign(work, change);
      await clock.advance(20);
      assert.deepEqual(began, [0, 2 * GROUP_EVERY]);
    }
  });
});
