// Copies of data that are cut anywhere, foreseen before anything is stopped, and put back whole.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { exists, makeDirectories, writeAtomic } from "../core/disk.ts";
import { crashMatrix } from "../testing/crash-matrix.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import { diskTrees } from "../testing/memory-trees.ts";
import { differenceOf, type DataEntry } from "./data-trees.ts";
import { collectGarbage, makeComponent } from "./install.ts";
import { layoutOf } from "./layout.ts";
import { prepareSnapshot, restoreSnapshot, takeSnapshot } from "./snapshot.ts";

const layout = layoutOf("/c");
const NOBODY = { slots: new Set<string>(), snapshots: new Set<string>() };

async function withData(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory("/c");
  await disk.syncDirectory("/");
  await makeComponent(disk, layout);
  await makeDirectories(disk, "/c/data/deep");
  await writeAtomic(disk, "/c/data/deep/db", toUtf8("before"), 0o600);
  await writeAtomic(disk, "/c/data/Gr\udcfc", toUtf8("raw"), 0o640);
  await disk.link("/c/data/link", "deep/db");
  await disk.syncDirectory("/c/data");
  return disk;
}

const below = (disk: MemoryDisk, folder: string): readonly string[] =>
  disk
    .describe()
    .filter((line) => line.startsWith(`${folder}/`))
    .map((line) => line.slice(folder.length));
const prepare = (disk: MemoryDisk, limit = 1000, refuse: string | null = null) =>
  prepareSnapshot(
    disk,
    diskTrees(disk, () => refuse),
    layout,
    "s",
    limit,
  );

describe("taking a copy of data", () => {
  it("leaves a whole one or none under its name, with modes, wherever it is cut", async () => {
    const start = await withData();
    const wanted = below(start, "/c/data");
    let whole = 0;
    await crashMatrix(
      start,
      async (disk) => void (await takeSnapshot(disk, diskTrees(disk), layout, "s", 1000)),
      async ({ disk }) => {
        assert.deepEqual(below(disk, "/c/data"), wanted);
        if (await exists(disk, "/c/snapshots/s")) {
          whole++;
          assert.deepEqual(below(disk, "/c/snapshots/s"), wanted);
        }
        assert.equal(await takeSnapshot(disk, diskTrees(disk), layout, "s", 1000), 9);
        assert.deepEqual(below(disk, "/c/snapshots/s"), wanted);
      },
    );
    assert.ok(whole > 0);
  });
});

describe("looking at data before anything is stopped", () => {
  it("says that there is nothing, that it is too much, or how much it is, and leaves nothing behind", async () => {
    const disk = await withData();
    assert.deepEqual(await prepare(disk), { kind: "ready", bytes: 9, unseen: null });
    assert.deepEqual(await prepare(disk, 8), { kind: "too-large", bytes: 9 });
    disk.capacity = 9;
    const tight = await prepare(disk);
    assert.deepEqual([tight.kind, tight.kind === "no-room" && tight.free], ["no-room", 0]);
    assert.deepEqual(await disk.list(layout.snapshots), []);
    const empty = new MemoryDisk();
    await empty.makeDirectory("/c");
    await makeComponent(empty, layout);
    assert.deepEqual(await prepare(empty), { kind: "nothing" });
  });

  it("says what could not be brought back, and leaves nothing behind", async () => {
    const disk = await withData();
    await assert.rejects(prepare(disk, 1000, "deep/db"), { code: "slot/data-not-kept" });
    assert.deepEqual(await disk.list(layout.snapshots), []);
    const trees = diskTrees(disk);
    const lossy = {
      ...trees,
      outline: async (from: string, to: string) => trees.outline(`${from}/deep`, to),
    };
    await assert.rejects(prepareSnapshot(disk, lossy, layout, "s", 1000), {
      code: "slot/data-not-kept",
      message: /"Gr\\xFC".*was not copied/,
    });
  });

  it("does not hold against a copy what a running program removed meanwhile", async () => {
    const disk = await withData();
    const trees = diskTrees(disk);
    let looks = 0;
    const outline = async (from: string, to: string): Promise<void> => {
      if (looks++ === 0) await disk.removeFile("/c/data/deep/db");
      return diskTrees(disk, () => (looks === 1 ? "link" : null)).outline(from, to);
    };
    assert.equal((await prepareSnapshot(disk, { ...trees, outline }, layout, "s", 1000)).kind, "ready");
    assert.equal(looks, 2);
  });

  it("is content without room of its own where contents are shared on the disk", async () => {
    const disk = await withData();
    await writeAtomic(disk, "/c/data/large", new Uint8Array(500));
    const free = await disk.free("/");
    disk.capacity -= free - 600;
    const asked: string[] = [];
    const shares = async (from: string): Promise<boolean> => (asked.push(from), true);
    const found = await prepareSnapshot(disk, { ...diskTrees(disk), shares }, layout, "s", 1000);
    assert.deepEqual([found.kind, asked], ["ready", ["/c/data/large"]]);
  });
});

