// One agent per data folder: a lock that the operating system lets go when its holder dies, so that nobody judges whether it is stale.

import { AgentError } from "../../agent/errors.ts";
import type { Clock } from "../../core/clock.ts";
import { RepositoryError } from "../../repository/errors.ts";
import { storeLock } from "../system/store-lock.ts";

/** Returns how to let go. Errors: `agent/locked`, `disk/read-only`. */
export async function lockAgent(folder: string, clock: Clock, patience = 0): Promise<() => Promise<void>> {
  try {
    return await storeLock(`${folder}/lock`, clock, patience)();
  } catch (error) {
    if (!(error instanceof RepositoryError && error.code === "repository/locked")) throw error;
    throw new AgentError(
      "agent/locked",
      `Another agent works on ${folder}.`,
      { folder },
      {
        hint: "`upkeep agent status` shows what it is doing; two agents must not share a folder.",
        cause: error,
      },
    );
  }
}
