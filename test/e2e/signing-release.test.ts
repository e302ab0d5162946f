// A release whose artifacts the signing service signs on the way in: one approval, signed bytes, the builder's statement still fits.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmod, mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sha256Hex } from "../../src/core/digest.ts";
import { makeProvenance } from "../../src/release/attestation.ts";
import { tinyElf } from "../../src/testing/tiny-elf.ts";
import { tinyPe } from "../../src/testing/tiny-pe.ts";
import { SigningWorld } from "./_signing.ts";

let world: SigningWorld;
let service: readonly string[];
before(async () => {
  world = await SigningWorld.start();
  service = ["--service", world.service, "--identity", world.identity];
  await world.ok(["--data", "op", "repo", "init"]);
  await world.ok(["--data", "op", "repo", "publishers", "--add", "root.pem"]);
  world.put("tool", tinyElf());
  world.put("tool.exe", tinyPe());
  await mkdir(join(world.folder, "docs"));
  world.put("docs/read.txt", "read me\n");
});
after(() => world?.close());

const add = (version: string, ...more: readonly string[]) => [
  "--json",
  "--data",
  "op",
  "release",
  "add",
  "tool",
  version,
  ...more,
  "--data-only",
];
const published = async (version: string, suffix: string): Promise<Uint8Array> => {
  const folder = join(world.folder, "op/repository/targets/products/tool", version);
  const name = (await readdir(folder)).find((each) => each.endsWith(suffix) && /^[0-9a-f]{64}\./.test(each));
  return readFile(join(folder, name!));
};

describe("release add --cert", () => {
  it("publishes signed programs and an archive with its signature, and leaves the build's own files alone", async () => {
    const before = ["tool", "tool.exe"].map((name) => sha256Hex(world.read(name)));
    const artifacts = [
      { file: "tool", sha256: before[0]! },
      { file: "tool.exe", sha256: before[1]! },
    ];
    world.put(
      "provenance.json",
      makeProvenance({ artifacts, source: "urn:s", commit: "a".repeat(40), builder: "urn:b" }),
    );
    await world.ok([
      ...add("1.0.0", "linux-x64=tool", "windows-x64=tool.exe", "--provenance", "provenance.json"),
      "--cert",
      "release",
      ...service,
    ]);
    assert.deepEqual(
      ["tool", "tool.exe"].map((name) => sha256Hex(world.read(name))),
      before,
      "the sources are as they were",
    );
    for (const [name, suffix] of [
      ["got.elf", "-linux-x64"],
      ["got.exe", "-windows-x64"],
    ] as const) {
      world.put(name, await published("1.0.0", suffix));
      assert.match(await world.ok(["verify", "--root", "root.pem", name]), /✓/);
    }
    await world.ok([...add("1.1.0", "docs"), "--cert", "release", ...service]);
    world.put("docs.tar", await published("1.1.0", ".tar"));
    world.put("docs.tar.sig", await published("1.1.0", ".tar.sig"));
    assert.match(await world.ok(["verify", "--root", "root.pem", "docs.tar"]), /✓/);
    const receipts = await readdir(join(world.folder, "op/receipts"));
    assert.equal(receipts.length, 3);
    assert.deepEqual(await readdir(join(world.folder, "op/repository/staging")).catch(() => []), []);
  });

  it("waits until one person has approved all of it", async () => {
    const own = join(world.folder, "alice.pem");
    const { spki } = JSON.parse(await world.ok(["--json", "signer", "identity", own])) as {
      spki: string;
    };
    await chmod(own, 0o600);
    await world.admin("user", "add", "alice", "--role", "approver", "--key", spki);
    await world.admin("cert", "add", "gated", "--key", "release").catch(() => undefined);
    const rule = ["--user", "build", "--operation", "authenticode", "--operation", "elf"];
    await world.admin(
      "policy",
      "set",
      "release",
      "default",
      ...rule,
      "--approvals",
      "1",
      "--approver",
      "alice",
    );
    await sleep(2500);
    const main = new URL("../../src/apps/cli/main.ts", import.meta.url).pathname;
    const words = [
      ...add("2.0.0", "linux-x64=tool", "windows-x64=tool.exe").slice(1),
      "--cert",
      "release",
      ...service,
    ];
    const child = spawn(process.execPath, [main, ...words], {
      cwd: world.folder,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    let told = "";
    child.stderr.on("data", (part: Buffer) => (told += part.toString()));
    const alice = ["--service", world.service, "--identity", own];
    for (let i = 0; i < 60 && !/service approve [0-9a-f]{64}/.test(told); i++) await sleep(250);
    const root = /service approve ([0-9a-f]{64})/.exec(told)![1]!;
    let approved = await world.upkeep(["service", "approve", root, ...alice]);
    for (let i = 0; i < 20 && approved.code !== 0; i++) {
      await sleep(250);
      approved = await world.upkeep(["service", "approve", root, ...alice]);
    }
    assert.match(approved.stdout + approved.stderr + told, /2 file\(s\)/);
    assert.equal(await ended, 0, told);
    world.put("two.exe", await published("2.0.0", "-windows-x64"));
    assert.match(await world.ok(["verify", "--root", "root.pem", "two.exe"]), /✓/);
  });

  it("refuses what carries no signature, and words without a certificate, before anything is published", async () => {
    const script = await world.upkeep([...add("3.0.0", "docs/read.txt"), "--cert", "release", ...service]);
    assert.equal(script.code, 2, script.stderr);
    assert.match(script.stderr, /carries no signature/);
    const without = await world.upkeep([...add("3.0.0", "tool"), "--timestamp"]);
    assert.equal(without.code, 2);
    assert.match(without.stderr, /goes with --cert/);
    const denied = await world.upkeep([...add("3.0.0", "tool"), "--cert", "nobodys", ...service]);
    assert.equal(denied.code, 3, denied.stderr);
    assert.doesNotMatch(await world.ok(["--data", "op", "release", "list"]), /3\.0\.0/);
    assert.deepEqual(await readdir(join(world.folder, "op/repository/staging")).catch(() => []), []);
  });
});