describe("going back", () => {
  it("is done although the data that was given up cannot be removed, which is cleaned later", async () => {
    const disk = await withData();
    const wanted = below(disk, "/c/data");
    await takeSnapshot(disk, diskTrees(disk), layout, "s", 1000);
    await writeAtomic(disk, "/c/data/new", toUtf8("x"));
    disk.fault = ({ kind, path }) =>
      kind === "remove" && path.endsWith("/new") ? "disk/read-only" : undefined;
    await restoreSnapshot(disk, layout, "s");
    assert.deepEqual(below(disk, "/c/data"), wanted);
    await collectGarbage(disk, layout, NOBODY);
    assert.equal(await exists(disk, "/c/data.discarded"), true);
    disk.fault = null;
    await collectGarbage(disk, layout, NOBODY);
    assert.equal(await exists(disk, "/c/data.discarded"), false);
  });

  it("keeps what was given up while nothing has taken its place", async () => {
    const disk = await withData();
    await disk.rename("/c/data", "/c/data.discarded");
    await collectGarbage(disk, layout, NOBODY);
    assert.equal(await exists(disk, "/c/data.discarded/deep/db"), true);
  });
});

describe("a copy is told from its original by", () => {
  const entry: DataEntry = {
    path: "a",
    kind: "file",
    size: 5,
    allocated: 4096,
    mode: 0o640,
    owner: 1,
    group: 2,
    modified: 1_000_000_000_123_456_789n,
    inode: "1:1",
    volume: "1",
    target: null,
  };
  const other = { ...entry, path: "b" };
  const rows: readonly (readonly [string, Partial<DataEntry>, RegExp])[] = [
    ["its kind", { kind: "pipe" }, /is a file and became a pipe/],
    ["its owner", { owner: 0 }, /owner 1:2 became 0:2/],
    ["its group", { group: 0 }, /owner 1:2 became 1:0/],
    ["its mode", { mode: 0o600 }, /mode 640 became 600/],
    ["its size", { size: 4 }, /5 bytes became 4/],
    ["its time", { modified: 1_000_000_000_123_455_000n }, /time was not kept/],
    ["its target", { target: "x" }, /points elsewhere/],
  ];
  for (const [what, change, why] of rows) {
    it(what, () => {
      const found = differenceOf([entry], [{ ...entry, inode: "2:2", ...change }], "all");
      assert.match(found?.why ?? "", why);
      assert.equal(found?.path, "a");
    });
  }

  it("its hard links, and by being there at all", () => {
    assert.equal(
      differenceOf(
        [entry, other],
        [
          { ...entry, inode: "9" },
          { ...other, inode: "9" },
        ],
        "all",
      ),
      null,
    );
    assert.match(differenceOf([entry, other], [entry, { ...other, inode: "9" }], "all")!.why, /hard links/);
    const apart = { ...other, inode: "2" };
    assert.match(differenceOf([entry, apart], [entry, { ...other, inode: "1:1" }], "all")!.why, /hard links/);
    assert.match(differenceOf([entry], [], "all")!.why, /was not copied/);
  });

  it("nothing that an outline has not, and no time finer than a microsecond", () => {
    assert.equal(
      differenceOf([entry], [{ ...entry, size: 0, modified: entry.modified - 999n }], "outline"),
      null,
    );
    assert.equal(
      differenceOf(
        [{ ...entry, kind: "link", mode: 0o777, target: "x" }],
        [{ ...entry, kind: "link", target: "x" }],
        "all",
      ),
      null,
    );
  });
});
