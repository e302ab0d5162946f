// The speed floor on a scripted clock: who is abandoned, who is not.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MINUTE, SECOND } from "../core/instant.ts";
import { ScriptedClock } from "../testing/scripted-clock.ts";
import { readAll, type Source } from "./source.ts";
import { METADATA_SPEED, TARGET_SPEED, withSpeedFloor, type SpeedFloor } from "./speed.ts";

/** Sends `bytes` every `every` milliseconds of the scripted clock, `parts` times. */
function paced(
  clock: ScriptedClock,
  bytes: number,
  every: number,
  parts: number,
): Source & { aborted: boolean } {
  const source = {
    name: "paced",
    aborted: false,
    open: async (_path: string, options: { signal?: AbortSignal }) => {
      options.signal?.addEventListener("abort", () => {
        source.aborted = true;
      });
      const body = async function* (): AsyncGenerator<Uint8Array> {
        for (let i = 0; i < parts; i++) {
          await clock.sleep(every, options.signal);
          yield new Uint8Array(bytes);
        }
      };
      return { offset: 0, length: null, body: body() };
    },
  };
  return source;
}

/** The outcome of reading all of it, and after how many scripted seconds. */
async function outcome(
  floor: SpeedFloor,
  bytes: number,
  every: number,
  parts: number,
): Promise<{ what: string; seconds: number; aborted: boolean }> {
  const clock = new ScriptedClock();
  const source = paced(clock, bytes, every, parts);
  const end = { what: "never ended", seconds: -1 };
  const reading = (async () => {
    try {
      const all = await readAll(withSpeedFloor(source, clock, floor), "file", Number.MAX_SAFE_INTEGER);
      end.what = `${all.length} bytes`;
    } catch (error) {
      end.what = (error as { code: string }).code;
    }
    end.seconds = clock.monotonic() / SECOND;
  })();
  for (let i = 0; end.seconds < 0 && i < 20_000; i++) await clock.advance(clock.nextWake() ?? 1);
  await reading;
  return { ...end, aborted: source.aborted };
}

describe("slow retrieval attack", () => {
  it("one byte per second is abandoned within a minute", async () => {
    const { what, seconds, aborted } = await outcome(TARGET_SPEED, 1, SECOND, 1_000_000);
    assert.equal(what, "mirror/slow");
    assert.ok(seconds <= 60, String(seconds));
    assert.ok(aborted);
  });

  it("one byte just before each idle limit is abandoned by the rate", async () => {
    const { what, seconds } = await outcome(TARGET_SPEED, 1, TARGET_SPEED.idle - 1, 1_000_000);
    assert.equal(what, "mirror/slow");
    assert.ok(seconds <= 61, String(seconds));
  });

  it("a start at full speed does not pay for a drip afterwards", async () => {
    const clock = new ScriptedClock();
    const source: Source = {
      name: "fast, then slow",
      open: async (_path, { signal }) => {
        const body = async function* (): AsyncGenerator<Uint8Array> {
          yield new Uint8Array(100_000_000);
          for (;;) {
            await clock.sleep(SECOND, signal);
            yield new Uint8Array(1);
          }
        };
        return { offset: 0, length: null, body: body() };
      },
    };
    let failed: string | undefined;
    void readAll(withSpeedFloor(source, clock, TARGET_SPEED), "f", 1e9).catch((error: { code: string }) => {
      failed = error.code;
    });
    await clock.advance(2 * MINUTE);
    assert.equal(failed, "mirror/slow");
  });

  it("silence is abandoned at the idle limit", async () => {
    const { what, seconds } = await outcome(TARGET_SPEED, 1, 10 * MINUTE, 1);
    assert.deepEqual([what, seconds], ["mirror/slow", TARGET_SPEED.idle / SECOND]);
  });

  it("metadata has a deadline, whatever the rate", async () => {
    const { what, seconds } = await outcome(METADATA_SPEED, 1000, SECOND, 1_000_000);
    assert.equal(what, "mirror/slow");
    assert.ok(seconds <= 62, String(seconds));
  });
});

describe("an honest slow link", () => {
  it("of 64 kB/s passes for ten minutes", async () => {
    const { what } = await outcome(TARGET_SPEED, 64_000, SECOND, 600);
    assert.equal(what, `${64_000 * 600} bytes`);
  });

  it("just above the floor passes", async () => {
    const { what } = await outcome(TARGET_SPEED, 1100, SECOND, 300);
    assert.equal(what, `${1100 * 300} bytes`);
  });

  it("that pauses for a while, within the idle limit, passes", async () => {
    const { what } = await outcome(TARGET_SPEED, 500_000, 25 * SECOND, 10);
    assert.equal(what, "5000000 bytes");
  });
});

describe("a slow reader", () => {
  it("blames nobody: only waiting for the source counts", async () => {
    const clock = new ScriptedClock();
    const guarded = withSpeedFloor(paced(clock, 10_000, SECOND, 5), clock, TARGET_SPEED);
    let bytes = 0;
    const reading = (async () => {
      const { body } = await guarded.open("file", { limit: 1e9 });
      for await (const part of body) {
        bytes += part.length;
        await clock.sleep(10 * MINUTE);
      }
    })();
    await clock.advance(2 * 60 * MINUTE);
    await reading;
    assert.equal(bytes, 50_000);
  });
});
