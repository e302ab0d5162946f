// The journal: torn tails are cut, corruption is an error, and a full disk cannot keep an attempt from ending.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { DiskError, writeAtomic } from "../core/disk.ts";
import { crashMatrix } from "../testing/crash-matrix.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import { attemptsOf, recentRecords } from "./attempt.ts";
import { SlotError } from "./errors.ts";
import type { JournalEvent } from "./journal-event.ts";
import { formatRecord, openJournal, parseJournal, type JournalRecord } from "./journal.ts";

const id = (n: number): string => n.toString(16).padStart(32, "0");
const begin = (n: number): JournalEvent => ({
  event: "begin",
  attempt: id(n),
  at: "2026-11-21T04:00:00Z",
  from: null,
  to: { version: `1.${n}.0`, sha256: "a".repeat(64) },
  length: 10,
  manifestSha256: "b".repeat(64),
  floor: null,
  manual: false,
});
const staged = (n: number): JournalEvent => ({ event: "staged", attempt: id(n) });
const records = (events: readonly JournalEvent[]): readonly JournalRecord[] =>
  events.map((event, i) => ({ sequence: i + 1, event }));
const bytesOf = (events: readonly JournalEvent[]): Uint8Array =>
  Uint8Array.from(records(events).flatMap((record) => [...formatRecord(record)]));

const THREE = [begin(1), staged(1), begin(2)];

describe("a journal", () => {
  it("comes back as it was written, with or without its reserve of zeros", () => {
    for (const reserve of [0, 1000]) {
      const parsed = parseJournal(new Uint8Array([...bytesOf(THREE), ...new Uint8Array(reserve)]));
      assert.deepEqual(
        parsed.records.map((record) => record.event),
        THREE,
      );
      assert.equal(parsed.torn, false);
    }
  });

  it("loses at most its last record, wherever its end is cut", () => {
    const bytes = bytesOf(THREE);
    const two = bytesOf(THREE.slice(0, 2)).length;
    for (let length = two; length < bytes.length; length++) {
      const parsed = parseJournal(bytes.subarray(0, length));
      assert.equal(parsed.records.length, 2, `cut at ${length}`);
      assert.equal(parsed.end, two);
    }
  });

  it("is never read wrong after one changed byte: the same, its last record cut, or refused", () => {
    const bytes = bytesOf(THREE);
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = bytes.slice();
        changed[at]! ^= flip;
        try {
          const { records: found } = parseJournal(changed);
          assert.deepEqual(
            found.map((record) => record.event),
            THREE.slice(0, found.length),
          );
          assert.ok(found.length >= 2, "only the last record may be taken for torn");
        } catch (error) {
          assert.ok(error instanceof SlotError && error.code === "slot/journal-corrupt", String(error));
        }
      }),
      { numRuns: 500 },
    );
  });

  it("is refused when a record is missing or repeated", () => {
    const lines = records(THREE).map(formatRecord);
    for (const order of [
      [0, 2],
      [0, 0, 1],
      [0, 2, 1],
    ]) {
      const bytes = Uint8Array.from(order.flatMap((i) => [...lines[i]!]));
      assert.throws(() => parseJournal(bytes), { code: "slot/journal-corrupt" });
    }
  });

  it("keeps what was appended, and nothing half, after a power cut at any operation", async () => {
    const start = new MemoryDisk();
    await (await openJournal(start, "/journal")).append(begin(1));
    let kept = 0;
    await crashMatrix(
      start,
      async (disk) => {
        const journal = await openJournal(disk, "/journal");
        await journal.append(staged(1));
        await journal.append(begin(2));
      },
      async ({ disk }) => {
        const found = (await openJournal(disk, "/journal")).events;
        assert.deepEqual(found, [begin(1), staged(1), begin(2)].slice(0, found.length));
        assert.ok(found.length >= 1);
        kept = Math.max(kept, found.length);
        // Whatever was cut, the next record goes to the right place.
        const journal = await openJournal(disk, "/journal");
        await journal.append(staged(9));
        assert.deepEqual((await openJournal(disk, "/journal")).events, [...found, staged(9)]);
      },
    );
    assert.ok(kept >= 2);
  });

  it("has room for a whole attempt on a disk that is full", async () => {
    const disk = new MemoryDisk();
    const journal = await openJournal(disk, "/journal");
    await journal.reserve(recentRecords);
    disk.capacity = 0;
    for (let n = 1; n <= 100; n++) await journal.append(staged(n));
    await assert.rejects(
      async () => {
        for (let n = 1; n <= 2000; n++) await journal.append(begin(n));
      },
      (error) => error instanceof DiskError && error.code === "disk/full",
    );
  });

  it("is shortened when it grows long, and keeps its last attempts and its numbers", async () => {
    const disk = new MemoryDisk();
    const journal = await openJournal(disk, "/journal");
    for (let n = 1; n <= 2200; n++) {
      await journal.reserve(recentRecords);
      await journal.append(begin(n));
    }
    const { size } = await disk.stat("/journal");
    assert.ok(size < 700_000, `${size} bytes`);
    const again = await openJournal(disk, "/journal");
    assert.equal(again.records.at(-1)?.sequence, 2200);
    assert.deepEqual(attemptsOf(again.events).at(-1)?.begin, begin(2200));
    assert.ok(attemptsOf(again.events).length >= 3);
  });

  it("that is no journal is refused", async () => {
    const disk = new MemoryDisk();
    await writeAtomic(
      disk,
      "/journal",
      bytesOf(THREE).map((byte, i) => (i === 5 ? byte ^ 1 : byte)),
    );
    await assert.rejects(openJournal(disk, "/journal"), { code: "slot/journal-corrupt" });
  });
});
