// `whenSafe()` for Node programs that Upkeep keeps up to date: the program says when it may be restarted, by a lock with a lease.

import { mkdirSync, renameSync, rmSync, writeFileSync, readFileSync } from "node:fs";
import { join } from "node:path";

export type WhenSafeOptions = {
  /** The folder of the component's locks; the environment variable UPKEEP_LOCKS by default. */
  readonly folder?: string;
  /** A name for the lock; `app-` and the process number by default. */
  readonly holder?: string;
  /** How often the question is asked, in milliseconds; 1000 by default. */
  readonly everyMs?: number;
};

export interface Safety {
  /** Runs `work` during which no update is activated; `why` is shown to people who wait. The lock is taken before `work` begins. */
  busy<T>(work: () => Promise<T> | T, why?: string): Promise<T>;
  /** Asks the question now instead of at its next time. */
  look(): void;
  /** Ends the questions and lets updates through. */
  close(): void;
}

/** Seconds. Renewed at a third of it. */
const LEASE = 60;

/**
 * Lets updates through only while `isSafe` says true. After a crash the lock holds no longer than its process lives. Outside of Upkeep,
 * where there is no folder of locks, it does nothing.
 *
 * @example
 * ```ts
 * import { whenSafe } from "upkeep/agent";
 *
 * let openTransactions = 0;
 * const safety = whenSafe(() => openTransactions === 0);
 * await safety.busy(async () => console.log("no update in here"), "an order");
 * safety.close();
 * ```
 */
export function whenSafe(isSafe: () => boolean, options: WhenSafeOptions = {}): Safety {
  const folder = options.folder ?? process.env["UPKEEP_LOCKS"];
  const lock = folder === undefined ? null : new LockFile(folder, options.holder ?? `app-${process.pid}`);
  let busy = 0;
  let why = "";
  let closed = false;
  const look = (): void => {
    if (closed) return;
    let safe = false;
    try {
      safe = busy === 0 && isSafe();
    } finally {
      // A question that throws is no yes.
      if (safe) lock?.release();
      else lock?.take(why);
    }
  };
  const timer = setInterval(() => {
    try {
      look();
    } catch {
      // The lock is held; who calls `look` sees the error.
    }
  }, options.everyMs ?? 1000);
  timer.unref();
  look();
  return {
    busy: async (work, reason = "") => {
      busy++;
      why = reason;
      lock?.take(reason);
      try {
        return await work();
      } finally {
        busy--;
        look();
      }
    },
    look,
    close: () => {
      closed = true;
      clearInterval(timer);
      lock?.release();
    },
  };
}

class LockFile {
  readonly #folder: string;
  readonly #holder: string;
  #renewed: number | null = null;
  #why = "";

  constructor(folder: string, holder: string) {
    this.#folder = folder;
    this.#holder = holder;
  }

  take(why: string): void {
    const now = performance.now();
    if (this.#renewed !== null && why === this.#why && now - this.#renewed < (LEASE * 1000) / 3) return;
    const startTime = startTimeOf(process.pid);
    const text = JSON.stringify({
      lease: LEASE,
      ...(why === "" ? {} : { why: why.replaceAll(/\p{Cc}/gu, " ").slice(0, 200) }),
      ...(startTime === null ? {} : { process: { pid: process.pid, startTime } }),
    });
    mkdirSync(this.#folder, { recursive: true });
    // A name that begins with a dot is no lock: nobody reads a half of it.
    const temporary = join(this.#folder, `.${this.#holder}`);
    writeFileSync(temporary, `${text}\n`);
    renameSync(temporary, join(this.#folder, this.#holder));
    [this.#renewed, this.#why] = [now, why];
  }

  release(): void {
    if (this.#renewed === null) return;
    rmSync(join(this.#folder, this.#holder), { force: true });
    this.#renewed = null;
  }
}

/** proc(5), field 22; null where there is no /proc. */
function startTimeOf(pid: number): string | null {
  try {
    const line = readFileSync(`/proc/${pid}/stat`, "latin1");
    return line.slice(line.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}
