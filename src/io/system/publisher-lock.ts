// One publisher at a time: a lock that the operating system itself lets go when its holder dies.

import { DatabaseSync } from "node:sqlite";
import type { Clock } from "../../core/clock.ts";
import { readOrNull, writeAtomic, type Disk } from "../../core/disk.ts";
import { formatInstant, SECOND } from "../../core/instant.ts";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { PublisherError } from "../../repository/publish/publisher-errors.ts";
import type { PublisherLock } from "../../repository/publish/publisher.ts";

const PATIENCE = 15 * SECOND;
const EVERY = 100;

/**
 * `path` is an empty SQLite file whose exclusive lock is the lock: unlike a file with a process id in it, it cannot be
 * left behind by a crash, so nobody ever has to judge whether it is stale. Beside it, `path.holder` says who it is, for people.
 */
export function publisherLock(
  path: string,
  tools: { readonly disk: Disk; readonly clock: Clock },
): PublisherLock {
  const { disk, clock } = tools;
  const holder = `${path}.holder`;
  return async () => {
    const until = clock.monotonic() + PATIENCE;
    for (;;) {
      const held = tryLock(path);
      if (held !== null) {
        await writeAtomic(
          disk,
          holder,
          toUtf8(`process ${process.pid} since ${formatInstant(clock.now())}\n`),
        );
        return async () => {
          held.close();
        };
      }
      if (clock.monotonic() >= until) {
        const who = await readOrNull(disk, holder, 200);
        throw new PublisherError(
          "publisher/busy",
          `Another publisher works on this repository (${who === null ? "unknown" : fromUtf8(who).trim()}).`,
          { lock: path },
          { hint: "Wait until it is done, and run the command again." },
        );
      }
      await clock.sleep(EVERY);
    }
  };
}

function tryLock(path: string): DatabaseSync | null {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    // A journal in memory: taking the lock writes nothing, so that a full disk keeps nobody from working.
    database.exec("pragma journal_mode=memory; begin exclusive");
    return database;
  } catch (error) {
    database.close();
    // SQLITE_BUSY, 5: somebody else holds it. Anything else is a defect of the disk and must be seen.
    if ((error as { errcode?: number }).errcode === 5) return null;
    throw error;
  }
}
