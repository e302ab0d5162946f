// Staging, switching, snapshots and garbage: whole or not at all, and never more removed than nobody names.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sha256Hex } from "../core/digest.ts";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { exists, makeDirectories, writeAtomic, type DiskFile } from "../core/disk.ts";
import { crashMatrix } from "../testing/crash-matrix.ts";
import { diskTrees } from "../testing/memory-trees.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import { tarOf } from "./_tar-writer.ts";
import {
  collectGarbage,
  makeComponent,
  readCurrent,
  slotIsWhole,
  stage,
  switchCurrent,
  type StageInput,
} from "./install.ts";
import { layoutOf, linkTarget, slotName, slotPath, type SlotId } from "./layout.ts";
import { readRecord, RECORD_NAME } from "./record.ts";
import { restoreSnapshot, takeSnapshot } from "./snapshot.ts";
import type { ZipReader } from "./unpack.ts";
import { gzipSync } from "node:zlib";

const layout = layoutOf("/c");
const noZip: ZipReader = {
  entries: () => {
    throw new Error("no zip in these tests");
  },
};
const bytes = new Uint8Array(
  gzipSync(
    tarOf([
      { name: "bin/run", body: "#!/bin/sh", mode: 0o755 },
      { name: "data", body: "x".repeat(300) },
    ]),
  ),
);
const id: SlotId = { version: "1.0.0", sha256: sha256Hex(bytes) };
const path = slotPath(layout, id);

const input = (changes: Partial<StageInput> = {}): StageInput => ({
  product: "shop",
  id,
  artifact: "/c/artifact",
  artifactLength: bytes.length,
  format: { kind: "tar.gz" },
  limits: { bytes: 1000, entries: 10 },
  manifestSha256: "c".repeat(64),
  run: { version: "1.0.0" },
  entry: "bin/run",
  ...changes,
});

/** The methods of an open file, so that one can be replaced. */
const bound = (file: DiskFile): DiskFile => ({
  read: (at, length) => file.read(at, length),
  write: (at, part) => file.write(at, part),
  truncate: (length) => file.truncate(length),
  sync: () => file.sync(),
  close: () => file.close(),
});

async function fresh(artifact = bytes): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory("/c");
  await disk.syncDirectory("/");
  await makeComponent(disk, layout);
  await writeAtomic(disk, "/c/artifact", artifact);
  return disk;
}

describe("staging", () => {
  it("makes a whole slot with its record, and nothing else", async () => {
    const disk = await fresh();
    await stage(disk, layout, input(), noZip);
    assert.deepEqual(await disk.list(layout.slots), [slotName(id)]);
    assert.equal(await slotIsWhole(disk, layout, id), true);
    const record = await readRecord(disk, layout, id);
    assert.deepEqual(
      record.files.map((file) => file.path),
      ["bin", "bin/run", "data"],
    );
  });

  it("never leaves a slot with a final name that is not whole, wherever it is cut", async () => {
    await crashMatrix(
      await fresh(),
      async (disk) => void (await stage(disk, layout, input(), noZip)),
      async ({ disk }) => {
        if (await exists(disk, path)) assert.equal(await slotIsWhole(disk, layout, id), true);
        await stage(disk, layout, input(), noZip);
        assert.equal(await slotIsWhole(disk, layout, id), true);
        assert.deepEqual(await disk.list(layout.slots), [slotName(id)]);
      },
    );
  });

  it("refuses bytes that are not those that were verified (time of check, time of use)", async () => {
    const other = new Uint8Array(gzipSync(tarOf([{ name: "bin/run", body: "evil", mode: 0o755 }])));
    const disk = await fresh(other);
    await assert.rejects(stage(disk, layout, input(), noZip), { code: "slot/wrong-bytes" });
    assert.equal(await exists(disk, path), false);
  });

  it("uses a whole slot that an earlier try left, also when the artifact is gone by now", async () => {
    const disk = await fresh();
    const digest = await stage(disk, layout, input(), noZip);
    await disk.removeFile("/c/artifact");
    assert.equal(await stage(disk, layout, input(), noZip), digest);
  });

  it("reads back what it wrote: a disk that keeps other bytes makes no slot", async () => {
    const disk = await fresh();
    const open = disk.open.bind(disk);
    disk.open = async (name, how, mode) => {
      const file = await open(name, how, mode);
      if (how === "read" || !name.endsWith("/data")) return file;
      const write = (at: number, part: Uint8Array) =>
        file.write(
          at,
          part.map((byte) => byte ^ 1),
        );
      return { ...bound(file), write };
    };
    await assert.rejects(stage(disk, layout, input(), noZip), { code: "slot/damaged" });
    assert.equal(await exists(disk, path), false);
  });

  it("reads back what is there: a file that somebody slips in meanwhile makes no slot (write race)", async () => {
    const disk = await fresh();
    const open = disk.open.bind(disk);
    disk.open = async (name, how, mode) => {
      if (how === "create" && name.endsWith(RECORD_NAME))
        await writeAtomic(disk, name.replace(RECORD_NAME, "bin/plugin"), toUtf8("evil"));
      return open(name, how, mode);
    };
    await assert.rejects(stage(disk, layout, input(), noZip), { code: "slot/damaged" });
    assert.equal(await exists(disk, path), false);
  });

  it("refuses an artifact without the entry point that the release names", async () => {
    const disk = await fresh();
    for (const entry of ["bin/other", "bin"])
      await assert.rejects(stage(disk, layout, input({ entry }), noZip), { code: "slot/entry-missing" });
  });

  it("notices every change in a slot, and makes a damaged one anew", async () => {
    const harms: readonly ((disk: MemoryDisk) => Promise<void>)[] = [
      async (disk) =>
        disk.tamper(`${path}/data`, (content) => content.map((byte, i) => (i === 7 ? byte ^ 1 : byte))),
      async (disk) => disk.tamper(`${path}/data`, (content) => content.subarray(1)),
      async (disk) => disk.removeFile(`${path}/data`),
      async (disk) => disk.chmod(`${path}/bin/run`, 0o444),
      async (disk) => {
        await disk.removeFile(`${path}/data`);
        await disk.link(`${path}/data`, "bin/run");
      },
      async (disk) => disk.tamper(`${path}/${RECORD_NAME}`, (content) => content.subarray(9)),
    ];
    for (const [i, harm] of harms.entries()) {
      const disk = await fresh();
      await stage(disk, layout, input(), noZip);
      await harm(disk);
      assert.equal(await slotIsWhole(disk, layout, id), false, `harm ${i}`);
      await stage(disk, layout, input(), noZip);
      assert.equal(await slotIsWhole(disk, layout, id), true, `harm ${i}`);
    }
  });
});

