// What happened on a device, as its owner reads it.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { EventLog } from "../../history/event-log.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { runProgram } from "../framework/program.ts";
import { agentNoun } from "./commands.ts";

const AT = "2026-11-21T04:00:00Z";
const ATTEMPT = "ab".repeat(16);
let data: string;
let log: EventLog;
before(async () => {
  data = await mkdtemp(join(tmpdir(), "upkeep-history-"));
  log = new EventLog(systemDisk, `${data}/log`);
});
after(() => rm(data, { recursive: true, force: true }));

function run(...words: string[]): { done: Promise<number>; shown: { out: string; err: string } } {
  const shown = { out: "", err: "" };
  const terminal = {
    stdout: { write: (text: string) => (shown.out += text) },
    stderr: { write: (text: string) => (shown.err += text) },
    stdin: process.stdin,
    env: {},
    home: null,
  };
  const table = { table: [agentNoun], version: "0" };
  return { done: runProgram(table, ["--data", data, "agent", "log", ...words], terminal), shown };
}
async function ok(...words: string[]): Promise<string> {
  const { done, shown } = run(...words);
  assert.equal(await done, 0, shown.err);
  return shown.out;
}

describe("agent log", () => {
  it("is empty and whole before anything happened", async () => {
    assert.match(await ok(), /Nothing is in the log/);
    assert.match(await ok("verify"), /as it was written\. It has no lines yet/);
  });

  it("tells each attempt with its end and its reason, with nothing that steers a terminal", async () => {
    const attempt = { at: AT, product: "shop", attempt: ATTEMPT, from: "1.0.0", to: "1.1.0" };
    await log.add({ ...attempt, event: "begin", what: "update" });
    const reason = "It \u001b[2Jended.";
    await log.add({ ...attempt, event: "end", end: "rolled-back", code: "process/exited", reason });
    await log.add({ at: AT, event: "asked", product: "till", what: "uninstall" });
    assert.equal(
      await ok(),
      `${AT}  shop  update 1.0.0 -> 1.1.0 begins  [abababab]
${AT}  shop  1.0.0 -> 1.1.0 rolled-back (process/exited): It ·[2Jended.  [abababab]
${AT}  till  the owner asked for: uninstall
`,
    );
    assert.equal((await ok("--product", "till")).split("\n").length, 2);
    assert.equal((await ok("--lines", "1")).split("\n").length, 2);
    const { records } = JSON.parse(await ok("--json")) as { records: { seq: number; attempt?: string }[] };
    assert.deepEqual(
      records.map(({ seq, attempt: id }) => [seq, id]),
      [
        [1, ATTEMPT],
        [2, ATTEMPT],
        [3, undefined],
      ],
    );
  });

  it("says that it is whole, and up to where", async () => {
    assert.match(await ok("verify"), /Lines 1 to 3 follow each other/);
    const { whole, last, open } = JSON.parse(await ok("verify", "--json")) as {
      whole: boolean;
      last: number;
      open: string[];
    };
    assert.deepEqual([whole, last, open], [true, 3, []]);
  });

  it("follows, line by line", async () => {
    const { done, shown } = run("--follow", "--lines", "1", "--json");
    for (let tries = 0; tries < 200 && shown.out === ""; tries++) await delay(20);
    await log.add({ at: AT, event: "alarm", code: "slot/damaged", reason: "It is damaged." });
    for (let tries = 0; tries < 200 && shown.out.split("\n").length < 3; tries++) await delay(20);
    const seen = shown.out
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { seq: number }).seq);
    assert.deepEqual(seen, [3, 4]);
    process.emit("SIGINT");
    assert.equal(await done, 0);
  });

  it("says how a word after it is meant, and what was changed", async () => {
    const { done, shown } = run("shop");
    assert.equal(await done, 2);
    assert.match(shown.err, /agent output shop/);
    const path = join(data, "log/000000000001.jsonl");
    const text = await readFile(path, "utf8");
    await writeFile(path, text.replace("rolled-back", "committed!!"));
    const changed = run("verify", "--json");
    assert.equal(await changed.done, 6);
    assert.match(changed.shown.err + changed.shown.out, /history\/corrupt/);
    assert.match(run("--lines", "0").shown.err, /^/);
    const warned = run();
    assert.equal(await warned.done, 0);
    assert.match(warned.shown.err, /not as it was written/);
  });
});
