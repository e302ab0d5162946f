// The check of an installed slot: what it notices, what it does not read again, and what it says.
//
// Changes to check-slot.ts that no test here notices, and why: reading once more at the end of a file (nothing is left to read there);
// asking an error that is no `DiskError` for its code (it has none of those, and is passed on all the same).

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { sha256Hex } from "../core/digest.ts";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { makeDirectories, removeTree } from "../core/disk.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import { checkInstalled, checkSlot } from "./check-slot.ts";
import { loadChecked, saveChecked } from "./checked.ts";
import { makeComponent } from "./install.ts";
import { layoutOf, nextCopy, sameBytes, sameSlot, slotName, slotPath } from "./layout.ts";
import { RECORD_NAME, writeRecord, type SlotFile } from "./record.ts";

const layout = layoutOf("/c");
const id = { version: "1.0.0", sha256: "a".repeat(64) };
const path = slotPath(layout, id);
const NOW = Date.parse("2026-11-21T04:00:00Z");

async function file(disk: MemoryDisk, at: string, text: string, mode: number): Promise<void> {
  const made = await disk.open(at, "create", mode);
  await made.write(0, toUtf8(text));
  await made.sync();
  await made.close();
}

const FILES: readonly SlotFile[] = [
  { path: "bin", kind: "directory" },
  { path: "bin/run", kind: "file", size: 3, sha256: sha256Hex(toUtf8("run")), executable: true },
  { path: "link", kind: "link", target: "bin/run" },
  { path: "text", kind: "file", size: 4, sha256: sha256Hex(toUtf8("text")), executable: false },
];

async function installed(): Promise<{ disk: MemoryDisk; digest: string }> {
  const disk = new MemoryDisk();
  await makeComponent(disk, layout);
  await makeDirectories(disk, `${path}/bin`);
  await file(disk, `${path}/bin/run`, "run", 0o555);
  await file(disk, `${path}/text`, "text", 0o444);
  await disk.link(`${path}/link`, "bin/run");
  const record = writeRecord({
    format: 1,
    product: "shop",
    id,
    artifactLength: 1,
    manifestSha256: "b".repeat(64),
    run: {},
    files: [...FILES],
  });
  await file(disk, `${path}/${RECORD_NAME}`, fromUtf8(record), 0o444);
  return { disk, digest: sha256Hex(record) };
}

