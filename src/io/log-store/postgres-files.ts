// Files as rows of a PostgreSQL database: what an audit log needs of a disk, written by one owner and by nobody who lost the right to.

import { concat } from "../../core/bytes.ts";
import { DiskError, parentOf, type DiskErrorCode, type DiskFile, type FileStore } from "../../core/disk.ts";
import { SigningError } from "../../signing/errors.ts";
import { appended, changeFor, endOf, MAX_CHUNK, type Extent, type Piece } from "./_postgres-chunks.ts";
import type { PostgresSession } from "../database/postgres.ts";

type Row = { readonly [column: string]: unknown };
/** Unsynced bytes of one file that are kept in memory at most. */
const MAX_UNSYNCED = 4 * MAX_CHUNK;

/** Who may write: the row of `signer` in `writer` must still say this epoch. */
export type Right = { readonly signer: string; readonly epoch: number };

/**
 * Writes are kept in memory until `sync` or `close`, which are one commit each: a file that is written and synced in order costs one
 * round trip a sync. What was committed survives whatever the database survives, so names are durable at once. Every change is made only
 * if the right to write is still there, checked in the same statement or transaction; the first failure ends the use of this object.
 */
export class PostgresFiles implements FileStore {
  readonly #session: Pick<PostgresSession, "query">;
  readonly #right: Right | null;
  readonly #failed: (error: Error) => void;
  readonly #unsynced = new Set<PostgresFile>();
  #turn: Promise<unknown> = Promise.resolve();
  #error: Error | null = null;

  /** `right` null: nothing is ever written. `failed` hears of the first error, before whoever waits does. */
  constructor(
    session: Pick<PostgresSession, "query">,
    right: Right | null,
    failed: (error: Error) => void = () => {},
  ) {
    this.#session = session;
    this.#right = right;
    this.#failed = failed;
  }

  /** Ends the use of this object: whatever is asked from now on fails with this error. */
  fail(error: Error): void {
    if (this.#error !== null) return;
    this.#error = error;
    this.#failed(error);
  }

  /** A sign of life of the connection, in turn with everything else. */
  ping(): Promise<void> {
    return this.#inTurn(async () => void (await this.ask("select 1")));
  }

  async stat(
    path: string,
  ): Promise<{ readonly kind: "file" | "directory"; readonly size: number; readonly mode: number }> {
    if (path === "/") return { kind: "directory", size: 0, mode: 0o700 };
    await this.#settle(path);
    const [row] = await this.#inTurn(() =>
      this.ask(
        `select directory, mode, coalesce((select sum(octet_length(bytes)) from chunk where file = id), 0)::bigint as size
         from file where path = $1`,
        [path],
      ),
    );
    if (row === undefined) throw no("disk/missing", path);
    return {
      kind: row["directory"] === true ? "directory" : "file",
      size: Number(row["size"]),
      mode: Number(row["mode"]),
    };
  }

