// `upkeep` as one executable: the same bytes each time it is built, and it does its work on a machine that has no Node.js.

import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { makeExecutable } from "../../src/apps/cli/agent-build/executable.ts";
import { ownTarget } from "../../src/apps/cli/agent-build/node-program.ts";

const root = new URL("../..", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "upkeep-executable-test-"));
const program = join(folder, "upkeep");
const running: ChildProcess[] = [];
after(async () => {
  for (const child of running) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGTERM");
    await once(child, "exit");
  }
  rmSync(folder, { recursive: true, force: true });
});

const skip =
  process.platform !== "linux"
    ? "executables are built on Linux"
    : existsSync("/usr/bin/strip")
      ? false
      : "strip is not installed";
/** Nothing of this machine's: no PATH with a Node.js, no options for one. */
const env = {
  PATH: "/usr/bin:/bin",
  HOME: folder,
  UPKEEP_DATA: join(folder, "data"),
  UPKEEP_UNLOCK: "a long passphrase",
  NODE_OPTIONS: "--require=/nonexistent.cjs",
};

function build(out: string): Promise<number> {
  return makeExecutable({
    entry: join(root, "src/apps/cli/executable.ts"),
    version: "1.2.3",
    target: ownTarget()!,
    out,
    external: ["koffi", "esbuild"],
    assets: {},
    step: () => {},
  });
}

function upkeep(...words: readonly string[]): string {
  const ran = spawnSync(program, words, { env, encoding: "utf8", timeout: 60_000 });
  assert.equal(ran.status, 0, `${words.join(" ")}\n${ran.stdout}${ran.stderr}`);
  return ran.stdout;
}

describe("upkeep as one executable", { skip, timeout: 240_000 }, () => {
  before(async () => {
    await build(program);
  });

  it("has the same bytes when it is built again", async () => {
    const again = join(folder, "again");
    await build(again);
    assert.ok(readFileSync(program).equals(readFileSync(again)), "the two builds differ");
    rmSync(again);
  });

  it("makes a repository and a release, and takes no code from its environment", () => {
    assert.equal(upkeep("--version"), "1.2.3\n");
    upkeep("repo", "init");
    writeFileSync(join(folder, "data.csv"), "a,b\n");
    upkeep("release", "add", "shop", "1.0.0", join(folder, "data.csv"), "--data-only", "--promote");
    assert.match(upkeep("repo", "status"), /All is well/);
  });

  it("runs a signer, whose processes are parts of the same file", async () => {
    upkeep("signer", "init", "--name", "vault");
    const child = spawn(program, ["signer", "run", "--json"], { env, stdio: ["ignore", "pipe", "pipe"] });
    running.push(child);
    let said = "";
    const ready = new Promise<void>((resolve, reject) => {
      const hear = (text: string): void => {
        said += text;
        if (said.includes('"ready":true')) resolve();
      };
      child.stdout.setEncoding("utf8").on("data", hear);
      child.stderr.setEncoding("utf8").on("data", hear);
      child.on("exit", () => reject(new Error(`the signer ended: ${said}`)));
    });
    await ready;
    assert.match(upkeep("signer", "status", "--json"), /"state":"signing"/);
  });

  it("has no part by another name, and says so", () => {
    const ran = spawnSync(program, ["--part", "nonsense"], { env, encoding: "utf8" });
    assert.equal(ran.status, 2);
    assert.match(ran.stderr, /no part named "nonsense"/);
  });
});
