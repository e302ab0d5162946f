// Tests of the publisher's lock, in one process and across processes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { systemClock } from "./clock.ts";
import { systemDisk } from "./disk.ts";
import { publisherLock } from "./publisher-lock.ts";

const root = mkdtempSync(join(tmpdir(), "upkeep-lock-"));
after(() => rmSync(root, { recursive: true }));

describe("the publisher's lock", () => {
  it("lets a second publisher wait for the first", async () => {
    const lock = publisherLock(join(root, "a"), { disk: systemDisk, clock: systemClock });
    const order: string[] = [];
    const first = await lock();
    const second = (async () => {
      const unlock = await lock();
      order.push("second");
      await unlock();
    })();
    await systemClock.sleep(250);
    order.push("first");
    await first();
    await second;
    assert.deepEqual(order, ["first", "second"]);
  });

  it("says who holds it when waiting was in vain", async () => {
    const clock = new ScriptedClock();
    const lock = publisherLock(join(root, "b"), { disk: systemDisk, clock });
    const unlock = await lock();
    const waiting = assert.rejects(lock(), {
      code: "publisher/busy",
      message: new RegExp(`process ${process.pid} since`),
    });
    for (let i = 0; i < 4; i++) await clock.advance(5_000);
    await waiting;
    await unlock();
  });

  it("is let go by the system when its holder is killed", async () => {
    const path = join(root, "c");
    const code = `
      import { publisherLock } from ${JSON.stringify(new URL("publisher-lock.ts", import.meta.url).href)};
      import { systemDisk } from ${JSON.stringify(new URL("disk.ts", import.meta.url).href)};
      import { systemClock } from ${JSON.stringify(new URL("clock.ts", import.meta.url).href)};
      await publisherLock(${JSON.stringify(path)}, { disk: systemDisk, clock: systemClock })();
      process.stdout.write("held");
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", code], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "exit");
    const unlock = await publisherLock(path, { disk: systemDisk, clock: systemClock })();
    await unlock();
  });
});
