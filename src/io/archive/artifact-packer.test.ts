// Tests of packing: the same bytes everywhere, readable by the agent's own reader and by tar, nothing that leaves the folder.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { digestsOf, RunningMerkle } from "../../core/digest.ts";
import { countingRandom } from "../../testing/operator-world.ts";
import { programPlatform } from "../../release/program-header.ts";
import { packArtifact, type PackOptions } from "./artifact-packer.ts";
import type { NameRules } from "../../slot/entry-name.ts";
import { systemDisk } from "../system/disk.ts";

const root = mkdtempSync(join(tmpdir(), "upkeep-packer-"));
after(() => rmSync(root, { recursive: true }));
const random = countingRandom();
const pack = (source: string, more: Partial<PackOptions> = {}) =>
  packArtifact(join(root, source), {
    disk: systemDisk,
    random,
    staging: join(root, "staging"),
    pieceSize: 1 << 18,
    ...more,
  });
const run = (program: string, ...args: string[]): void => {
  const { status, stderr } = spawnSync(program, args, { cwd: root, encoding: "utf8" });
  assert.equal(status, 0, stderr);
};

function folder(name: string): string {
  const at = join(root, name);
  mkdirSync(join(at, "bin"), { recursive: true });
  mkdirSync(join(at, "empty"));
  writeFileSync(join(at, "bin/shop"), "#!/bin/sh\n");
  chmodSync(join(at, "bin/shop"), 0o755);
  symlinkSync("shop", join(at, "bin/alias"));
  writeFileSync(join(at, `${"long-".repeat(30)}ünï.txt`), "x".repeat(1000));
  writeFileSync(join(at, "big"), Buffer.alloc(700_000, 7));
  return at;
}

