// The local log: a chain that shows what was changed, bounded, whole after any crash, and never in the way of an update.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { DiskError, exists } from "../core/disk.ts";
import { crashMatrix } from "../testing/crash-matrix.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import { EventLog, readLog, verifyLog } from "./event-log.ts";
import { LINE_LIMIT, type LogEvent } from "./record.ts";

const AT = "2026-11-21T04:00:00Z";
const FOLDER = "/agent/log";
const SMALL = 8 * 1024;
const id = (n: number): string => n.toString(16).padStart(32, "0");
const begin = (n: number): LogEvent => ({
  at: AT,
  event: "begin",
  product: "shop",
  attempt: id(n),
  to: "1.0.0",
});
const end = (n: number): LogEvent => ({
  at: AT,
  event: "end",
  product: "shop",
  attempt: id(n),
  end: "committed",
});

async function fresh(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory("/agent");
  await disk.syncDirectory("/");
  return disk;
}
async function filled(attempts: number): Promise<MemoryDisk> {
  const disk = await fresh();
  const log = new EventLog(disk, FOLDER);
  for (let n = 1; n <= attempts; n++) for (const event of [begin(n), end(n)]) await log.add(event);
  return disk;
}
const FILE = `${FOLDER}/000000000001.jsonl`;
const lines = async (disk: MemoryDisk, path = FILE): Promise<string[]> =>
  fromUtf8(await disk.read(path, 1e7))
    .split("\n")
    .slice(0, -1);
async function rewrite(disk: MemoryDisk, all: readonly string[], path = FILE): Promise<void> {
  await disk.removeFile(path);
  const file = await disk.open(path, "create", 0o600);
  await file.write(0, toUtf8(all.map((line) => `${line}\n`).join("")));
  await file.sync();
  await file.close();
}