  async list(path: string): Promise<readonly string[]> {
    if ((await this.stat(path)).kind !== "directory") throw no("disk/wrong-kind", path);
    const rows = await this.#inTurn(() =>
      this.ask("select path from file where folder = $1 order by path", [path]),
    );
    const start = path === "/" ? 1 : path.length + 1;
    return rows.map((row) => String(row["path"]).slice(start)).sort();
  }

  async read(path: string, limit: number): Promise<Uint8Array> {
    const { kind, size } = await this.stat(path);
    if (kind !== "file") throw no("disk/wrong-kind", path);
    if (size > limit) {
      throw new DiskError("disk/io", `${path} is larger than the allowed ${limit} bytes.`, {
        path,
        size,
        limit,
      });
    }
    // Rows in their order, whatever their numbers: where somebody took rows away, what is left is what is read.
    const rows = await this.#inTurn(() =>
      this.ask("select bytes from chunk join file on file = id where path = $1 order by at", [path]),
    );
    const bytes = concat(rows.map((row) => bytesOf(row)));
    if (bytes.length > limit) throw new DiskError("disk/io", `${path} grew while it was read.`, { path });
    return bytes;
  }

  async open(path: string, how: "read" | "write" | "create", mode = 0o644): Promise<DiskFile> {
    await this.#settle(path);
    return this.#inTurn(async () => {
      const [found] = await this.ask("select id, directory from file where path = $1", [path]);
      if (found?.["directory"] === true) throw no("disk/wrong-kind", path);
      if (found !== undefined && how === "create") throw no("disk/exists", path);
      if (found === undefined && how === "read") throw no("disk/missing", path);
      const id = found === undefined ? await this.#make(path, false, mode) : Number(found["id"]);
      const rows =
        found === undefined
          ? []
          : await this.ask(
              "select at, octet_length(bytes) as length from chunk where file = $1 and octet_length(bytes) > 0 order by at",
              [id],
            );
      const extents = rows.map((row) => ({ at: Number(row["at"]), length: Number(row["length"]) }));
      return new PostgresFile(this, { path, id, extents });
    });
  }

  async replace(path: string, bytes: Uint8Array, mode: number): Promise<void> {
    await this.#settle(path);
    if (bytes.length > MAX_CHUNK) return this.#replaceLarge(path, bytes, mode);
    const folder = parentOf(path);
    await this.#inTurn(async () => {
      const [row] = await this.ask(
        `with ${RIGHT}, f as (
           insert into file (path, folder, directory, mode)
           select $3, $4, false, $5 from me
           where $4 = '/' or exists (select 1 from file where path = $4 and directory)
           on conflict (path) do update set mode = excluded.mode where not file.directory
           returning id),
         gone as (delete from chunk using f where file = f.id and at <> 0),
         put as (
           insert into chunk (file, at, bytes) select id, 0, $6 from f
           on conflict (file, at) do update set bytes = excluded.bytes)
         select (select count(*) from me) as mine, (select id from f) as id`,
        [...this.#mine(path), path, folder, mode, buffer(bytes)],
      );
      this.#held(row);
      if (row?.["id"] !== null) return;
      const [taken] = await this.ask("select 1 from file where path = $1", [path]);
      throw no(taken === undefined ? "disk/missing" : "disk/wrong-kind", path);
    });
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#settle(from);
    await this.#settle(to);
    await this.transaction(from, async () => {
      const [moved] = await this.ask("select id, directory from file where path = $1", [from]);
      if (moved === undefined) throw no("disk/missing", from);
      const folder = moved["directory"] === true;
      const [there] = await this.ask("select id, directory from file where path = $1", [to]);
      if (there !== undefined) {
        if ((there["directory"] === true) !== folder) throw no("disk/wrong-kind", to);
        await this.#emptied(to);
        await this.ask("delete from file where id = $1", [there["id"]]);
      } else await this.#parent(to);
      await this.ask("update file set path = $2, folder = $3 where id = $1", [moved["id"], to, parentOf(to)]);
      if (folder)
        await this.ask(
          `update file set path = $2 || substr(path, $3), folder = $2 || substr(folder, $3)
           where starts_with(path, $1 || '/')`,
          [from, to, from.length + 1],
        );
    });
  }

  async makeDirectory(path: string, mode = 0o755): Promise<void> {
    await this.#inTurn(async () => {
      const [there] = await this.ask("select 1 from file where path = $1", [path]);
      if (there !== undefined || path === "/") throw no("disk/exists", path);
      await this.#make(path, true, mode);
    });
  }

  async removeFile(path: string): Promise<void> {
    await this.#settle(path);
    await this.transaction(path, async () => {
      const gone = await this.ask("delete from file where path = $1 and not directory returning id", [path]);
      if (gone.length === 0) throw no("disk/missing", path);
    });
  }

  async removeDirectory(path: string): Promise<void> {
    await this.transaction(path, async () => {
      await this.#emptied(path);
      const gone = await this.ask("delete from file where path = $1 and directory returning id", [path]);
      if (gone.length === 0) throw no("disk/missing", path);
    });
  }

  /** Names are durable as soon as they are made. */
  async syncDirectory(path: string): Promise<void> {
    if ((await this.stat(path)).kind !== "directory") throw no("disk/wrong-kind", path);
  }

  /** Only for files of this object. */
  async inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#inTurn(work);
  }

  /** One statement; in turn only. Any failure is the end: nobody knows what the database made of it. */
  async ask(text: string, values: readonly unknown[] = []): Promise<readonly Row[]> {
    if (this.#error !== null) throw this.#error;
    try {
      return await this.#session.query(text, values);
    } catch (cause) {
      this.fail(cause as Error);
      throw this.#error ?? cause;
    }
  }

  /** Puts one row of bytes if the right is still there: one round trip, one commit. In turn only. */
  async put(path: string, id: number, { at, bytes }: Piece): Promise<void> {
    const [row] = await this.ask(
      `with ${RIGHT}, put as (
         insert into chunk (file, at, bytes) select $3, $4, $5 from me
         on conflict (file, at) do update set bytes = excluded.bytes)
       select count(*) as mine from me`,
      [...this.#mine(path), id, at, buffer(bytes)],
    );
    this.#held(row);
  }

  /** All of it or nothing, and only with the right to write; takes its own turn. */
  transaction<T>(path: string, work: () => Promise<T>): Promise<T> {
    return this.#inTurn(() => this.together(path, work));
  }

  /** As `transaction`, for one who has the turn. */
  async together<T>(path: string, work: () => Promise<T>): Promise<T> {
    const mine = this.#mine(path);
    await this.ask("begin");
    try {
      const [row] = await this.ask(`with ${RIGHT} select count(*) as mine from me`, mine);
      this.#held(row);
      const done = await work();
      await this.ask("commit");
      return done;
    } catch (error) {
      if (this.#error === null) await this.ask("rollback");
      throw error;
    }
  }

  unsynced(file: PostgresFile, is: boolean): void {
    if (is) this.#unsynced.add(file);
    else this.#unsynced.delete(file);
  }

  /** One thing after the other: a transaction is no place for somebody else's statement. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }

  /** Whoever looks at a path sees what was written to it. */
  async #settle(path: string): Promise<void> {
    for (const file of this.#unsynced)
      if (file.path === path || file.path.startsWith(`${path}/`)) await file.sync();
  }

  #mine(path: string): readonly unknown[] {
    if (this.#right === null) throw no("disk/read-only", path);
    return [this.#right.signer, this.#right.epoch];
  }

  /** The fence: a writer whose epoch is over has written nothing, and never will again. */
  #held(row: Row | undefined): void {
    if (Number(row?.["mine"] ?? 0) === 1) return;
    const error = new SigningError(
      "signing/store-lost",
      "Another signer has taken over the audit log in the database; this one writes nothing any more.",
      { signer: this.#right?.signer ?? "", epoch: this.#right?.epoch ?? 0 },
      { hint: "A restart waits until the other one ends." },
    );
    this.fail(error);
    throw this.#error ?? error;
  }

  async #make(path: string, directory: boolean, mode: number): Promise<number> {
    await this.#parent(path);
    const [row] = await this.ask(
      `with ${RIGHT}, f as (
         insert into file (path, folder, directory, mode) select $3, $4, $5, $6 from me returning id)
       select (select count(*) from me) as mine, (select id from f) as id`,
      [...this.#mine(path), path, parentOf(path), directory, mode],
    );
    this.#held(row);
    return Number(row!["id"]);
  }

  async #parent(path: string): Promise<void> {
    const folder = parentOf(path);
    if (folder === "/") return;
    const [row] = await this.ask("select directory from file where path = $1", [folder]);
    if (row?.["directory"] !== true) throw no(row === undefined ? "disk/missing" : "disk/wrong-kind", path);
  }

  async #emptied(path: string): Promise<void> {
    const [child] = await this.ask("select 1 from file where folder = $1 limit 1", [path]);
    if (child !== undefined) throw no("disk/not-empty", path);
  }

  /** In parts, so that the log writes in between. */
  async #replaceLarge(path: string, bytes: Uint8Array, mode: number): Promise<void> {
    const beside = `${path}.tmp`;
    const file = await this.open(beside, "write", mode);
    await file.truncate(0);
    for (let at = 0; at < bytes.length; at += MAX_CHUNK) {
      await file.write(at, bytes.subarray(at, at + MAX_CHUNK));
      await file.sync();
    }
    await file.close();
    await this.rename(beside, path);
  }
}

