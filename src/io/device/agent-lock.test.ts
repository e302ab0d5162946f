// One agent per folder, and a refusal that speaks of this lock and of whoever holds it.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { AgentError } from "../../agent/errors.ts";
import { EagerClock } from "../../testing/agent-world.ts";
import { lockAgent } from "./agent-lock.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "upkeep-lock-"));
});
after(() => rm(folder, { recursive: true, force: true }));

describe("the lock of an agent's folder", () => {
  const refusal = (error: unknown): string => {
    assert.ok(error instanceof AgentError && error.code === "agent/locked");
    return `${error.message} ${error.hint ?? ""} ${String(error.cause ?? "")}`;
  };

  it("names the agent that holds it, and nothing of metadata", async () => {
    const release = await lockAgent(folder, new EagerClock(), "run");
    const text = refusal(
      await lockAgent(folder, new EagerClock(), "command").catch((error: unknown) => error),
    );
    assert.match(text, new RegExp(`the agent, process ${process.pid}, since .*\\. \`upkeep agent status\``));
    assert.doesNotMatch(text, /metadata/);
    await release();
  });

  it("names a command that holds it, which has no status to look at", async () => {
    const release = await lockAgent(folder, new EagerClock(), "command");
    const text = refusal(await lockAgent(folder, new EagerClock(), "run").catch((error: unknown) => error));
    assert.match(text, /a command, process \d+, since .*Wait until it is done/);
    await release();
    await (
      await lockAgent(folder, new EagerClock(), "run")
    )();
  });

  it("is waited for by a command for a moment", async () => {
    const release = await lockAgent(folder, new EagerClock(), "run");
    const clock = new EagerClock();
    const waiting = lockAgent(folder, clock, "command");
    await clock.sleep(100);
    await release();
    await (
      await waiting
    )();
  });
});