describe("packing", () => {
  it("gives the same bytes for the same tree, whenever and by whomever it was written", async () => {
    folder("one");
    const two = folder("two");
    utimesSync(join(two, "big"), 1, 1);
    chmodSync(join(two, "big"), 0o600);
    const [a, b] = [await pack("one"), await pack("two")];
    assert.equal(a.sha256, b.sha256);
    assert.deepEqual([a.format, a.suffix, a.packed], ["tar", ".tar", true]);
    assert.equal(a.unpackedLength, 700_000 + 1000 + 10);
    assert.deepEqual([...a.programs.keys()].sort(), ["bin/alias", "bin/shop"]);
  });

  it("takes a tar that it made itself as it is, so that a signature beside it holds; any other is packed again", async () => {
    folder("ours");
    const { path, sha256 } = await pack("ours");
    renameSync(path, join(root, "ours.tar"));
    const again = await pack("ours.tar");
    assert.deepEqual([again.format, again.packed, again.sha256], ["tar", false, sha256]);
    run("tar", "-cf", "theirs.tar", "-C", "ours", ".");
    const theirs = await pack("theirs.tar");
    assert.deepEqual([theirs.format, theirs.packed], ["tar.gz", true]);
    assert.equal((await pack("ours.tar", { archive: "tar.gz" })).format, "tar.gz");
  });

  it("packs a folder into a tar.gz for agents that do not know tar", async () => {
    folder("old");
    const { format, suffix } = await pack("old", { archive: "tar.gz" });
    assert.deepEqual([format, suffix], ["tar.gz", ".tar.gz"]);
  });

  it("writes what tar reads", async () => {
    folder("three");
    const { path } = await pack("three");
    const { stdout, status } = spawnSync("tar", ["-tvf", path], { encoding: "utf8" });
    assert.equal(status, 0);
    assert.match(stdout, /-rwxr-xr-x 0\/0 .* bin\/shop\n/);
    assert.match(stdout, /bin\/alias -> shop\n/);
    assert.match(stdout, /drwxr-xr-x 0\/0 .* empty\/\n/);
    const { stdout: listed } = spawnSync("tar", ["-tf", path, "--quoting-style=literal"], {
      encoding: "utf8",
    });
    assert.match(listed, /(long-){30}ünï\.txt\n/);
  });

  it("describes the bytes it wrote", async () => {
    writeFileSync(join(root, "tool"), Buffer.alloc(600_000, 3));
    const packed = await pack("tool");
    const bytes = readFileSync(packed.path);
    const merkle = new RunningMerkle(1 << 18);
    merkle.update(bytes);
    assert.deepEqual(
      { sha256: packed.sha256, sha512: packed.sha512, length: packed.length, merkleRoot: packed.merkleRoot },
      { ...digestsOf(bytes), length: bytes.length, merkleRoot: merkle.rootHex() },
    );
    assert.deepEqual(
      [packed.format, packed.unpackedLength, packed.programs.get("")?.length],
      ["file", 600_000, 4096],
    );
  });

  it("sees what a program was built for", async () => {
    const found = await packArtifact(process.execPath, {
      disk: systemDisk,
      random,
      staging: join(root, "staging"),
      pieceSize: 1 << 20,
    });
    const platform = programPlatform(found.programs.get("")!);
    assert.deepEqual([platform?.os, platform?.arch], [process.platform, process.arch]);
    rmSync(found.path);
  });

  it("refuses links that leave the folder, devices and names that some device cannot write", async () => {
    const make = (name: string, act: (at: string) => void): string => {
      mkdirSync(join(root, name));
      act(join(root, name));
      return name;
    };
    for (const [name, act] of [
      ["up", (at: string) => symlinkSync("../../etc/passwd", join(at, "x"))],
      ["absolute", (at: string) => symlinkSync("/etc/passwd", join(at, "x"))],
      ["backslash", (at: string) => writeFileSync(join(at, "a\\b"), "")],
      ["colon", (at: string) => writeFileSync(join(at, "a:b"), "")],
      ["pipe", (at: string) => void spawnSync("mkfifo", [join(at, "p")])],
    ] as const) {
      await assert.rejects(pack(make(name, act)), { code: "release/bad-name" }, name);
    }
  });

  it("refuses an archive that no device would unpack", async () => {
    writeFileSync(join(root, "not.tar.gz"), "not an archive");
    writeFileSync(join(root, "not-tar.tar.gz"), gzipSync("x".repeat(2000)));
    writeFileSync(join(root, "not.zip"), "not an archive");
    mkdirSync(join(root, "evil"));
    writeFileSync(join(root, "evil/x"), "x");
    spawnSync("tar", [
      "-czf",
      join(root, "evil.tar.gz"),
      "-C",
      root,
      "--transform",
      "s|evil/x|../x|",
      "-P",
      "evil/x",
    ]);
    for (const name of ["not.tar.gz", "not-tar.tar.gz", "not.zip", "evil.tar.gz"])
      await assert.rejects(pack(name), /archive|gzip|zip|slot/i, name);
  });
});