/** `for share`: whoever takes the right away waits for what is being written with it, and this sees what he wrote. */
const RIGHT = "me as (select 1 from writer where signer = $1 and epoch = $2 for share)";

class PostgresFile implements DiskFile {
  readonly path: string;
  readonly #files: PostgresFiles;
  readonly #id: number;
  #extents: readonly Extent[];
  #pending: readonly Piece[] = [];

  constructor(
    files: PostgresFiles,
    at: { readonly path: string; readonly id: number; readonly extents: readonly Extent[] },
  ) {
    this.#files = files;
    this.path = at.path;
    this.#id = at.id;
    this.#extents = at.extents;
  }

  async read(position: number, length: number): Promise<Uint8Array> {
    await this.sync();
    return this.#files.inTurn(async () => {
      const end = Math.min(position + length, endOf(this.#extents));
      const bytes = new Uint8Array(Math.max(0, end - position));
      const rows = await this.#files.ask(
        "select at, bytes from chunk where file = $1 and at < $3 and at + octet_length(bytes) > $2 order by at",
        [this.#id, position, end],
      );
      for (const row of rows) {
        const at = Number(row["at"]);
        const part = bytesOf(row).subarray(Math.max(0, position - at), end - at);
        bytes.set(part, Math.max(at, position) - position);
      }
      return bytes;
    });
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    this.#pending = appended(this.#pending, { at: position, bytes: bytes.slice() });
    this.#files.unsynced(this, true);
    if (this.#pending.reduce((sum, piece) => sum + piece.bytes.length, 0) > MAX_UNSYNCED) await this.sync();
  }

  async truncate(length: number): Promise<void> {
    if (length === 0) this.#pending = [];
    await this.sync();
    const size = endOf(this.#extents);
    if (length > size) {
      await this.write(length - 1, new Uint8Array(1));
      return this.sync();
    }
    if (length === size) return;
    await this.#files.transaction(this.path, async () => {
      await this.#files.ask("delete from chunk where file = $1 and at >= $2", [this.#id, length]);
      await this.#files.ask(
        "update chunk set bytes = substring(bytes from 1 for ($2 - at)::integer) where file = $1 and at + octet_length(bytes) > $2",
        [this.#id, length],
      );
    });
    this.#extents = this.#extents
      .filter(({ at }) => at < length)
      .map(({ at, length: was }) => ({ at, length: Math.min(was, length - at) }));
  }