describe("the pointer", () => {
  it("is the old or the new one at every instant", async () => {
    const start = await fresh();
    const before = { version: "0.9.0", sha256: "a".repeat(64) };
    await switchCurrent(start, layout, before);
    const seen = new Set<string | null>();
    await crashMatrix(
      start,
      (disk) => switchCurrent(disk, layout, id),
      async ({ disk }) => void seen.add(await readCurrent(disk, layout)),
    );
    assert.deepEqual(seen, new Set([linkTarget(before), linkTarget(id)]));
  });
});

describe("the pointer to nothing", () => {
  it("is no pointer, taken away as often as one likes, durably", async () => {
    const disk = await fresh();
    assert.equal(await readCurrent(disk, layout), null);
    await switchCurrent(disk, layout, null);
    await switchCurrent(disk, layout, id);
    assert.equal(await readCurrent(disk, layout), linkTarget(id));
    await switchCurrent(disk, layout, null);
    await switchCurrent(disk, layout, null);
    assert.equal(await readCurrent(disk, layout), null);
    assert.equal(disk.crashStates().length, 1);
  });

  it("is told from something else that lies in its place", async () => {
    const disk = await fresh();
    await writeAtomic(disk, layout.current, toUtf8(linkTarget(id)));
    assert.equal(await readCurrent(disk, layout), "");
  });
});

describe("a snapshot of data", () => {
  async function withData(): Promise<MemoryDisk> {
    const disk = await fresh();
    await makeDirectories(disk, "/c/data/deep");
    await writeAtomic(disk, "/c/data/deep/db", toUtf8("before"), 0o600);
    await disk.link("/c/data/link", "deep/db");
    return disk;
  }

  it("brings everything back, with modes and links, also when going back is cut anywhere", async () => {
    const start = await withData();
    const wanted = start.describe().filter((line) => line.startsWith("/c/data"));
    assert.equal(await takeSnapshot(start, diskTrees(start), layout, "s", 1000), 6);
    await writeAtomic(start, "/c/data/deep/db", toUtf8("after the update"));
    await writeAtomic(start, "/c/data/new", toUtf8("new"));
    await crashMatrix(
      start,
      (disk) => restoreSnapshot(disk, layout, "s"),
      async ({ disk }) => {
        await restoreSnapshot(disk, layout, "s");
        assert.deepEqual(
          disk.describe().filter((line) => line.startsWith("/c/data")),
          wanted,
        );
      },
    );
  });

  it("is not taken of more than the limit, and leaves nothing behind then", async () => {
    const disk = await withData();
    assert.equal(await takeSnapshot(disk, diskTrees(disk), layout, "s", 5), null);
    assert.deepEqual(await disk.list(layout.snapshots), []);
    assert.equal(fromUtf8(await disk.read("/c/data/deep/db", 10)), "before");
  });
});

describe("garbage collection", () => {
  it("removes what nobody names, and goes on past what cannot be removed", async () => {
    const disk = await fresh();
    for (const name of ["keep", "old-1", "old-2", ".tmp-x"]) {
      await makeDirectories(disk, `${layout.slots}/${name}`);
      await writeAtomic(disk, `${layout.slots}/${name}/file`, toUtf8("x"));
    }
    await makeDirectories(disk, `${layout.snapshots}/s`);
    disk.fault = ({ kind, path }) => (kind === "rename" && path.includes("old-1") ? "disk/io" : undefined);
    const removed = await collectGarbage(disk, layout, { slots: new Set(["keep"]), snapshots: new Set() });
    assert.deepEqual([...removed].sort(), [".tmp-x", "old-2", "s"]);
    disk.fault = null;
    await collectGarbage(disk, layout, { slots: new Set(["keep"]), snapshots: new Set() });
    assert.deepEqual(await disk.list(layout.slots), ["keep"]);
  });

  it("does not take a defect of the program for a file that cannot be removed", async () => {
    const disk = await fresh();
    await makeDirectories(disk, `${layout.slots}/old`);
    disk.rename = async () => {
      throw new TypeError("a defect");
    };
    const nothing = { slots: new Set<string>(), snapshots: new Set<string>() };
    await assert.rejects(collectGarbage(disk, layout, nothing), TypeError);
  });
});
