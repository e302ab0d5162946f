// node:sqlite under Kysely, and a lock that the system releases when its holder dies.

import { chmodSync, closeSync, openSync, statSync, type Stats } from "node:fs";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { Kysely, SqliteDialect, type SqliteDatabase, type SqliteStatement } from "kysely";
import { FleetError, type FleetErrorCode } from "../../fleet/errors.ts";

const RESTORE =
  "Stop the server, move the file away, and take in the last export: upkeep fleet import FILE. docs/operate/server.md says what follows.";

/** Milliseconds that a writer waits for another process. */
const BUSY = 5000;
/** Prepared statements that are kept. */
const STATEMENTS = 300;

export type Opened<Schema> = {
  readonly db: Kysely<Schema>;
  /** Changes when another connection has committed; see `PRAGMA data_version`. */
  dataVersion(): number;
  /** A sentence without its full stop when the file was taken away, replaced or found to be damaged since it was opened; else null. */
  trouble(): string | null;
  close(): Promise<void>;
};

/** Opens or makes a database that only its owner can read. Errors: `fleet/store-*`. */
export function openSqlite<Schema>(path: string): Opened<Schema> {
  const raw = at(path, () => {
    // SQLite gives -wal and -shm the mode of the database file.
    closeSync(openSync(path, "a", 0o600));
    chmodSync(path, 0o600);
    const raw = new DatabaseSync(path, { timeout: BUSY, enableForeignKeyConstraints: true });
    // FULL: what was acknowledged to a device survives a power cut too.
    raw.exec("pragma journal_mode=wal; pragma synchronous=full; pragma trusted_schema=off;");
    return raw;
  });
  const opened = statSync(path);
  let damage: string | null = null;
  const within = <T>(action: () => T): T => {
    try {
      return at(path, action);
    } catch (error) {
      if (error instanceof FleetError && error.code === "fleet/store-corrupt")
        damage = `The database ${path} is damaged`;
      throw error;
    }
  };
  const version = raw.prepare("pragma data_version");
  const db = new Kysely<Schema>({ dialect: new SqliteDialect({ database: shim(within, raw) }) });
  return {
    db,
    dataVersion: () => within(() => Number(version.get()!["data_version"])),
    trouble: () => damage ?? changed(path, opened),
    close: async () => {
      await db.destroy();
      if (raw.isOpen) raw.close();
    },
  };
}

/** What was opened lives on without a name when its file is removed or replaced, and ends with the process. */
function changed(path: string, opened: Stats): string | null {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return `The database ${path} was taken away while it was in use`;
  if (found.dev === opened.dev && found.ino === opened.ino) return null;
  return `The database ${path} was replaced by another file while it was in use`;
}

type Within = <T>(action: () => T) => T;

function shim(within: Within, raw: DatabaseSync): SqliteDatabase {
  const cache = new Map<string, { statement: StatementSync; reader: boolean }>();
  return {
    close: () => raw.close(),
    prepare: (sql): SqliteStatement => {
      // A deferred transaction that reads first and writes later fails at once, not after BUSY, when another process wrote in between.
      const text = sql === "begin" ? "begin immediate" : sql;
      let entry = cache.get(text);
      if (entry === undefined) {
        const statement = within(() => raw.prepare(text));
        entry = { statement, reader: statement.columns().length > 0 };
        if (cache.size >= STATEMENTS) cache.delete(cache.keys().next().value!);
        cache.set(text, entry);
      }
      const { statement, reader } = entry;
      return {
        reader,
        all: (values) => within(() => statement.all(...(values as SQLInputValue[]))),
        run: (values) => {
          // SQLite rolls back by itself when the disk is full; the reason must not be hidden by a second rollback that finds nothing.
          if (text === "rollback" && !raw.isTransaction) return { changes: 0, lastInsertRowid: 0 };
          return within(() => statement.run(...(values as SQLInputValue[])));
        },
        iterate: (values) => within(() => statement.iterate(...(values as SQLInputValue[]))),
      };
    },
  };
}

export type Held = { release(): void };

/** Reads every page. Error: `fleet/store-corrupt`. */
export function checkSqlite(path: string): void {
  const found = at(path, () => {
    const raw = new DatabaseSync(path, { timeout: BUSY });
    try {
      return String(raw.prepare("pragma quick_check(1)").get()?.["quick_check"]);
    } finally {
      raw.close();
    }
  });
  if (found === "ok") return;
  throw new FleetError(
    "fleet/store-corrupt",
    `The database ${path} is damaged (${found.slice(0, 200)}).`,
    { path },
    { hint: RESTORE },
  );
}

/**
 * Holds `path` for this process alone. The lock is the system's own on an empty database file, so a killed holder leaves nothing behind.
 * Error: `fleet/store-in-use` when another process holds it.
 */
export function holdExclusive(path: string): Held {
  const raw = at(path, () => {
    closeSync(openSync(path, "a", 0o600));
    return new DatabaseSync(path, { timeout: 0 });
  });
  try {
    // A journal in memory: taking the lock writes nothing, so that a full disk keeps nobody from working.
    raw.exec("pragma journal_mode=memory; pragma locking_mode=exclusive; begin exclusive");
  } catch (cause) {
    raw.close();
    if (!isBusy(cause)) throw described(path, cause);
    throw new FleetError(
      "fleet/store-in-use",
      `Another server already works on this data folder (it holds ${path}).`,
      { path },
      { cause, hint: "Stop the other server first, or give this one another data folder." },
    );
  }
  return { release: () => raw.close() };
}

function at<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw described(path, cause);
  }
}

/** SQLite primary result codes, https://www.sqlite.org/rescode.html. */
const CODES: { readonly [code: number]: readonly [FleetErrorCode, string] } = {
  5: ["fleet/store-unavailable", "is kept busy by another process"],
  8: ["fleet/store-unavailable", "may not be written by this user"],
  10: ["fleet/store-unavailable", "cannot be read or written: the disk reports an error"],
  11: ["fleet/store-corrupt", "is damaged"],
  13: ["fleet/store-full", "cannot be written: the disk is full"],
  14: ["fleet/store-unavailable", "cannot be opened"],
  26: ["fleet/store-corrupt", "is not a database of Upkeep"],
};

function described(path: string, cause: unknown): unknown {
  if (cause instanceof FleetError) return cause;
  const primary = sqliteCode(cause);
  const known = primary === null ? undefined : CODES[primary];
  if (known !== undefined) {
    const hint = known[0] === "fleet/store-corrupt" ? { hint: RESTORE } : {};
    return new FleetError(
      known[0],
      `The database ${path} ${known[1]}.`,
      { path, sqlite: primary },
      { cause, ...hint },
    );
  }
  const system = (cause as NodeJS.ErrnoException).code;
  if (primary === null && typeof system === "string" && /^E[A-Z]+$/.test(system)) {
    return new FleetError(
      "fleet/store-unavailable",
      `The database ${path} cannot be opened (${system}).`,
      { path, system },
      { cause },
    );
  }
  return cause;
}

function isBusy(cause: unknown): boolean {
  return [5, 6].includes(sqliteCode(cause) ?? 0);
}

function sqliteCode(cause: unknown): number | null {
  const code = (cause as { errcode?: unknown }).errcode;
  // The low byte is the primary result code.
  return typeof code === "number" ? code & 0xff : null;
}
