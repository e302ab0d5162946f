// Unpacking: what arrives in the slot, and every archive that is refused with nothing left outside of it.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { toUtf8 } from "../core/bytes.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import { paxRecord, tarMember, tarOf, type TarMember } from "./_tar-writer.ts";
import type { ArchiveEntry, UnpackLimits } from "./entry-path.ts";
import type { NameRules } from "./entry-name.ts";
import { SlotError, type SlotErrorCode } from "./errors.ts";
import { gunzip } from "./gunzip.ts";
import { readTar } from "./tar.ts";
import { unpack } from "./unpack.ts";

const LIMITS: UnpackLimits = { bytes: 100_000, entries: 50 };
const refused =
  (code: SlotErrorCode, words = /./) =>
  (error: unknown) =>
    error instanceof SlotError && error.code === code && words.test(error.message);

async function* parts(bytes: Uint8Array, size = 100): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function unpackTar(bytes: Uint8Array, limits = LIMITS): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await disk.makeDirectory("/slot");
  await disk.syncDirectory("/");
  await unpack(disk, "/slot", readTar(parts(bytes)), limits);
  return disk;
}

const text = async (disk: MemoryDisk, path: string): Promise<string> =>
  new TextDecoder().decode(await disk.read(path, 100_000));

describe("a tar archive", () => {
  it("becomes files, folders and links, with the executable bit and nothing else of the mode", async () => {
    const disk = await unpackTar(
      tarOf([
        { name: "./", type: "5", mode: 0o755 },
        { name: "./bin/", type: "5", mode: 0o777 },
        { name: "./bin/run", body: "#!/bin/sh\n", mode: 0o6755 },
        { name: "lib/deep/data", body: "x".repeat(1500), mode: 0o666 },
        { name: "lib/link", type: "2", link: "../bin/run" },
      ]),
    );
    assert.equal((await disk.stat("/slot/bin/run")).mode, 0o555);
    assert.equal((await disk.stat("/slot/lib/deep/data")).mode, 0o444);
    assert.equal(await text(disk, "/slot/lib/deep/data"), "x".repeat(1500));
    assert.equal(await disk.readLink("/slot/lib/link"), "../bin/run");
    const state = disk.crashStates();
    assert.equal(state.length, 1, "everything is durable");
  });

  it("may carry long names as pax, as GNU and as ustar prefix", async () => {
    const [long, other] = [`a/${"n".repeat(150)}/${"m".repeat(120)}`, `b/${"k".repeat(180)}`];
    const disk = await unpackTar(
      tarOf([
        { name: "x", type: "x", body: paxRecord("path", long) + paxRecord("mtime", "1.5") },
        { name: "short", body: "pax" },
        { name: "././@LongLink", type: "L", body: `${other}\0` },
        { name: "short", body: "gnu" },
        { name: "file", prefix: "c/d", body: "prefix" },
      ]),
    );
    assert.equal(await text(disk, `/slot/${long}`), "pax");
    assert.equal(await text(disk, `/slot/${other}`), "gnu");
    assert.equal(await text(disk, "/slot/c/d/file"), "prefix");
  });

  it("is the same however its bytes are cut", async () => {
    const bytes = tarOf([
      { name: "a", body: "1".repeat(700) },
      { name: "b/c", body: "2" },
    ]);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 2000 }), async (size) => {
        const disk = new MemoryDisk();
        await disk.makeDirectory("/slot");
        const files = await unpack(disk, "/slot", readTar(parts(bytes, size)), LIMITS);
        assert.deepEqual(
          files.map((file) => file.path),
          ["a", "b", "b/c"],
        );
      }),
      { numRuns: 25 },
    );
  });

  const unsafe: readonly (readonly [string, readonly TarMember[]])[] = [
    ["a path with ..", [{ name: "../evil", body: "x" }]],
    ["a path with .. in the middle", [{ name: "a/../../evil", body: "x" }]],
    ["an absolute path", [{ name: "/etc/passwd", body: "x" }]],
    ["a Windows drive", [{ name: "C:evil", body: "x" }]],
    ["a backslash", [{ name: "a\\..\\b", body: "x" }]],
    ["an empty part", [{ name: "a//b", body: "x" }]],
    ["a dot part in the middle", [{ name: "a/./b", body: "x" }]],
    ["a control character", [{ name: "a\u001b[2J", body: "x" }]],
    [
      "a NUL in a pax path",
      [
        { name: "x", type: "x", body: paxRecord("path", "a\0b") },
        { name: "a", body: "x" },
      ],
    ],
    ["a name that Upkeep keeps for itself", [{ name: ".Upkeep-slot.json", body: "x" }]],
    ["a link out of the slot", [{ name: "l", type: "2", link: ".." }]],
    ["a deeper link out of the slot", [{ name: "a/l", type: "2", link: "../../x" }]],
    ["an absolute link", [{ name: "l", type: "2", link: "/etc/passwd" }]],
    ["a link that goes down and up again", [{ name: "l", type: "2", link: "x/../y" }]],
    ["an empty link", [{ name: "l", type: "2", link: "" }]],
    [
      "a file below a link",
      [
        { name: "l", type: "2", link: "d" },
        { name: "l/f", body: "x" },
      ],
    ],
    [
      "a folder over a link",
      [
        { name: "l", type: "2", link: "d" },
        { name: "l/", type: "5" },
      ],
    ],
    [
      "a file over a link",
      [
        { name: "l", type: "2", link: "d" },
        { name: "l", body: "x" },
      ],
    ],
    [
      "a file below a file",
      [
        { name: "f", body: "x" },
        { name: "f/g", body: "x" },
      ],
    ],
    [
      "a file twice",
      [
        { name: "f", body: "x" },
        { name: "./f", body: "y" },
      ],
    ],
    [
      "a folder twice",
      [
        { name: "d/", type: "5" },
        { name: "d", type: "5" },
      ],
    ],
    [
      "names that differ in case",
      [
        { name: "Readme", body: "x" },
        { name: "README", body: "y" },
      ],
    ],
    [
      "folders that differ in case",
      [
        { name: "Lib/a", body: "x" },
        { name: "lib/b", body: "y" },
      ],
    ],
    [
      "names that differ in how an accent is written",
      [
        { name: "\u00e9", body: "x" },
        { name: "e\u0301", body: "y" },
      ],
    ],
    [
      "a hard link",
      [
        { name: "f", body: "x" },
        { name: "h", type: "1", link: "f" },
      ],
    ],
    ["a character device", [{ name: "d", type: "3" }]],
    ["a block device", [{ name: "d", type: "4" }]],
    ["a named pipe", [{ name: "p", type: "6" }]],
    ["a sparse file", [{ name: "s", type: "S" }]],
    ["a name that is not UTF-8", [{ name: "a", patch: (h) => h.fill(0xff, 0, 1) }]],
    [
      "a link to a name that is not UTF-8",
      [{ name: "l", type: "2", link: "t", patch: (h) => h.fill(0xff, 157, 158) }],
    ],
    ["a name with a control character of Latin-1", [{ name: "a\u009b2J", body: "x" }]],
  ];
  for (const [what, members] of unsafe) {
    it(`is refused with ${what}`, async () => {
      await assert.rejects(unpackTar(tarOf(members)), refused("slot/unsafe-entry"));
    });
  }

  const malformed: readonly (readonly [string, Uint8Array])[] = [
    ["no end mark", tarOf([{ name: "a", body: "x" }], 0)],
    ["half an end mark", tarOf([{ name: "a", body: "x" }], 512)],
    ["nothing at all", new Uint8Array(0)],
    ["half a header", new Uint8Array(300)],
    ["bytes behind the end", new Uint8Array([...tarOf([{ name: "a" }]), 1])],
    ["a wrong checksum", tarOf([{ name: "a", checksum: 7 }])],
    ["no ustar mark", tarOf([{ name: "a", patch: (h) => h.fill(0, 257, 265) }])],
    ["a negative size", tarOf([{ name: "a", patch: (h) => h.fill(0xff, 124, 136) }])],
    ["a size in other digits", tarOf([{ name: "a", patch: (h) => h.fill(0x39, 124, 135) }])],
    ["a huge size", tarOf([{ name: "a", patch: (h) => h.fill(0x7f, 125, 136).fill(0x80, 124, 125) }])],
    ["a file that ends early", tarMember({ name: "a", body: "x".repeat(2000) }).subarray(0, 1000)],
    ["something in the padding", tarOf([{ name: "a", body: "x" }]).fill(1, 600, 601)],
    ["a folder with content", tarOf([{ name: "d", type: "5", body: "x" }])],
    [
      "an unknown pax key",
      tarOf([{ name: "x", type: "x", body: paxRecord("GNU.sparse.major", "1") }, { name: "a" }]),
    ],
    ["a global path", tarOf([{ name: "g", type: "g", body: paxRecord("path", "a") }, { name: "b" }])],
    [
      "a pax key twice",
      tarOf([{ name: "x", type: "x", body: paxRecord("path", "a").repeat(2) }, { name: "b" }]),
    ],
    [
      "a pax record with a wrong length",
      tarOf([{ name: "x", type: "x", body: "99 path=a\n" }, { name: "b" }]),
    ],
    ["headers without an entry", tarOf([{ name: "x", type: "x", body: paxRecord("path", "a") }])],
    ["endless headers", tarOf(Array.from({ length: 20 }, () => ({ name: "L", type: "L", body: "a" })))],
  ];
  for (const [what, bytes] of malformed) {
    it(`is refused with ${what}`, async () => {
      await assert.rejects(unpackTar(bytes), refused("slot/bad-archive"));
    });
  }

  it("is refused with its name spelled out if that is not UTF-8", async () => {
    const bytes = tarOf([{ name: "GrX.txt", patch: (h) => h.fill(0xfc, 2, 3) }]);
    await assert.rejects(
      unpackTar(bytes),
      refused("slot/unsafe-entry", /"Gr\\xFC\.txt": its name is not UTF-8/),
    );
  });

  it("may carry attributes that are no text", async () => {
    const record = paxRecord("SCHILY.xattr.user.x", "\u0001\u0002");
    const member = tarMember({ name: "x", type: "x", body: record });
    member[512 + record.indexOf("\u0001")] = 0xff;
    const disk = await unpackTar(new Uint8Array([...member, ...tarOf([{ name: "a", body: "x" }])]));
    assert.equal(await text(disk, "/slot/a"), "x");
  });

  it("is refused with zeros without end behind its end mark", async () => {
    async function* endless(): AsyncGenerator<Uint8Array> {
      yield tarOf([{ name: "a", body: "x" }]);
      for (;;) yield new Uint8Array(64 * 1024);
    }
    const disk = new MemoryDisk();
    await disk.makeDirectory("/slot");
    await assert.rejects(
      unpack(disk, "/slot", readTar(endless()), LIMITS),
      refused("slot/bad-archive", /zeros stand behind the end mark/),
    );
    // What tar itself writes to fill its last record, also with a large blocking factor.
    await unpackTar(tarOf([{ name: "a", body: "x" }], 512 * 1024));
  });

  const names: readonly (readonly [string, string, readonly NameRules[]])[] = [
    ["a:b", "no :", ["windows", "any"]],
    ["a\\b", "no \\\\", ["windows", "any"]],
    ["what?", "no \\?", ["windows", "any"]],
    ["con", "keeps the name con", ["windows", "any"]],
    ["lib/aux.h", "keeps the name aux", ["windows", "any"]],
    ["NUL.tar.gz", "keeps the name NUL", ["windows", "any"]],
    ["com\u00b9", "keeps the name com", ["windows", "any"]],
    ["name.", "drops the dot or space", ["windows", "any"]],
    ["sp /x", "drops the dot or space", ["windows", "any"]],
    ["C:/evil", "is absolute", ["windows", "any"]],
  ];
  for (const [name, why, where] of names) {
    it(`with the name ${JSON.stringify(name)} is refused for ${where.join(" and ")} only`, async () => {
      for (const rules of ["linux", "darwin", "windows", "any"] as const) {
        const unpacked = unpackTar(tarOf([{ name, body: "x" }]), { ...LIMITS, names: rules });
        if (where.includes(rules))
          await assert.rejects(unpacked, refused("slot/unsafe-entry", new RegExp(why)));
        else assert.equal(await text(await unpacked, `/slot/${name}`), "x");
      }
    });
  }

  it("with names that differ in case is refused wherever a system takes them for one", async () => {
    const both = tarOf([
      { name: "README", body: "x" },
      { name: "readme", body: "y" },
    ]);
    for (const rules of ["darwin", "windows", "any"] as const)
      await assert.rejects(
        unpackTar(both, { ...LIMITS, names: rules }),
        refused("slot/unsafe-entry", /in case/),
      );
    assert.equal(await text(await unpackTar(both, { ...LIMITS, names: "linux" }), "/slot/readme"), "y");
  });

  it("is refused at the first byte and the first entry beyond what was declared", async () => {
    const big = tarOf([
      { name: "a", body: "x".repeat(50) },
      { name: "b", body: "x".repeat(51) },
    ]);
    await assert.rejects(unpackTar(big, { bytes: 100, entries: 9 }), refused("slot/too-large", /bytes/));
    const many = tarOf(Array.from({ length: 10 }, (_, i) => ({ name: `f${i}` })));
    await assert.rejects(unpackTar(many, { bytes: 100, entries: 9 }), refused("slot/too-large", /entries/));
  });

  it("never makes a hostile reader throw anything but a slot error", async () => {
    const base = tarOf([
      { name: "a/b", body: "hello" },
      { name: "x", type: "x", body: paxRecord("path", "c") },
      { name: "d" },
    ]);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { maxLength: 4 }),
        async (edits) => {
          const bytes = base.slice();
          for (const [at, value] of edits) bytes[at] = value;
          try {
            await unpackTar(bytes);
          } catch (error) {
            assert.ok(error instanceof SlotError, String(error));
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it("made by the system's tar is read, whatever its dialect", async () => {
    const folder = await mkdtemp(join(tmpdir(), "upkeep-tar-"));
    try {
      const deep = join(folder, "in", "d".repeat(90), "e".repeat(90));
      await mkdir(deep, { recursive: true });
      await writeFile(join(deep, "f".repeat(100)), "deep");
      await writeFile(join(folder, "in", "run"), "#!/bin/sh\n", { mode: 0o755 });
      await symlink("run", join(folder, "in", "also"));
      for (const dialect of ["gnu", "pax", "posix"]) {
        const out = join(folder, `${dialect}.tar.gz`);
        const made = spawnSync("tar", ["-C", join(folder, "in"), `--format=${dialect}`, "-czf", out, "."]);
        assert.equal(made.status, 0, made.stderr.toString());
        const disk = new MemoryDisk();
        await disk.makeDirectory("/slot");
        await unpack(disk, "/slot", readTar(gunzip(parts(await readFile(out)))), LIMITS);
        assert.equal((await disk.stat("/slot/run")).mode, 0o555);
        assert.equal(await disk.readLink("/slot/also"), "run");
        const path = `/slot/${"d".repeat(90)}/${"e".repeat(90)}/${"f".repeat(100)}`;
        assert.equal(await text(disk, path), "deep");
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe("gzip", () => {
  const through = async (bytes: Uint8Array): Promise<number> => {
    let length = 0;
    for await (const part of gunzip(parts(bytes, 1000))) length += part.length;
    return length;
  };

  it("gives back what went in", async () => {
    assert.equal(await through(gzipSync(new Uint8Array(3_000_000))), 3_000_000);
  });

  it("is refused when damaged or cut short", async () => {
    const bytes = gzipSync(Buffer.from("hello".repeat(1000)));
    await assert.rejects(through(bytes.subarray(0, bytes.length - 9)), refused("slot/bad-archive"));
    const bad = Uint8Array.from(bytes);
    bad[20]! ^= 0xff;
    await assert.rejects(through(bad), refused("slot/bad-archive"));
    await assert.rejects(through(toUtf8("this is no gzip")), refused("slot/bad-archive"));
  });

  it("stops a bomb at the declared size, with no more than that on disk (decompression bomb)", async () => {
    const bomb = gzipSync(tarOf([{ name: "zeros", body: new Uint8Array(50_000_000) }]));
    const disk = new MemoryDisk();
    await disk.makeDirectory("/slot");
    await assert.rejects(
      unpack(disk, "/slot", readTar(gunzip(parts(bomb))), { bytes: 1_000_000, entries: 9 }),
      refused("slot/too-large"),
    );
    assert.deepEqual(await disk.list("/slot"), []);
  });

  it("passes on the error of its source", async () => {
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield gzipSync(Buffer.from("x")).subarray(0, 12);
      throw new Error("unplugged");
    };
    await assert.rejects(async () => {
      for await (const _ of gunzip(broken()));
    }, /unplugged/);
  });
});

describe("an entry", () => {
  it("with more or fewer bytes than it said is refused", async () => {
    for (const [said, real, code] of [
      [3, 5, "slot/unsafe-entry"],
      [5, 3, "slot/bad-archive"],
    ] as const) {
      const entries = async function* (): AsyncGenerator<ArchiveEntry> {
        yield {
          path: "a",
          kind: "file",
          size: said,
          executable: false,
          target: "",
          content: parts(new Uint8Array(real)),
        };
      };
      const disk = new MemoryDisk();
      await disk.makeDirectory("/slot");
      await assert.rejects(unpack(disk, "/slot", entries(), LIMITS), refused(code));
    }
  });
});
