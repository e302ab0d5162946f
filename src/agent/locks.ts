// The lock files of a component as they lie in its folder: read with a limit, judged by leases, removed when their time is over.

import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { makeDirectories, statOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJsonText } from "../core/json.ts";
import { z } from "../core/schema.ts";
import { MannersError } from "../manners/errors.ts";
import {
  holderSchema,
  judgeLocks,
  LOCK_LIMIT,
  lockSchema,
  MAX_LOCKS,
  type FoundLock,
  type HeldLock,
  type LockFile,
  type Seen,
} from "../manners/locks.ts";
import type { Surroundings } from "../manners/ports.ts";

/** Remembers when each lock was seen first; of one component. */
export class Locks {
  readonly #disk: Disk;
  readonly #folder: string;
  #seen: Seen = new Map();

  constructor(disk: Disk, folder: string) {
    this.#disk = disk;
    this.#folder = folder;
  }

  /** Those that hold now; what is over is removed. A folder that cannot be read holds nothing. */
  async held(monotonic: number, lives: Surroundings["lives"]): Promise<readonly HeldLock[]> {
    const found: FoundLock[] = [];
    for (const name of await this.#names()) {
      const lock = await this.#read(name);
      if (lock === null) continue;
      if (lock.process === undefined || (await lives(lock.process))) found.push(lock);
      else await this.drop(name);
    }
    const { held, over, seen } = judgeLocks(found, this.#seen, monotonic);
    this.#seen = seen;
    for (const holder of over) await this.drop(holder);
    return held;
  }

  /** Errors: `manners/bad-lock`, `disk/*`. */
  async take(holder: string, lock: LockFile): Promise<void> {
    this.#refuseName(holder);
    await makeDirectories(this.#disk, this.#folder);
    await writeAtomic(this.#disk, `${this.#folder}/${holder}`, toUtf8(`${JSON.stringify(lock)}\n`), 0o644);
  }

  /** True if there was one. Errors: `manners/bad-lock`. */
  async release(holder: string): Promise<boolean> {
    this.#refuseName(holder);
    return this.drop(holder);
  }

  private async drop(holder: string): Promise<boolean> {
    try {
      await this.#disk.removeFile(`${this.#folder}/${holder}`);
      return true;
    } catch (error) {
      if (error instanceof UpkeepError) return false;
      throw error;
    }
  }

  #refuseName(holder: string): void {
    if (z.safeParse(holderSchema, holder).success) return;
    throw new MannersError(
      "manners/bad-lock",
      `"${holder.slice(0, 64)}" is not a name for who holds a lock.`,
      { holder: holder.slice(0, 64) },
      { hint: "Letters, digits, dots, dashes and underscores, at most 64." },
    );
  }

  async #names(): Promise<readonly string[]> {
    try {
      const names = await this.#disk.list(this.#folder);
      return names.filter((name) => z.safeParse(holderSchema, name).success).slice(0, MAX_LOCKS);
    } catch (error) {
      if (error instanceof UpkeepError) return [];
      throw error;
    }
  }

  /** A file that says what cannot be read still says "not now": it holds for the lease of a silent one. */
  async #read(holder: string): Promise<FoundLock | null> {
    const path = `${this.#folder}/${holder}`;
    const stat = await statOrNull(this.#disk, path);
    // A component writes here: nothing but a plain file is opened.
    if (stat === null || stat.kind !== "file") return null;
    const silent = { holder, stamp: stat.stamp };
    if (stat.size === 0) return silent;
    try {
      const said = z.safeParse(lockSchema, parseJsonText(fromUtf8(await this.#disk.read(path, LOCK_LIMIT))));
      return said.success ? { ...said.data, ...silent } : silent;
    } catch (error) {
      if (error instanceof UpkeepError) return silent;
      throw error;
    }
  }
}
