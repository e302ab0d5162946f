// Tests of packing: the same bytes everywhere, readable by the agent's own reader and by tar, nothing that leaves the folder.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { digestsOf, RunningMerkle } from "../../core/digest.ts";
import { countingRandom } from "../../testing/operator-world.ts";
import { programPlatform } from "../../release/program-header.ts";
import { packArtifact } from "./artifact-packer.ts";
import { systemDisk } from "../system/disk.ts";

const root = mkdtempSync(join(tmpdir(), "upkeep-packer-"));
after(() => rmSync(root, { recursive: true }));
const random = countingRandom();
const pack = (source: string) =>
  packArtifact(join(root, source), {
    disk: systemDisk,
    random,
    staging: join(root, "staging"),
    pieceSize: 1 << 18,
  });

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
    assert.deepEqual([a.format, a.suffix, a.packed], ["tar.gz", ".tar.gz", true]);
    assert.equal(a.unpackedLength, 700_000 + 1000 + 10);
    assert.deepEqual([...a.programs.keys()].sort(), ["bin/alias", "bin/shop"]);
  });

  it("writes what tar reads", async () => {
    folder("three");
    const { path } = await pack("three");
    const { stdout, status } = spawnSync("tar", ["-tvzf", path], { encoding: "utf8" });
    assert.equal(status, 0);
    assert.match(stdout, /-rwxr-xr-x 0\/0 .* bin\/shop\n/);
    assert.match(stdout, /bin\/alias -> shop\n/);
    assert.match(stdout, /drwxr-xr-x 0\/0 .* empty\/\n/);
    const { stdout: listed } = spawnSync("tar", ["-tzf", path, "--quoting-style=literal"], {
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
