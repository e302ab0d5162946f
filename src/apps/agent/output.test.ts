// What components wrote, as the owner of a device reads it.

import assert from "node:assert/strict";
import { appendFile, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { runProgram } from "../framework/program.ts";
import { agentNoun } from "./commands.ts";

let data: string;
let shop: string;
before(async () => {
  data = await mkdtemp(join(tmpdir(), "upkeep-log-"));
  shop = join(data, "components/shop/output.log");
  await mkdir(join(data, "components/shop"), { recursive: true });
});
after(() => rm(data, { recursive: true, force: true }));

function run(...words: string[]): {
  readonly done: Promise<number>;
  readonly shown: { out: string; err: string };
} {
  const shown = { out: "", err: "" };
  const terminal = {
    stdout: { write: (text: string) => (shown.out += text) },
    stderr: { write: (text: string) => (shown.err += text) },
    stdin: process.stdin,
    env: {},
    home: null,
  };
  return {
    done: runProgram({ table: [agentNoun], version: "0" }, ["--data", data, ...words], terminal),
    shown,
  };
}
async function log(...words: string[]): Promise<string> {
  const { done, shown } = run("agent", "output", ...words);
  assert.equal(await done, 0, shown.err);
  return shown.out;
}

describe("agent output", () => {
  it("shows what the component wrote, bounded, with nothing that steers a terminal", async () => {
    await writeFile(shop, "one\ntwo\n\u001b[2Jthree\n");
    assert.equal(await log("shop"), "one\ntwo\n·[2Jthree\n");
    assert.equal(await log("shop", "--lines", "1"), "·[2Jthree\n");
  });

  it("shows the run before as well: that of the version that failed", async () => {
    await writeFile(`${shop}.1`, "Error: no database\n");
    const out = await log();
    assert.match(out, /^== shop, the run before ==\nError: no database\n== shop, this run ==\none/);
    const { runs } = JSON.parse(await log("--json")) as { runs: { run: string; lines: string[] }[] };
    assert.deepEqual(
      runs.map(({ run, lines }) => [run, lines.length]),
      [
        ["before", 1],
        ["now", 3],
      ],
    );
  });

  it("is found by its other name, and says what is not installed", async () => {
    const { done, shown } = run("agent", "logs", "nothing");
    assert.notEqual(await done, 0);
    assert.match(shown.err, /agent\/not-installed.*\nhint: Installed: shop\./);
  });

  it("follows what is written, also over the start of the next run", async () => {
    const { done, shown } = run("agent", "output", "shop", "--follow", "--lines", "0");
    const shows = async (text: string): Promise<void> => {
      for (let i = 0; !shown.out.includes(text); i++) {
        assert.ok(i < 200, `${text} was not shown: ${shown.out}`);
        await delay(50);
      }
    };
    await delay(500);
    await appendFile(shop, "four\nfi");
    await shows("four\n");
    await appendFile(shop, "ve\n");
    await shows("five\n");
    await rename(shop, `${shop}.1`);
    await writeFile(shop, "next run\n");
    await shows("next run\n");
    process.emit("SIGINT");
    assert.equal(await done, 0);
  });
});
