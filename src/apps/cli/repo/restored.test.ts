// A data folder that was put back from an old backup, in front of devices that have seen more.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { diskSource } from "../../../io/source/disk.ts";
import { systemClock } from "../../../io/system/clock.ts";
import { systemDisk } from "../../../io/system/disk.ts";
import { systemRandom } from "../../../io/system/random.ts";
import { mirrorAt, openRepository } from "../../../repository/client/client.ts";
import { memoryStore } from "../../../repository/client/store.ts";
import { runProgram } from "../../framework/program.ts";
import { TABLE } from "../table.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-restored-"));
after(() => rmSync(folder, { recursive: true }));

async function upkeep(data: string, ...words: string[]): Promise<{ exit: number; text: string }> {
  let text = "";
  const write = (part: string): void => void (text += part);
  const terminal = { stdout: { write }, stderr: { write }, stdin: process.stdin, env: {}, home: folder };
  const exit = await runProgram({ table: TABLE, version: "0.0.0" }, ["--data", data, ...words], terminal);
  return { exit, text };
}

/** An operator whose folder was backed up early, a device that saw more, and the folder put back. */
async function restored(name: string, later: readonly string[][]) {
  const data = join(folder, name);
  assert.equal((await upkeep(data, "repo", "init")).exit, 0);
  cpSync(data, `${data}.backup`, { recursive: true });
  for (const words of later) assert.equal((await upkeep(data, ...words)).exit, 0, words.join(" "));
  const store = memoryStore();
  const trustedRoot = await systemDisk.read(`${data}/repository/metadata/1.root.json`, 1 << 20);
  const device = () =>
    openRepository({
      mirrors: [mirrorAt(diskSource(systemDisk, `${data}/repository`))],
      store,
      clock: systemClock,
      random: systemRandom,
      trustedRoot,
    }).refresh();
  const seen = await device();
  rmSync(data, { recursive: true });
  cpSync(`${data}.backup`, data, { recursive: true });
  return { data, device, seen };
}

describe("a repository put back from an old backup, with all that was remembered beside it", () => {
  it("is refused by devices that saw more, which say up to which number; recover takes the numbers and goes above them", async () => {
    const publishing = ["one", "two", "three"].map((name) => ["repo", "recover", "--seen", `${name}=1`]);
    const { data, device, seen } = await restored("numbers", publishing);
    await assert.rejects(device(), (error: Error & { code?: string }) => {
      assert.equal(error.code, "repository/rollback");
      assert.match(error.message, new RegExp(`version ${seen.timestamp} was trusted before`));
      return true;
    });
    // What is on disk alone ends below.
    assert.equal((await upkeep(data, "repo", "recover")).exit, 0);
    await assert.rejects(device(), { code: "repository/rollback" });
    const numbers = ["--seen", `timestamp=${seen.timestamp}`, "--seen", `snapshot=${seen.snapshot}`];
    const done = await upkeep(data, "repo", "recover", ...numbers, "--seen", "targets=4");
    assert.equal(done.exit, 0, done.text);
    const now = await device();
    assert.ok(now.timestamp > seen.timestamp && now.snapshot > seen.snapshot);
    assert.equal((await upkeep(data, "repo", "status")).exit, 0);
  });

  it("names the roots that are missing: nobody can publish above a root that is not there", async () => {
    const { data, seen } = await restored("roots", [
      ["repo", "lifetimes", "timestamp=2"],
      ["repo", "lifetimes", "timestamp=3"],
    ]);
    assert.equal(seen.root, 3);
    const { exit, text } = await upkeep(data, "repo", "recover", "--seen", "root=3");
    assert.notEqual(exit, 0);
    assert.match(text, /2 to 3.root.json are missing/);
    assert.match(text, /tuf\/history of a device/);
  });

  it("does not go above numbers that only a thief can have given (fast-forward attack)", async () => {
    const { data } = await restored("thief", []);
    const { exit, text } = await upkeep(data, "repo", "recover", "--seen", "timestamp=2147483647");
    assert.equal(exit, 2);
    assert.match(text, /--compromised online/);
    assert.equal((await upkeep(data, "repo", "recover", "--seen", "timestamp")).exit, 2);
  });
});