describe("the check of a slot", () => {
  it("passes what is as it was made, and says what it read", async () => {
    const { disk, digest } = await installed();
    const { stamps, files, bytes } = await checkInstalled(disk, layout, id, digest);
    assert.deepEqual([files, bytes, [...stamps.keys()]], [4, 7, ["bin/run", "text"]]);
  });

  it("ends at a file that shrinks while it is read, and calls it damaged", async () => {
    const { disk, digest } = await installed();
    const open = disk.open.bind(disk);
    disk.open = async (name, how, mode) => {
      if (name === `${path}/text`) disk.tamper(name, (content) => content.subarray(2));
      return open(name, how, mode);
    };
    await assert.rejects(checkInstalled(disk, layout, id, digest), { code: "slot/damaged" });
  });

  const entry = (name: string) => `${path}/${name}`;
  const harms: readonly (readonly [string, RegExp, (disk: MemoryDisk) => Promise<void> | void])[] = [
    ["other bytes", /text has other bytes/, (disk) => disk.tamper(entry("text"), () => toUtf8("test"))],
    [
      "a file that was cut",
      /has 3 bytes instead of 4/,
      (disk) => disk.tamper(entry("text"), () => toUtf8("tex")),
    ],
    ["a missing file", /text is missing/, (disk) => disk.removeFile(entry("text"))],
    [
      "a link that points elsewhere",
      /link points elsewhere/,
      async (disk) => {
        await disk.removeFile(entry("link"));
        await disk.link(entry("link"), "/etc/passwd");
      },
    ],
    [
      "a link in place of a file",
      /text is a link and not a file/,
      async (disk) => {
        await disk.removeFile(entry("text"));
        await disk.link(entry("text"), "bin/run");
      },
    ],
    [
      "a file in place of a link",
      /link is a file and not a link/,
      async (disk) => {
        await disk.removeFile(entry("link"));
        await file(disk, entry("link"), "run", 0o555);
      },
    ],
    [
      "a program that lost its executable bit",
      /executable bit/,
      (disk) => disk.chmod(entry("bin/run"), 0o444),
    ],
    ["a text that became a program", /executable bit/, (disk) => disk.chmod(entry("text"), 0o555)],
    ["a file that its owner may write", /has the mode 644/, (disk) => disk.chmod(entry("text"), 0o644)],
    ["a setuid program", /has the mode 4555/, (disk) => disk.chmod(entry("bin/run"), 0o4555)],
    ["a folder that others may write", /bin has the mode 757/, (disk) => disk.chmod(entry("bin"), 0o757)],
    [
      "a record of another slot",
      /record of another slot/,
      (disk) => disk.tamper(entry(RECORD_NAME), (bytes) => toUtf8(fromUtf8(bytes).replace("1.0.0", "1.0.1"))),
    ],
    ["a missing record", /upkeep-slot\.json is missing/, (disk) => disk.removeFile(entry(RECORD_NAME))],
    [
      "a link in place of the record",
      /is a link and not a file/,
      async (disk) => {
        await disk.rename(entry(RECORD_NAME), "/c/record");
        await disk.link(entry(RECORD_NAME), "/c/record");
      },
    ],
    ["a missing slot", /is missing/, (disk) => disk.rename(path, "/c/elsewhere")],
    [
      "a link in place of the slot",
      /is a link and not a directory/,
      async (disk) => {
        await disk.rename(path, "/c/elsewhere");
        await disk.link(path, "/c/elsewhere");
      },
    ],
  ];
  for (const [name, message, harm] of harms) {
    it(`notices ${name}`, async () => {
      const { disk } = await installed();
      await harm(disk);
      await assert.rejects(checkInstalled(disk, layout, id, null), { code: "slot/damaged", message });
    });
  }

  it("tells what was added, the topmost of it, and refuses it where nothing may be", async () => {
    const { disk } = await installed();
    await file(disk, entry("more"), "", 0o444);
    await disk.link(entry("bin/link-out"), "/etc");
    await makeDirectories(disk, entry("bin/cache/deep"));
    await file(disk, entry("bin/cache/deep/file"), "x", 0o644);
    const { added } = await checkInstalled(disk, layout, id, null);
    assert.deepEqual(added.toSorted(), ["bin/cache", "bin/link-out", "more"]);
    await assert.rejects(checkInstalled(disk, layout, id, null, { exact: true }), {
      code: "slot/damaged",
      message: /was added/,
    });
    await file(disk, entry("\u001b[31m"), "", 0o444);
    await disk.removeFile(entry("more"));
    await disk.removeFile(entry("bin/link-out"));
    await removeTree(disk, entry("bin/cache"));
    await assert.rejects(checkInstalled(disk, layout, id, null, { exact: true }), {
      message: /"\\x1B\[31m" was added/,
    });
  });

  it("notices a record that was changed together with its file, if the record is remembered", async () => {
    const { disk, digest } = await installed();
    disk.tamper(entry("text"), () => toUtf8("test"));
    const forged = [sha256Hex(toUtf8("text")), sha256Hex(toUtf8("test"))] as const;
    disk.tamper(entry(RECORD_NAME), (bytes) => toUtf8(fromUtf8(bytes).replace(...forged)));
    await checkInstalled(disk, layout, id, null);
    await assert.rejects(checkInstalled(disk, layout, id, digest), {
      code: "slot/damaged",
      message: /not the one that was written/,
    });
  });

  it("lets the disk's own trouble through: it is neither a pass nor damage", async () => {
    const { disk } = await installed();
    disk.fault = ({ kind, path }) => (kind === "read" && path.endsWith("text") ? "disk/io" : undefined);
    await assert.rejects(checkInstalled(disk, layout, id, null), { code: "disk/io" });
  });

  it("does not read what has the stamps of the last check, and reads what has others", async () => {
    const { disk } = await installed();
    const { stamps } = await checkSlot(disk, path, FILES);
    assert.equal((await checkSlot(disk, path, FILES, { known: stamps })).bytes, 0);
    disk.tamper(entry("text"), () => toUtf8("text"));
    assert.equal((await checkSlot(disk, path, FILES, { known: stamps })).bytes, 4);
    disk.tamper(entry("text"), () => toUtf8("test"));
    await assert.rejects(checkSlot(disk, path, FILES, { known: stamps }), { code: "slot/damaged" });
  });
});

describe("the result of a check", () => {
  it("is kept for its slot, and forgotten when it cannot be read", async () => {
    const { disk } = await installed();
    const checked = await checkSlot(disk, path, FILES);
    await saveChecked(disk, layout, id, checked, NOW);
    const last = await loadChecked(disk, layout, id);
    assert.deepEqual([last?.at, last?.stamps], [NOW, checked.stamps]);
    assert.equal(await loadChecked(disk, layout, nextCopy(id)), null);
    disk.tamper(layout.checked, (bytes) => bytes.subarray(2));
    assert.equal(await loadChecked(disk, layout, id), null);
  });

  it("is not kept of files that changed a moment ago, whose times may not show the next change", async () => {
    const { disk } = await installed();
    const checked = await checkSlot(disk, path, FILES);
    await saveChecked(disk, layout, id, { ...checked, changedMs: NOW - 1000 }, NOW);
    assert.equal(await loadChecked(disk, layout, id), null);
  });
});

describe("the place of a replacement", () => {
  it("is never that of what it replaces, and holds the same bytes", () => {
    const [first, second] = [nextCopy(id), nextCopy(nextCopy(id))];
    assert.deepEqual([slotName(first), slotName(second)], [`${slotName(id)}-r1`, `${slotName(id)}-r2`]);
    assert.ok(sameBytes(id, second) && !sameSlot(id, first) && !sameSlot(first, second));
  });
});
