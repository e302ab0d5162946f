// Zip archives as the system's own tool writes them, and as nobody should.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { crc32, deflateRawSync } from "node:zlib";
import { concat, toUtf8 } from "../../core/bytes.ts";
import { writeAtomic } from "../../core/disk.ts";
import { SlotError, type SlotErrorCode } from "../../slot/errors.ts";
import { unpack } from "../../slot/unpack.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { zipReader } from "./unpack-zip.ts";

type Member = {
  readonly name: string | Uint8Array;
  readonly body?: string;
  /** Unix mode with type; 0 for an archive made elsewhere. */
  readonly mode?: number;
  readonly method?: number;
  readonly flags?: number;
  readonly size?: number;
  readonly crc?: number;
};

/** APPNOTE 4.3: local headers with data, central directory, end record. */
function zipOf(members: readonly Member[]): Uint8Array {
  const locals: Uint8Array[] = [];
  const central: Uint8Array[] = [];
  let offset = 0;
  for (const { name, body = "", mode = 0, method = 8, flags = 0x800, size, crc } of members) {
    const path = typeof name === "string" ? toUtf8(name) : name;
    const plain = toUtf8(body);
    const data = method === 8 ? new Uint8Array(deflateRawSync(plain)) : plain;
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(flags, 2);
    common.writeUInt16LE(method, 4);
    common.writeUInt32LE(crc ?? crc32(plain), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(size ?? plain.length, 18);
    common.writeUInt16LE(path.length, 22);
    const local = concat([toUtf8("PK\u0003\u0004"), common, path, data]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE((mode << 16) >>> 0, 6);
    tail.writeUInt32LE(offset, 10);
    const madeBy = Uint8Array.of(20, mode === 0 ? 0 : 3);
    central.push(concat([toUtf8("PK\u0001\u0002"), madeBy, common, tail, path]));
    locals.push(local);
    offset += local.length;
  }
  const directory = concat(central);
  const end = Buffer.alloc(22);
  end.write("PK\u0005\u0006", "latin1");
  end.writeUInt16LE(members.length, 8);
  end.writeUInt16LE(members.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return concat([...locals, directory, end]);
}

async function unpackZip(bytes: Uint8Array): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await writeAtomic(disk, "/a.zip", bytes);
  await disk.makeDirectory("/slot");
  await unpack(disk, "/slot", zipReader.entries(disk, "/a.zip"), { bytes: 10_000, entries: 20 });
  return disk;
}

const refused = (code: SlotErrorCode) => (error: unknown) =>
  error instanceof SlotError && error.code === code;
const text = async (disk: MemoryDisk, path: string): Promise<string> =>
  new TextDecoder().decode(await disk.read(path, 1000));

describe("a zip archive", () => {
  it("becomes files, folders and links with the executable bit", async () => {
    const disk = await unpackZip(
      zipOf([
        { name: "bin/", mode: 0o040755, method: 0 },
        { name: "bin/run", body: "#!/bin/sh", mode: 0o100755 },
        { name: "data", body: "x".repeat(500), mode: 0o100666 },
        { name: "link", body: "bin/run", mode: 0o120777, method: 0 },
        { name: "elsewhere", body: "made on another system" },
      ]),
    );
    assert.equal((await disk.stat("/slot/bin/run")).mode, 0o555);
    assert.equal((await disk.stat("/slot/data")).mode, 0o444);
    assert.equal(await disk.readLink("/slot/link"), "bin/run");
    assert.equal(await text(disk, "/slot/elsewhere"), "made on another system");
  });

  const bad: readonly (readonly [string, SlotErrorCode, readonly Member[]])[] = [
    ["a path with ..", "slot/unsafe-entry", [{ name: "../evil", body: "x" }]],
    ["an absolute path", "slot/unsafe-entry", [{ name: "/evil", body: "x" }]],
    ["a backslash", "slot/unsafe-entry", [{ name: "a\\..\\evil", body: "x" }]],
    ["a link that leaves the slot", "slot/unsafe-entry", [{ name: "l", body: "../x", mode: 0o120777 }]],
    [
      "a file below a link",
      "slot/unsafe-entry",
      [
        { name: "l", body: "d", mode: 0o120777 },
        { name: "l/f", body: "x" },
      ],
    ],
    [
      "a file twice",
      "slot/unsafe-entry",
      [
        { name: "f", body: "x" },
        { name: "f", body: "y" },
      ],
    ],
    [
      "names that differ in case",
      "slot/unsafe-entry",
      [
        { name: "f", body: "x" },
        { name: "F", body: "y" },
      ],
    ],
    ["a device", "slot/unsafe-entry", [{ name: "d", mode: 0o020666, method: 0 }]],
    ["an encrypted file", "slot/unsafe-entry", [{ name: "f", body: "x", flags: 0x801 }]],
    ["an unknown compression", "slot/unsafe-entry", [{ name: "f", body: "x", method: 99 }]],
    ["a name that is not UTF-8", "slot/unsafe-entry", [{ name: Uint8Array.of(0xff), body: "x" }]],
    ["a wrong checksum", "slot/bad-archive", [{ name: "f", body: "x", crc: 1 }]],
    [
      "a size that is too small (bomb)",
      "slot/bad-archive",
      [{ name: "f", body: "x".repeat(5000), size: 10 }],
    ],
    ["more bytes than declared", "slot/too-large", [{ name: "f", body: "x".repeat(10_001) }]],
    [
      "more entries than declared",
      "slot/too-large",
      Array.from({ length: 21 }, (_, i) => ({ name: `f${i}` })),
    ],
  ];
  for (const [what, code, members] of bad) {
    it(`is refused with ${what}`, async () => {
      await assert.rejects(unpackZip(zipOf(members)), refused(code));
    });
  }

  it("is refused when it is none, or cut short", async () => {
    const good = zipOf([{ name: "f", body: "x".repeat(300) }]);
    for (const bytes of [
      toUtf8("this is no zip archive at all"),
      good.subarray(0, good.length - 4),
      new Uint8Array(0),
    ])
      await assert.rejects(unpackZip(bytes), refused("slot/bad-archive"));
  });

  const zip = existsSync("/usr/bin/zip");
  it("made by the system's zip is read", { skip: zip ? false : "zip is not installed" }, async () => {
    const folder = await mkdtemp(join(tmpdir(), "upkeep-zip-"));
    try {
      await mkdir(join(folder, "in/bin"), { recursive: true });
      await writeFile(join(folder, "in/bin/run"), "#!/bin/sh\n", { mode: 0o755 });
      await symlink("bin/run", join(folder, "in/also"));
      const made = spawnSync("zip", ["-qry", "../out.zip", "."], { cwd: join(folder, "in") });
      assert.equal(made.status, 0, made.stderr.toString());
      const disk = await unpackZip(await readFile(join(folder, "out.zip")));
      assert.equal((await disk.stat("/slot/bin/run")).mode, 0o555);
      assert.equal(await disk.readLink("/slot/also"), "bin/run");
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
