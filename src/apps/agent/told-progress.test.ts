// A command that waits for the agent says what for, and is silent when it need not wait.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { writeAtomic } from "../../core/disk.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { tellProgress } from "./told-progress.ts";

const status = (disk: MemoryDisk, why: string | null): Promise<void> =>
  writeAtomic(
    disk,
    "/status.json",
    toUtf8(
      JSON.stringify({
        components: [
          { product: "shop", attempt: why === null ? null : { to: "1.1.0" }, why: why ?? "", until: null },
        ],
      }),
    ),
  );

describe("a command that waits", () => {
  it("tells each step once, and nothing of what is quick", async () => {
    const [disk, clock, lines] = [new MemoryDisk(), new ScriptedClock(), [] as string[]];
    const context = { disk, clock, data: "", note: (line: string) => void lines.push(line) };
    assert.equal(await tellProgress(context, Promise.resolve(7)), 7);
    assert.deepEqual(lines, []);
    const { promise, resolve } = Promise.withResolvers<string>();
    const told = tellProgress(context, promise);
    await clock.advance(2000);
    await status(disk, "1.1.0 is coming: downloading.");
    await clock.advance(2000);
    await status(disk, "1.1.0 runs on probation.");
    await clock.advance(2000);
    await writeAtomic(disk, "/status.json", toUtf8("{"));
    await clock.advance(1000);
    await status(disk, null);
    await clock.advance(1000);
    resolve("done");
    assert.equal(await told, "done");
    assert.deepEqual(lines, ["shop: 1.1.0 is coming: downloading.", "shop: 1.1.0 runs on probation."]);
  });

  it("fails as what it waits for fails", async () => {
    const context = { disk: new MemoryDisk(), clock: new ScriptedClock(), data: "", note: () => {} };
    await assert.rejects(tellProgress(context, Promise.reject(new Error("refused"))), /refused/);
  });
});
