// Wake-ups as a device takes them: numbers that are kept, echoes, floods, and a fleet that does not come together.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { MINUTE, SECOND } from "../core/instant.ts";
import { toUtf8 } from "../core/bytes.ts";
import type { Wake } from "../message/wake.ts";
import { scriptedRandom } from "../testing/agent-world.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import { keepChecking, type Checking } from "./loop.ts";
import { WAKE_BURST } from "./policy.ts";
import { loadWakeUps, saveWakeUps, WakeUps } from "./wake-ups.ts";

describe("a wake-up", () => {
  it("rings once, and its number again is an echo", () => {
    const wakes = new WakeUps(4);
    assert.deepEqual(
      [3, 4, 5, 5].map((seq) => wakes.take(seq, 0, null)),
      ["echo", "echo", "ring", "echo"],
    );
  });

  it("that was missed is known by coming right after the connection was opened", () => {
    const wakes = new WakeUps();
    assert.equal(wakes.take(1, 4 * SECOND, 0), "catch-up");
    assert.equal(wakes.take(2, 6 * SECOND, 0), "ring");
  });

  it("of a huge number silences later ones only until the next check (muted wake-ups)", () => {
    const wakes = new WakeUps(7);
    assert.equal(wakes.take(Number.MAX_SAFE_INTEGER, 0, null), "ring");
    wakes.checking();
    wakes.answered(8);
    assert.equal(wakes.take(9, SECOND, null), "ring");
  });

  it("that comes while a check is under way still counts after its answer", () => {
    const wakes = new WakeUps(7);
    wakes.checking();
    assert.equal(wakes.take(8, 0, null), "ring");
    wakes.answered(7);
    assert.deepEqual([wakes.seq, wakes.take(8, 0, null)], [8, "echo"]);
  });

  it("of a server that was restored from a backup, and counts from below, rings after the next check", () => {
    const wakes = new WakeUps(40);
    assert.equal(wakes.take(21, 0, null), "echo");
    wakes.checking();
    wakes.answered(21);
    assert.equal(wakes.take(22, 0, null), "ring");
  });

  it("is dropped and counted when too many come (flood)", () => {
    const wakes = new WakeUps();
    const verdicts = Array.from({ length: 1000 }, (_, i) => wakes.take(i + 1, i, null));
    assert.equal(verdicts.filter((verdict) => verdict === "ring").length, WAKE_BURST);
    assert.deepEqual([wakes.takeDropped(), wakes.takeDropped()], [1000 - WAKE_BURST, 0]);
  });

  it("has a number that survives the agent's end, and damage to its file", async () => {
    const disk = new MemoryDisk();
    await disk.makeDirectory("/a", 0o700);
    assert.equal((await loadWakeUps(disk, "/a")).seq, 0);
    await saveWakeUps(disk, "/a", new WakeUps(12));
    assert.equal((await loadWakeUps(disk, "/a")).seq, 12);
    const file = await disk.open("/a/wake-ups.json", "write", 0o600);
    await file.write(0, toUtf8("{{{{"));
    await file.close();
    assert.equal((await loadWakeUps(disk, "/a")).seq, 0);
  });
});

/** Time for a crowd: all that is due by the end of a second happens together. */
class CrowdClock {
  #now = 0;
  #sleepers = new Set<{ readonly at: number; readonly wake: () => void }>();