describe("an archive", () => {
  folder("plain");
  run("tar", "-cf", "plain.tar", "-C", "plain", ".");
  run("tar", "-czf", "UP.TGZ", "-C", "plain", ".");
  run("cp", "UP.TGZ", "release-build");
  run("cp", "UP.TGZ", "wrong.zip");
  writeFileSync(join(root, "plain.tar.zst"), zstdCompressSync(readFileSync(join(root, "plain.tar"))));

  it("is known by its content and by any usual suffix", async () => {
    for (const [name, packed, note] of [
      ["UP.TGZ", false, null],
      ["release-build", false, /taken as the tar.gz archive/],
      ["wrong.zip", false, /a tar.gz archive by its content/],
      ["plain.tar", true, /packed again/],
      ["plain.tar.zst", true, /packed again/],
    ] as const) {
      const found = await pack(name);
      assert.deepEqual([found.format, found.packed, found.suffix], ["tar.gz", packed, ".tar.gz"], name);
      if (note === null) assert.equal(found.note, null);
      else assert.match(found.note!, note);
      assert.equal(found.unpackedLength, 700_000 + 1000 + 10, name);
      assert.deepEqual([...found.programs.keys()].sort(), ["bin/alias", "bin/shop"], name);
    }
    assert.equal((await pack("plain.tar")).sha256, (await pack("plain.tar.zst")).sha256);
  });

  it("that no device can unpack is refused, and never installed as one file without a word", async () => {
    for (const [name, head] of [
      ["a.tar.xz", "fd377a585a00"],
      ["a.txz", "00"],
      ["a.tar.bz2", "425a6839"],
      ["a.tar.Z", "1f9d"],
      ["a.7z", "377abcaf271c"],
      ["a.rar", "526172211a07"],
      ["a.gz", "1f8b0800"],
      ["nameless", "fd377a585a00"],
      ["nameless-gz", "1f8b0800"],
    ] as const) {
      writeFileSync(join(root, name), Buffer.from(head, "hex"));
      await assert.rejects(pack(name), { code: "release/bad-archive", hint: /--as-file/ }, name);
      const found = await pack(name, { asFile: true });
      assert.equal(found.format, "file", name);
      assert.equal(name === "a.txz" || found.note !== null, true, name);
    }
    writeFileSync(join(root, "cut.tar.zst"), readFileSync(join(root, "plain.tar.zst")).subarray(0, 200));
    await assert.rejects(pack("cut.tar.zst"), /damaged|archive/);
  });

  it("by another name, such as a .jar, stays the file that it is, and that is said", async () => {
    writeFileSync(join(root, "shop.jar"), Buffer.from("504b0304", "hex"));
    const found = await pack("shop.jar");
    assert.equal(found.format, "file");
    assert.match(found.note!, /one file for its name, although its content is a zip archive/);
  });

  it("or file or folder without anything in it is refused", async () => {
    mkdirSync(join(root, "hollow/deep"), { recursive: true });
    run("tar", "-czf", "hollow.tar.gz", "-C", "hollow", ".");
    writeFileSync(join(root, "nothing"), "");
    writeFileSync(join(root, "empty.zip"), Buffer.concat([Buffer.from("504b0506", "hex"), Buffer.alloc(18)]));
    for (const name of ["hollow", "hollow.tar.gz", "nothing", "empty.zip"])
      await assert.rejects(pack(name), { code: "release/empty" }, name);
  });

  it("tells which of its programs are empty", async () => {
    mkdirSync(join(root, "failed-build"));
    writeFileSync(join(root, "failed-build/app"), "");
    chmodSync(join(root, "failed-build/app"), 0o755);
    assert.deepEqual([...(await pack("failed-build")).hollow], ["app"]);
  });

  it("and a folder have one rule for names, by the platform they are for", async () => {
    const trees: readonly (readonly [string, readonly string[], readonly NameRules[]])[] = [
      ["case", ["README", "readme"], ["darwin", "windows", "any"]],
      ["winname", ["con", "aux.h", "nul.txt"], ["windows", "any"]],
      ["trailing", ["name.", "sp "], ["windows", "any"]],
      ["special", ["a:b"], ["windows", "any"]],
      ["unit", ["dev\\x2dlabel.swap"], ["windows", "any"]],
    ];
    for (const [name, files, refusedFor] of trees) {
      mkdirSync(join(root, name));
      for (const file of files) writeFileSync(join(root, name, file), "x");
      run("tar", "-czf", `${name}.tar.gz`, "-C", name, "--", ...files);
      for (const names of ["linux", "darwin", "windows", "any"] as const) {
        for (const source of [name, `${name}.tar.gz`]) {
          const packed = pack(source, { names });
          if (!refusedFor.includes(names))
            assert.equal((await packed).format, source === name ? "tar" : "tar.gz", `${source} ${names}`);
          else
            await assert.rejects(
              packed,
              { code: /^(?:release\/bad-name|slot\/unsafe-entry)$/ },
              `${source} ${names}`,
            );
        }
      }
    }
    await assert.rejects(pack("case"), { hint: /linux=PATH/ });
  });

  it("and a folder are refused with a name that is not UTF-8, spelled out", async () => {
    mkdirSync(join(root, "raw"));
    writeFileSync(Buffer.concat([Buffer.from(join(root, "raw/Gr")), Buffer.of(0xfc)]), "x");
    run("tar", "-czf", "raw.tar.gz", "-C", "raw", ".");
    for (const [name, code] of [
      ["raw", "release/bad-name"],
      ["raw.tar.gz", "slot/unsafe-entry"],
    ] as const)
      await assert.rejects(pack(name, { names: "linux" }), {
        code,
        message: /Gr\\xFC": its name is not UTF-8/,
      });
  });
});
