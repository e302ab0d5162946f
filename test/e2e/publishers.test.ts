// Two publishers at the same moment, as whole programs: both changes are there afterwards, and a fresh client follows.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";

const MAIN = new URL("../../src/apps/cli/main.ts", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "upkeep-publishers-"));
after(() => rmSync(folder, { recursive: true }));
const data = join(folder, "data");

function upkeep(...words: readonly string[]): string {
  const { stdout, stderr, status } = spawnSync(process.execPath, [MAIN, "--data", data, ...words], {
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.equal(status, 0, stderr);
  return stdout;
}

async function start(...words: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [MAIN, "--data", data, ...words], { stdio: "ignore" });
  const [code] = (await once(child, "exit")) as [number];
  return code;
}

describe("two publishers at once", () => {
  it("take turns, and neither loses what the other published", async () => {
    mkdirSync(join(folder, "app"));
    writeFileSync(join(folder, "app/run"), "#!/bin/sh\n");
    chmodSync(join(folder, "app/run"), 0o755);
    upkeep("repo", "init", "--quiet");
    upkeep("release", "add", "shop", "1.0.0", join(folder, "app"), "--run", "run");
    const add = (product: string, version: string) =>
      start("release", "add", product, version, join(folder, "app"), "--run", "run");
    const codes = await Promise.all([
      add("shop", "1.1.0"),
      add("shop", "1.2.0"),
      add("till", "1.0.0"),
      start("repo", "renew"),
    ]);
    assert.deepEqual(codes, [0, 0, 0, 0]);
    const { releases } = JSON.parse(upkeep("release", "list", "--json")) as {
      releases: readonly { product: string; version: string }[];
    };
    assert.deepEqual(
      releases.map(({ product, version }) => `${product} ${version}`),
      ["shop 1.0.0", "shop 1.1.0", "shop 1.2.0", "till 1.0.0"],
    );
    upkeep("verify", join(data, "repository"));
  });

  it("never both add the same version", async () => {
    const add = (version: string, ...more: readonly string[]) =>
      start("release", "add", "shop", version, join(folder, "app"), ...more);
    assert.deepEqual((await Promise.all([add("2.0.0"), add("2.0.0", "--security")])).sort(), [0, 2]);
    // The very same content twice is one release: the second says so.
    assert.deepEqual(await Promise.all([add("2.1.0"), add("2.1.0")]), [0, 0]);
    upkeep("verify", join(data, "repository"));
  });
});
