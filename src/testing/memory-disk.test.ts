// The memory disk keeps the port's contract, and loses exactly what the contract lets it lose.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { DiskError, readOrNull, statOrNull, writeAtomic } from "../core/disk.ts";
import { systemDisk } from "../io/system/disk.ts";
import { crashMatrix } from "./crash-matrix.ts";
import { testDisk } from "./disk-suite.ts";
import { MemoryDisk, PowerCut } from "./memory-disk.ts";

describe("the memory disk", () => {
  testDisk(async () => ({ disk: new MemoryDisk(), folder: "/", clean: async () => {} }));
});

describe("the real disk", () => {
  testDisk(async () => {
    const folder = await mkdtemp(join(tmpdir(), "upkeep-disk-"));
    return { disk: systemDisk, folder, clean: () => rm(folder, { recursive: true }) };
  });
});

const text = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : new TextDecoder().decode(bytes);

async function put(disk: MemoryDisk, path: string, content: string, sync: boolean): Promise<void> {
  const file = await disk.open(path, "write");
  await file.truncate(0);
  await file.write(0, toUtf8(content));
  if (sync) await file.sync();
  await file.close();
}

async function outcomes(disk: MemoryDisk, path: string): Promise<Set<string | null>> {
  const out = new Set<string | null>();
  for (const state of disk.crashStates()) out.add(text(await readOrNull(state, path, 100)));
  return out;
}

describe("a power cut on the memory disk", () => {
  it("may lose a file whose folder was not synced, or keep it", async () => {
    const disk = new MemoryDisk();
    await put(disk, "/a", "new!", true);
    assert.deepEqual(await outcomes(disk, "/a"), new Set([null, "new!"]));
    await disk.syncDirectory("/");
    assert.deepEqual(await outcomes(disk, "/a"), new Set(["new!"]));
  });

  it("may leave a synced name with nothing or half in it when the file was not synced", async () => {
    const disk = new MemoryDisk();
    await put(disk, "/a", "new!", false);
    await disk.syncDirectory("/");
    assert.deepEqual(await outcomes(disk, "/a"), new Set(["", "ne", "\0\0w!", "new!"]));
  });

  it("switches a link whole or not at all", async () => {
    const disk = new MemoryDisk();
    await disk.link("/current", "slots/1");
    await disk.syncDirectory("/");
    await disk.link("/current.tmp", "slots/2");
    await disk.rename("/current.tmp", "/current");
    const seen = new Set<string>();
    for (const state of disk.crashStates()) seen.add(await state.readLink("/current"));
    assert.deepEqual(seen, new Set(["slots/1", "slots/2"]));
  });

  it("may keep a later name and lose an earlier one", async () => {
    const disk = new MemoryDisk();
    await put(disk, "/a", "a", true);
    await put(disk, "/b", "b", true);
    const seen = new Set<string>();
    for (const state of disk.crashStates()) seen.add((await state.list("/")).join());
    assert.deepEqual(seen, new Set(["", "a", "b", "a,b"]));
  });

  it("may undo a removal that was not synced, and a mode that was not synced", async () => {
    const disk = new MemoryDisk();
    await put(disk, "/a", "a", true);
    await put(disk, "/x", "x", true);
    await disk.syncDirectory("/");
    await disk.removeFile("/a");
    await disk.chmod("/x", 0o755);
    const modes = new Set<number | undefined>();
    const kept = new Set<boolean>();
    for (const state of disk.crashStates()) {
      modes.add((await statOrNull(state, "/x"))?.mode);
      kept.add((await statOrNull(state, "/a")) !== null);
    }
    assert.deepEqual(modes, new Set([0o644, 0o755]));
    assert.deepEqual(kept, new Set([true, false]));
  });

  it("stops the program for good", async () => {
    const disk = new MemoryDisk();
    disk.crashAt = 1;
    await assert.rejects(writeAtomic(disk, "/a", toUtf8("a")), PowerCut);
    await assert.rejects(disk.list("/"), PowerCut);
  });

  it("never shows anything but the old or the new file after writeAtomic", async () => {
    const start = new MemoryDisk();
    await writeAtomic(start, "/a", toUtf8("old"));
    const seen = new Set<string | null>();
    const cases = await crashMatrix(
      start,
      (disk) => writeAtomic(disk, "/a", toUtf8("new")),
      async ({ disk }) => {
        seen.add(text(await readOrNull(disk, "/a", 10)));
      },
    );
    assert.deepEqual(seen, new Set(["old", "new"]));
    assert.ok(cases > 6, `${cases} cases`);
  });

  it("catches the rename whose file was never synced", async () => {
    const start = new MemoryDisk();
    await writeAtomic(start, "/a", toUtf8("old"));
    const seen = new Set<string | null>();
    await crashMatrix(
      start,
      async (disk) => {
        await put(disk, "/a.tmp", "new!", false);
        await disk.rename("/a.tmp", "/a");
        await disk.syncDirectory("/");
        await disk.syncDirectory("/");
      },
      async ({ disk }) => {
        seen.add(text(await readOrNull(disk, "/a", 10)));
      },
    );
    assert.ok(seen.has(""), "an empty file behind a durable name must be among the states");
  });
});

describe("faults on the memory disk", () => {
  it("fill the disk after a part was written", async () => {
    const disk = new MemoryDisk({ capacity: 6 });
    await put(disk, "/a", "1234", true);
    await assert.rejects(
      put(disk, "/b", "5678", true),
      (error) => error instanceof DiskError && error.code === "disk/full",
    );
    assert.equal(await disk.free("/"), 0);
    await disk.removeFile("/b");
    assert.equal(await disk.free("/"), 2);
  });

  it("come at the operation that a test names", async () => {
    const disk = new MemoryDisk();
    disk.fault = ({ kind }) => (kind === "sync" ? "disk/io" : undefined);
    await assert.rejects(
      writeAtomic(disk, "/a", toUtf8("a")),
      (error) => error instanceof DiskError && error.code === "disk/io",
    );
    disk.fault = ({ kind }) => (kind === "rename" ? "disk/read-only" : undefined);
    await assert.rejects(
      writeAtomic(disk, "/a", toUtf8("a")),
      (error) => error instanceof DiskError && error.code === "disk/read-only",
    );
    disk.fault = null;
    await writeAtomic(disk, "/a", toUtf8("a"));
  });
});