describe("the local log", () => {
  it("holds what was added, in order, each line with the digest of the one before", async () => {
    const disk = await filled(2);
    const { records, open } = await verifyLog(disk, FOLDER);
    assert.deepEqual(
      records.map(({ seq, event, attempt }) => [seq, event, attempt]),
      [
        [1, "begin", id(1)],
        [2, "end", id(1)],
        [3, "begin", id(2)],
        [4, "end", id(2)],
      ],
    );
    assert.deepEqual(open, []);
    assert.equal((await disk.stat(FILE)).mode, 0o600);
  });

  it("goes on where the agent before it stopped", async () => {
    const disk = await filled(1);
    await new EventLog(disk, FOLDER).add(begin(2));
    const { records, open } = await verifyLog(disk, FOLDER);
    assert.deepEqual([records.length, open], [3, [id(2)]]);
  });

  /** What somebody did to it, and what is said of that. */
  const ATTACKS: readonly (readonly [string, (disk: MemoryDisk) => Promise<void>, RegExp])[] = [
    [
      "a changed line",
      async (disk) =>
        rewrite(
          disk,
          (await lines(disk)).map((line, i) => (i === 1 ? line.replace("committed", "rolledback") : line)),
        ),
      /line 3 does not follow/,
    ],
    [
      "a line that was taken out",
      async (disk) =>
        rewrite(
          disk,
          (await lines(disk)).filter((_, i) => i !== 1),
        ),
      /line 2 is missing/,
    ],
    [
      "its last lines cut off",
      async (disk) => rewrite(disk, (await lines(disk)).slice(0, 2)),
      /lines 3 to 4 are missing/,
    ],
    [
      "its first lines cut off",
      async (disk) => rewrite(disk, (await lines(disk)).slice(2)),
      /lines 1 to 2 are missing/,
    ],
    ["all of its lines removed", async (disk) => disk.removeFile(FILE), /lines 1 to 4 are missing/],
    [
      "its last line replaced",
      async (disk) =>
        rewrite(
          disk,
          (await lines(disk)).map((line, i) => (i === 3 ? line.replace("committed", "rolledback") : line)),
        ),
      /line 4 is not the one that was written/,
    ],
    [
      "two lines in another order",
      async (disk) => {
        const [a, b, ...rest] = await lines(disk);
        await rewrite(disk, [b!, a!, ...rest]);
      },
      /are missing|is missing/,
    ],
    [
      "a line twice",
      async (disk) => {
        const all = await lines(disk);
        await rewrite(disk, [...all.slice(0, 2), all[1]!, ...all.slice(2)]);
      },
      /line 3 is missing: the next one is 2/,
    ],
    [
      "a line that is none",
      async (disk) =>
        rewrite(
          disk,
          (await lines(disk)).map((line, i) => (i === 1 ? "{}" : line)),
        ),
      /line 2 cannot be read/,
    ],
    [
      "a line longer than any that is written",
      async (disk) => {
        const all = await lines(disk);
        all[1] = all[1]!.replace("committed", "x".repeat(LINE_LIMIT));
        await rewrite(disk, all);
      },
      /line 2 cannot be read/,
    ],
    [
      "its head replaced by nonsense",
      async (disk) => {
        const file = await disk.open(`${FOLDER}/head.json`, "write");
        await file.truncate(0);
        await file.sync();
        await file.close();
      },
      /its head cannot be read/,
    ],
    [
      "a first line that claims to follow another",
      async (disk) => rewrite(disk, [(await lines(disk))[0]!.replace("0".repeat(64), "1".repeat(64))]),
      /line 1 does not follow|lines 2 to 4 are missing/,
    ],
  ];
  for (const [what, change, why] of ATTACKS)
    it(`shows ${what} (tampering)`, async () => {
      const disk = await filled(2);
      await change(disk);
      await assert.rejects(verifyLog(disk, FOLDER), (error: { code: string; message: string }) => {
        assert.equal(error.code, "history/corrupt");
        assert.match(error.message, why);
        return true;
      });
      // The next agent keeps it aside, says so, and begins anew.
      await new EventLog(disk, FOLDER).add(begin(9));
      const { records } = await verifyLog(disk, FOLDER);
      assert.deepEqual(
        records.map(({ event }) => event),
        ["log-lost", "begin"],
      );
      assert.ok(await exists(disk, `${FOLDER}.damaged`));
    });

  it("shows an attempt that ends twice", async () => {
    const disk = await filled(1);
    await new EventLog(disk, FOLDER).add(end(1));
    await assert.rejects(verifyLog(disk, FOLDER), /ends without having begun, or twice/);
  });

  it("is bounded: the oldest lines go, and the chain of the rest still holds", async () => {
    const disk = await fresh();
    const log = new EventLog(disk, FOLDER, SMALL);
    const long = (n: number): LogEvent => ({ ...begin(n), reason: "r".repeat(1000), code: "c".repeat(120) });
    for (let n = 1; n <= 120; n++) await log.add(long(n));
    const files = (await disk.list(FOLDER)).filter((name) => name.endsWith(".jsonl"));
    assert.ok(files.length <= 8, files.join(" "));
    let bytes = 0;
    for (const name of files) bytes += (await disk.stat(`${FOLDER}/${name}`)).size;
    assert.ok(bytes <= 8 * (SMALL + LINE_LIMIT), `${bytes} bytes`);
    const { records, first, last } = await verifyLog(disk, FOLDER);
    assert.ok(first.seq > 0);
    assert.equal(last.seq, 120);
    assert.equal(records[0]!.seq, first.seq + 1);
    // What is left of it after the oldest file was taken away by somebody else is not.
    await disk.removeFile(`${FOLDER}/${files[0]!}`);
    await assert.rejects(verifyLog(disk, FOLDER), /are missing/);
  });

  it("stops nobody when the disk is full, and is completed when there is room", async () => {
    const disk = await filled(1);
    const log = new EventLog(disk, FOLDER);
    disk.fault = ({ kind }) => (kind === "write" ? "disk/full" : undefined);
    await log.add(begin(2));
    await log.add(end(2));
    disk.fault = null;
    await log.add(begin(3));
    assert.equal((await verifyLog(disk, FOLDER)).records.length, 5);
  });

  it("has no line twice when only its head could not be written", async () => {
    const disk = await filled(1);
    const log = new EventLog(disk, FOLDER);
    disk.fault = ({ kind, path }) => (kind === "rename" && path.includes("head") ? "disk/io" : undefined);
    await log.add(begin(2));
    disk.fault = null;
    await log.add(end(2));
    assert.equal((await verifyLog(disk, FOLDER)).records.length, 4);
  });

  it("throws what is no error of the disk", async () => {
    const disk = await filled(1);
    disk.open = async () => {
      throw new TypeError("a defect");
    };
    await assert.rejects(new EventLog(disk, FOLDER).add(begin(2)), TypeError);
    assert.ok(!(new TypeError("x") instanceof DiskError));
  });

  it("is completed from the journals: begin and one end for each attempt", async () => {
    const disk = await fresh();
    const log = new EventLog(disk, FOLDER);
    await log.add(begin(1));
    const known = [
      { begin: begin(1), end: end(1) },
      { begin: begin(2), end: null },
      { begin: begin(3), end: end(3) },
    ];
    await log.settle(AT, known);
    await log.settle(AT, known);
    const { records, open } = await verifyLog(disk, FOLDER);
    assert.deepEqual(
      records.map(({ event, attempt }) => `${event} ${Number.parseInt(attempt!, 16)}`),
      ["begin 1", "end 1", "begin 2", "begin 3", "end 3"],
    );
    assert.deepEqual(open, [id(2)]);
  });

  it("ends an attempt of which no journal knows any more", async () => {
    const disk = await fresh();
    const log = new EventLog(disk, FOLDER);
    await log.add(begin(1));
    await log.settle(AT, []);
    const { records, open } = await verifyLog(disk, FOLDER);
    assert.deepEqual([records.at(-1)!.end, open], ["lost", []]);
  });

  it("is whole after a power cut at any point, and after the next settling each attempt has one begin and one end", async () => {
    const start = await filled(1);
    await crashMatrix(
      start,
      async (disk) => {
        const log = new EventLog(disk, FOLDER);
        await log.add(begin(2));
        await log.add(end(2));
        await disk.stat("/");
      },
      async ({ disk }) => {
        const log = new EventLog(disk, FOLDER);
        await log.settle(AT, [{ begin: begin(2), end: end(2) }]);
        const { records, open } = await verifyLog(disk, FOLDER);
        assert.equal(records.filter(({ event }) => event === "log-lost").length, 0);
        assert.deepEqual([records.length, open], [4, []]);
      },
    );
  });

  it("is whole after a power cut while the oldest file goes", async () => {
    const start = await fresh();
    const log = new EventLog(start, FOLDER, SMALL);
    let n = 0;
    const long = (): LogEvent => ({ ...begin(++n), reason: "r".repeat(1000), code: "c".repeat(120) });
    const files = async (): Promise<number> =>
      (await start.list(FOLDER)).filter((name) => name.endsWith(".jsonl")).length;
    do await log.add(long());
    while ((await files()) < 8);
    while ((await readLog(start, FOLDER)).end <= SMALL) await log.add(long());
    await crashMatrix(
      start.clone(),
      async (disk) => {
        await new EventLog(disk, FOLDER, SMALL).add(long());
        await disk.stat("/");
      },
      async ({ disk }) => {
        await new EventLog(disk, FOLDER, SMALL).add(long());
        const { records } = await verifyLog(disk, FOLDER);
        assert.equal(records.filter(({ event }) => event === "log-lost").length, 0);
      },
      { states: 4 },
    );
  });
});
