// One signer per data folder: a lock that the operating system lets go when its holder dies.

import { DatabaseSync } from "node:sqlite";
import type { Clock } from "../../core/clock.ts";
import { SECOND } from "../../core/instant.ts";
import { SigningError } from "../../signing/errors.ts";

const PATIENCE = 15 * SECOND;
const EVERY = 50;
/** SQLITE_BUSY. */
const BUSY = 5;

/**
 * The lock is the exclusive lock of an empty SQLite file at `path`. Waits for a predecessor that is ending, `patience` milliseconds.
 * Errors: `signing/busy`.
 */
export async function holdFolder(path: string, clock: Clock, patience = PATIENCE): Promise<() => void> {
  const until = clock.monotonic() + patience;
  for (;;) {
    const database = new DatabaseSync(path, { timeout: 0 });
    try {
      // A journal in memory: taking the lock writes nothing, so that a full disk keeps nobody from working.
      database.exec("pragma journal_mode=memory; begin exclusive");
      return () => database.close();
    } catch (cause) {
      database.close();
      if ((cause as { errcode?: number }).errcode !== BUSY) throw cause;
      if (clock.monotonic() >= until) {
        throw new SigningError(
          "signing/busy",
          `Another signer works on this data folder (it holds ${path}).`,
          { path },
          { cause, hint: "One signer works on a data folder; `upkeep signer status` tells of it." },
        );
      }
    }
    await clock.sleep(EVERY);
  }
}
