// What the operator's commands say of the server's own view, and of the time that it remembers.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { DAY, formatInstant } from "../../../core/instant.ts";
import type { Json } from "../../../core/json.ts";
import { systemDisk } from "../../../io/system/disk.ts";
import { diskStore } from "../../../repository/client/store.ts";
import { runProgram } from "../../framework/program.ts";
import { TABLE } from "../table.ts";

const data = mkdtempSync(join(tmpdir(), "upkeep-view-"));
after(() => rmSync(data, { recursive: true }));

async function upkeep(
  ...words: string[]
): Promise<{ exit: number; text: string; json: () => { [name: string]: Json } }> {
  let text = "";
  const terminal = {
    stdout: { write: (part: string) => (text += part) },
    stderr: { write: (part: string) => (text += part) },
    stdin: process.stdin,
    env: {},
    home: data,
  };
  const exit = await runProgram({ table: TABLE, version: "0.0.0" }, ["--data", data, ...words], terminal);
  return { exit, text, json: () => JSON.parse(text) as { [name: string]: Json } };
}

describe("the server's own view", () => {
  const store = diskStore(systemDisk, join(data, "server/tuf"));
  const ahead = Date.now() + 200 * DAY;
  const remember = (timestamp: number) =>
    store.saveKnownTime({ time: ahead, versions: { root: 9, timestamp, snapshot: timestamp } });
  before(async () => {
    assert.equal((await upkeep("repo", "init")).exit, 0);
  });

  it("is not spoken of where no server has run, and nothing is made there by asking", async () => {
    const { exit, text } = await upkeep("repo", "status");
    assert.equal(exit, 0);
    assert.doesNotMatch(text, /server of this folder/);
    assert.match((await upkeep("repo", "forget-time")).text, /No server has run/);
    assert.doesNotMatch((await upkeep("repo", "status")).text, /server of this folder/);
  });

  it("that takes what was published for expired is said by each command that would else say that all is well", async () => {
    mkdirSync(join(data, "server/tuf"), { recursive: true });
    await remember(1000);
    const status = await upkeep("repo", "status");
    assert.equal(status.exit, 1);
    assert.match(status.text, /the server of this folder cannot follow.*expired/);
    const doctor = await upkeep("repo", "doctor");
    assert.equal(doctor.exit, 6);
    assert.match(doctor.text, /server: the server of this folder cannot follow/);
    const published = await upkeep("repo", "lifetimes", "timestamp=2");
    assert.equal(published.exit, 1);
    assert.match(published.text, /published: root 2.*\n.*cannot follow/);
    const json = (await upkeep("repo", "status", "--json")).json();
    assert.deepEqual((json["server"] as { [name: string]: Json })["remembered"], formatInstant(ahead));
  });

  it("changes nothing by being looked at", async () => {
    assert.equal((await store.loadKnownTime())!.time, ahead);
    assert.equal(await store.load("timestamp", 1 << 20), null);
  });

  it("follows again when newer metadata contradicts the remembered time, or when somebody has it forgotten, which says what it gives up", async () => {
    await remember(1);
    assert.equal((await upkeep("repo", "status")).exit, 0);
    await remember(1000);
    const forgot = await upkeep("repo", "forget-time");
    assert.equal(forgot.exit, 0);
    assert.match(forgot.text, /What that gives up/);
    const { exit, text } = await upkeep("repo", "status");
    assert.equal(exit, 0);
    assert.match(text, /the server of this folder follows$/m);
    assert.equal((await upkeep("repo", "doctor")).exit, 0);
  });

  it("that is ahead of this clock and follows is said as well", async () => {
    const time = Date.now() + 60 * 60_000;
    await store.saveKnownTime({ time, versions: { root: 9, timestamp: 1000, snapshot: 1000 } });
    const { exit, text } = await upkeep("repo", "status");
    assert.equal(exit, 0);
    assert.match(text, /takes the time for .*this clock is behind, or it was ahead then/);
    assert.match((await upkeep("repo", "doctor")).text, /! server: .*takes the time for/);
  });
});
