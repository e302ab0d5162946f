// One refresh of a metadata store at a time: a lock that the operating system lets go when its holder dies.

import { DatabaseSync } from "node:sqlite";
import type { Clock } from "../../core/clock.ts";
import { DiskError } from "../../core/disk.ts";
import { MINUTE, SECOND } from "../../core/instant.ts";
import { RepositoryError } from "../../repository/errors.ts";
import type { Lock } from "../../repository/client/store.ts";

const EVERY = 50;
/** SQLITE_BUSY; SQLITE_READONLY, SQLITE_CANTOPEN. */
const BUSY = 5;
const NOT_WRITABLE = new Set([8, 14]);

/**
 * `path` is an empty SQLite file whose exclusive lock is the lock: a crash cannot leave it behind, so nobody ever judges
 * whether it is stale. Waits `patience` milliseconds. Throws `repository/locked`, and `disk/read-only` where no lock can be made.
 */
export function storeLock(path: string, clock: Clock, patience = 2 * MINUTE): Lock {
  return async () => {
    const release = await takeLock(path, clock, patience);
    if (release !== null) return release;
    throw new RepositoryError(
      "repository/locked",
      `Another process has been refreshing the metadata beside ${path} for ${Math.round(patience / SECOND)} seconds.`,
      { lock: path },
      { hint: "Wait until it is done, or stop it, and try again." },
    );
  };
}

/** The lock alone, whatever it stands for: how to let go of it, or null if it could not be had in time. Errors: `disk/read-only`. */
export async function takeLock(
  path: string,
  clock: Clock,
  patience: number,
): Promise<(() => Promise<void>) | null> {
  const until = clock.monotonic() + patience;
  for (;;) {
    const held = tryLock(path);
    if (held !== null) return async () => held.close();
    if (clock.monotonic() >= until) return null;
    await clock.sleep(EVERY);
  }
}

function tryLock(path: string): DatabaseSync | null {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path, { timeout: 0 });
    // A journal in memory: taking the lock writes nothing, so that a full disk keeps nobody from working.
    database.exec("pragma journal_mode=memory; begin exclusive");
    return database;
  } catch (cause) {
    database?.close();
    const code = (cause as { errcode?: number }).errcode ?? 0;
    if (code === BUSY) return null;
    if (!NOT_WRITABLE.has(code & 0xff)) throw cause;
    throw new DiskError("disk/read-only", `No lock can be made at ${path}.`, { path }, { cause });
  }
}
