// The door for Node programs: the lock is there while a program is busy, gone when it is safe, and names the process that holds it.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { Locks } from "../../agent/locks.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { systemSurroundings } from "../../io/system/surroundings.ts";
import { whenSafe } from "./when-safe.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-locks-"));
after(() => rmSync(folder, { recursive: true }));

const held = () => new Locks(systemDisk, folder).held(0, (one) => systemSurroundings.lives(one));

describe("whenSafe", () => {
  it("holds a lock that the agent reads while the program says that it is not safe", async () => {
    let safe = false;
    const safety = whenSafe(() => safe, { folder, holder: "app" });
    assert.deepEqual(
      (await held()).map(({ holder }) => holder),
      ["app"],
    );
    safe = true;
    safety.look();
    assert.deepEqual(await held(), []);
    safety.close();
  });

  it("holds it during busy work, says why, and lets go after it, also when the work fails", async () => {
    const safety = whenSafe(() => true, { folder, holder: "app" });
    assert.deepEqual(readdirSync(folder), []);
    await safety.busy(async () => {
      assert.deepEqual(
        (await held()).map(({ why }) => why),
        ["an order"],
      );
      await safety.busy(() => undefined, "inner");
      assert.equal((await held()).length, 1, "the outer work goes on");
    }, "an order");
    assert.deepEqual(await held(), []);
    await assert.rejects(
      safety.busy(() => Promise.reject(new Error("no"))),
      /no/,
    );
    assert.deepEqual(await held(), []);
    safety.close();
  });

  it("takes a question that throws for a no", async () => {
    const ask = (): boolean => {
      throw new Error("the database is away");
    };
    assert.throws(() => whenSafe(ask, { folder, holder: "app" }), /database/);
    assert.equal((await held()).length, 1);
    rmSync(join(folder, "app"));
  });

  it("names its process, so that a lock does not outlive it", () => {
    const safety = whenSafe(() => false, { folder, holder: "app" });
    const file = JSON.parse(readFileSync(join(folder, "app"), "utf8")) as { process: { pid: number } };
    assert.equal(file.process.pid, process.pid);
    safety.close();
    assert.deepEqual(readdirSync(folder), []);
  });

  it("does nothing outside of Upkeep", async () => {
    const before = process.env["UPKEEP_LOCKS"];
    delete process.env["UPKEEP_LOCKS"];
    const safety = whenSafe(() => false);
    assert.equal(await safety.busy(() => 7), 7);
    safety.close();
    if (before !== undefined) process.env["UPKEEP_LOCKS"] = before;
  });
});