  sync(): Promise<void> {
    if (this.#pending.length === 0) return Promise.resolve();
    return this.#files.inTurn(async () => {
      const pieces = this.#pending;
      this.#pending = [];
      this.#files.unsynced(this, false);
      for (const piece of pieces) await this.#write(piece);
    });
  }

  close(): Promise<void> {
    return this.sync();
  }

  async #write(piece: Piece): Promise<void> {
    const files = this.#files;
    const { gone, put, extents } = await changeFor(this.#extents, piece, async ({ at }) => {
      const [row] = await files.ask("select bytes from chunk where file = $1 and at = $2", [this.#id, at]);
      if (row === undefined) throw no("disk/io", this.path);
      return bytesOf(row);
    });
    if (gone.length === 0 && put.length === 1) await files.put(this.path, this.#id, put[0]!);
    else
      await files.together(this.path, async () => {
        for (const at of gone)
          await files.ask("delete from chunk where file = $1 and at = $2", [this.#id, at]);
        for (const each of put) await files.put(this.path, this.#id, each);
      });
    this.#extents = extents;
  }
}

const SENTENCES: { readonly [C in DiskErrorCode]: string } = {
  "disk/missing": "is not there",
  "disk/exists": "exists already",
  "disk/full": "cannot be written: the disk of the database is full",
  "disk/read-only": "is only read by this command",
  "disk/wrong-kind": "is of another kind than expected",
  "disk/not-empty": "is not empty",
  "disk/exposed": "could be changed by others",
  "disk/io": "could not be used",
};

function no(code: DiskErrorCode, path: string): DiskError {
  return new DiskError(code, `${path} in the database ${SENTENCES[code]}.`, { path });
}

function bytesOf(row: Row): Uint8Array {
  const bytes = row["bytes"] as Buffer;
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

function buffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