  now(): number {
    return Date.UTC(2026, 10, 21) + this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason as Error);
      const sleeper = { at: this.#now + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", () => {
        this.#sleepers.delete(sleeper);
        reject(signal.reason as Error);
      });
    });
  }

  async advance(seconds: number): Promise<void> {
    for (let i = 0; i < seconds; i++) {
      this.#now += SECOND;
      for (const sleeper of this.#sleepers) {
        if (sleeper.at > this.#now) continue;
        this.#sleepers.delete(sleeper);
        sleeper.wake();
      }
      for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

/** A server and its devices, as far as checks and wake-ups go. */
class Crowd {
  readonly clock = new CrowdClock();
  /** When each check came, in seconds. */
  readonly checks: number[] = [];
  /** One for each device: a signal that thousands listen to is slow. */
  readonly #stops: AbortController[] = [];
  readonly #done: Promise<void>[] = [];
  #listeners = new Set<(wake: Wake | null) => void>();
  seq = 41;
  down = false;

  start(devices: number, startSpread: number): void {
    for (let i = 0; i < devices; i++) {
      const stop = new AbortController();
      this.#stops.push(stop);
      this.#done.push(keepChecking(this.#device(i, startSpread), stop.signal));
    }
  }

  wake(): void {
    this.seq++;
    for (const tell of this.#listeners) tell({ type: "check", seq: this.seq });
  }

  /** Ends every stream, as a server does that stops. */
  loseStreams(): void {
    for (const tell of this.#listeners) tell(null);
  }

  async end(): Promise<void> {
    for (const stop of this.#stops) stop.abort(new Error("the test is over"));
    this.loseStreams();
    await Promise.all(this.#done);
  }

  /** The most checks that came in one second from `from` on. */
  peak(from: number): number {
    const counts = new Map<number, number>();
    for (const at of this.checks) if (at >= from) counts.set(at, (counts.get(at) ?? 0) + 1);
    return Math.max(0, ...counts.values());
  }

  #device(number: number, startSpread: number): Checking {
    const { clock } = this;
    const disk = new MemoryDisk();
    const check = async () => {
      this.checks.push(Math.round(clock.monotonic() / SECOND));
      const at = new Date(clock.now()).toISOString();
      const failure = this.down
        ? { code: "mirror/unreachable", message: "The server is away.", hint: null }
        : null;
      const [interval, seq] = this.down ? [null, null] : [300, this.seq];
      return { at, components: [], failure, interval, seq, retryAfter: null };
    };
    const parts = {
      world: { clock, disk, random: scriptedRandom(number), log: () => {} },
      folder: "/",
      settings: { startSpread },
      server: { wakeUps: (after: number, signal: AbortSignal) => this.#stream(after, signal) },
    };
    const board = { wait: () => {}, wakeUps: "disconnected" };
    return { parts, board, check, isCrippled: async () => false, nudge: () => {} } as unknown as Checking;
  }

  async *#stream(after: number, signal: AbortSignal): AsyncGenerator<Wake> {
    if (this.down) return;
    if (this.seq > after) {
      after = this.seq;
      yield { type: "check", seq: this.seq };
    }
    while (!signal.aborted) {
      let tell: (wake: Wake | null) => void = () => {};
      const wake = await new Promise<Wake | null>((resolve) => {
        tell = resolve;
        this.#listeners.add(tell);
        if (this.seq > after) resolve({ type: "check", seq: this.seq });
      });
      this.#listeners.delete(tell);
      if (wake === null) return;
      after = wake.seq;
      yield wake;
    }
  }
}

describe("a fleet of a thousand devices", () => {
  it("that starts together keeps its start spread, although a wake-up was sent once", async () => {
    const crowd = new Crowd();
    crowd.start(1000, 300);
    await crowd.clock.advance(300);
    assert.equal(crowd.checks.length >= 1000, true);
    // Evenly spread there would be 3.3 checks a second.
    assert.ok(crowd.peak(0) <= 20, `${crowd.peak(0)} checks in one second`);
    await crowd.end();
  });

  it("checks at once when it is woken while it listens", async () => {
    const crowd = new Crowd();
    crowd.start(1000, 30);
    await crowd.clock.advance(60);
    const before = crowd.checks.length;
    crowd.wake();
    await crowd.clock.advance(2);
    assert.ok(crowd.checks.length >= before + 1000);
    await crowd.end();
  });

  it("spreads over the interval after its server started again with a wake-up that all of them missed", async () => {
    const crowd = new Crowd();
    crowd.start(1000, 300);
    await crowd.clock.advance(330);
    crowd.down = true;
    crowd.loseStreams();
    await crowd.clock.advance(60);
    crowd.seq++;
    crowd.down = false;
    const [from, before] = [crowd.clock.monotonic() / SECOND, crowd.checks.length];
    await crowd.clock.advance(330);
    assert.ok(crowd.checks.length >= before + 1000, "each device has checked");
    assert.ok(crowd.peak(from) <= 30, `${crowd.peak(from)} checks in one second`);
    await crowd.end();
  });
});

describe("a flood of wake-ups", () => {
  it("is one line of the log a minute, with a count", async () => {
    const crowd = new Crowd();
    const lines: { readonly event: string; readonly count?: number }[] = [];
    const stop = new AbortController();
    let seq = 0;
    const parts = {
      world: {
        clock: crowd.clock,
        disk: new MemoryDisk(),
        random: scriptedRandom(),
        log: (line: (typeof lines)[number]) => void lines.push(line),
      },
      folder: "/",
      settings: { startSpread: 0 },
      server: {
        wakeUps: async function* () {
          while (!stop.signal.aborted) {
            await crowd.clock.sleep(SECOND, stop.signal).catch(() => undefined);
            for (let i = 0; i < 100; i++) yield { type: "check", seq: ++seq };
          }
        },
      },
    };
    const check = async () => ({
      at: "",
      components: [],
      failure: null,
      interval: 300,
      seq,
      retryAfter: null,
    });
    const board = { wait: () => {}, wakeUps: "disconnected" };
    const agent = {
      parts,
      board,
      check,
      isCrippled: async () => false,
      nudge: () => {},
    } as unknown as Checking;
    const done = keepChecking(agent, stop.signal);
    await crowd.clock.advance((3 * MINUTE) / SECOND);
    stop.abort(new Error("the test is over"));
    await done;
    const told = lines.filter(({ event }) => event === "wake-ups-dropped");
    assert.ok(told.length >= 2 && told.length <= 3, `${told.length} lines`);
    assert.ok(told.every(({ count }) => count! > 5000));
  });
});
