// The cap on bandwidth: shared by all downloads, changed by the time of day, and no fault of the source.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Clock } from "../core/clock.ts";
import { EagerClock } from "../testing/agent-world.ts";
import { limited, RateLimit } from "./rate.ts";
import type { Source } from "./source.ts";
import { TARGET_SPEED, withSpeedFloor } from "./speed.ts";

const PART = 64 * 1024;

function sourceOf(parts: number): Source {
  return {
    name: "memory",
    open: async () => ({
      offset: 0,
      length: parts * PART,
      body: (async function* () {
        for (let i = 0; i < parts; i++) yield new Uint8Array(PART);
      })(),
    }),
  };
}

async function fetchAll(source: Source, signal?: AbortSignal): Promise<number> {
  const { body } = await source.open("x", { limit: 1 << 30, ...(signal === undefined ? {} : { signal }) });
  let bytes = 0;
  for await (const part of body) bytes += part.length;
  return bytes;
}

const seconds = (clock: Clock): number => clock.monotonic() / 1000;

describe("a cap on bandwidth", () => {
  it("lets through what it says, and no more", async () => {
    const clock = new EagerClock();
    const limit = new RateLimit(clock, () => 128 * 1024);
    assert.equal(await fetchAll(limited(sourceOf(64), limit)), 64 * PART);
    assert.ok(Math.abs(seconds(clock) - 32) < 0.5, `${seconds(clock)} s for 4 MiB at 128 KiB/s`);
  });

  it("is one for all downloads together", async () => {
    const clock = new EagerClock();
    const limit = new RateLimit(clock, () => 128 * 1024);
    await fetchAll(limited(sourceOf(32), limit));
    await fetchAll(limited(sourceOf(32), limit));
    assert.ok(seconds(clock) > 31, `${seconds(clock)} s`);
  });

  it("changes while a download is under way", async () => {
    const clock = new EagerClock();
    const limit = new RateLimit(clock, () => (clock.monotonic() < 10_000 ? 64 * 1024 : null));
    await fetchAll(limited(sourceOf(1000), limit));
    assert.ok(seconds(clock) < 11, `${seconds(clock)} s`);
  });

  it("is no fault of the source, however slow it makes a download", async () => {
    const clock = new EagerClock();
    const limit = new RateLimit(clock, () => 256);
    const source = limited(withSpeedFloor(sourceOf(2), clock, TARGET_SPEED), limit);
    assert.equal(await fetchAll(source), 2 * PART);
  });

  it("ends with the download's signal", async () => {
    const clock = new EagerClock();
    const limit = new RateLimit(clock, () => 1);
    const stop = new AbortController();
    stop.abort(new Error("stopped"));
    await assert.rejects(fetchAll(limited(sourceOf(2), limit), stop.signal), /stopped/);
  });
});
