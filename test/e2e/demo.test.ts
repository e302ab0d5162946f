// The newcomer's first command: the demo, whole, with everything it claims looked at from outside.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";

const root = new URL("../..", import.meta.url).pathname;
const place = mkdtempSync(join(tmpdir(), "upkeep-demo-test-"));
after(() => rmSync(place, { recursive: true, force: true }));

type Told = {
  readonly reports: readonly {
    kind: string;
    product: string;
    from: string | null;
    to: string;
    outcome: string;
    code: string | null;
  }[];
  readonly address: string;
  readonly service: string;
  readonly pids: readonly { name: string; pid: number }[];
};

function demo(...words: readonly string[]): Promise<{ code: number | null; out: string; errors: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(root, "src/apps/cli/main.ts"), "--json", "demo", ...words], {
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 150_000,
    });
    let [out, errors] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
    child.once("close", (code) => resolve({ code, out, errors }));
  });
}

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describe("the demo", () => {
  it("shows the main job, and leaves what it was asked to leave running", { timeout: 200_000 }, async () => {
    const folder = join(place, "shown");
    const { code, out, errors } = await demo("--folder", folder, "--keep");
    assert.equal(code, 0, errors);
    const told = JSON.parse(out) as Told;
    try {
      const attempts = told.reports
        .filter(({ kind }) => kind === "attempt")
        .map((r) => `${r.product} ${r.from ?? "-"} ${r.to} ${r.outcome} ${r.code ?? "-"}`);
      const native = existsSync(join(root, "node_modules/esbuild-linux-x64-current"))
        ? ["esbuild - 0.28.1 success -", "esbuild 0.28.1 0.28.2 success -"]
        : [];
      assert.deepEqual(attempts, [
        "hello - 1.0.0 success -",
        "hello 1.0.0 1.1.0 success -",
        "hello 1.1.0 1.2.0 rolled-back process/exited",
        "hello 1.1.0 1.2.1 success -",
        ...native,
      ]);
      assert.deepEqual(told.pids.map(({ name }) => name).sort(), ["agent", "server"]);
      assert.ok(told.pids.every(({ pid }) => alive(pid)));
      assert.equal(await (await fetch(told.service)).text(), "hello from 1.2.1\n");
    } finally {
      for (const { pid } of told.pids.toReversed()) if (alive(pid)) process.kill(pid, "SIGTERM");
      for (let i = 0; i < 200 && told.pids.some(({ pid }) => alive(pid)); i++)
        await new Promise((done) => setTimeout(done, 50));
    }
    assert.ok(!told.pids.some(({ pid }) => alive(pid)), "server and agent end when asked to");
  });

  it("refuses a folder that exists, and says so", async () => {
    const { code, errors } = await demo("--folder", place);
    assert.equal(code, 2);
    assert.match(errors, /exists already/);
  });
});
