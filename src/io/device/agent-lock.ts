// One agent per data folder: a lock that the operating system lets go when its holder dies, so that nobody judges whether it is stale.

import { AgentError } from "../../agent/errors.ts";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { readOrNull, writeAtomic } from "../../core/disk.ts";
import { UpkeepError } from "../../core/errors.ts";
import { formatInstant, SECOND } from "../../core/instant.ts";
import { systemDisk } from "../system/disk.ts";
import { takeLock } from "../system/store-lock.ts";

/** Who works on the folder: the agent that stays, or one command. */
export type Errand = "run" | "command";

/** A command waits for one before it that is about to end. */
const PATIENCE: { readonly [E in Errand]: number } = { run: 0, command: 5 * SECOND };

/** Returns how to let go. Errors: `agent/locked`, `disk/read-only`. */
export async function lockAgent(folder: string, clock: Clock, errand: Errand): Promise<() => Promise<void>> {
  const path = `${folder}/lock`;
  const holder = `${path}.holder`;
  const release = await takeLock(path, clock, PATIENCE[errand]);
  if (release !== null) {
    const who = errand === "run" ? "the agent" : "a command";
    await note(holder, `${who}, process ${process.pid}, since ${formatInstant(clock.now())}`);
    return release;
  }
  const who = await noted(holder);
  const stays = who?.startsWith("the agent") === true;
  throw new AgentError(
    "agent/locked",
    `Somebody else works on ${folder}: ${who ?? "another process"}.`,
    { folder },
    {
      hint: stays
        ? "`upkeep agent status` shows what it is doing; two agents must not share a folder."
        : "Wait until it is done, and run the command again.",
    },
  );
}

/** For people only: a disk that cannot take it keeps nobody from working. */
async function note(path: string, text: string): Promise<void> {
  try {
    await writeAtomic(systemDisk, path, toUtf8(`${text}\n`), 0o600);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
  }
}

async function noted(path: string): Promise<string | null> {
  try {
    const bytes = await readOrNull(systemDisk, path, 200);
    return bytes === null ? null : fromUtf8(bytes).trim();
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}
