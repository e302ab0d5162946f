// A signer's log in PostgreSQL: who may write it, how that right is held and lost, and what is said when the database is not there.

import { hostname } from "node:os";
import type { Clock } from "../../core/clock.ts";
import { DiskError, type FileStore } from "../../core/disk.ts";
import { sha256 } from "../../core/digest.ts";
import { toUtf8 } from "../../core/bytes.ts";
import { formatInstant, parseInstant, SECOND } from "../../core/instant.ts";
import { SigningError } from "../../signing/errors.ts";
import {
  openPostgres,
  postgresTarget,
  PostgresAddressError,
  type PostgresSession,
} from "../database/postgres.ts";
import type { PostgresProblem } from "../database/postgres-errors.ts";
import { PostgresFiles } from "./postgres-files.ts";
import { prepareSchema, refused, SCHEMA } from "./_signer-store-schema.ts";

/** How often one who waits asks for the lock, and one who has it shows that it lives. */
const ASK_EVERY = 500;
const PING_EVERY = 3 * SECOND;
/**
 * What the server is told about this session: one that says nothing for so long, or whose host does not answer, is ended, and its lock with
 * it. A stopped process or a broken line keeps nobody out for longer. Settings that an older server does not know are left out.
 */
const LIVELINESS: readonly (readonly [name: string, value: string])[] = [
  ["idle_session_timeout", "15s"],
  ["tcp_keepalives_idle", "5"],
  ["tcp_keepalives_interval", "3"],
  ["tcp_keepalives_count", "3"],
  ["tcp_user_timeout", "15s"],
];

export type StoreAddress = {
  /** As `[store] url` says it, without password. */
  readonly url: string;
  /** Absolute path of a file of PostgreSQL's own form (.pgpass), or none. */
  readonly passwordFile: string | null;
};

/** Who has the log now, as that one said of itself. */
export type Holder = { readonly holder: string; readonly since: string };

export type OpenedStore = {
  readonly files: FileStore;
  /** The log's folder in it. */
  readonly folder: string;
  close(): Promise<void>;
};

/** Where the log of this signer is in its database. */
export function folderInStore(signer: string): string {
  return `/${signer}`;
}

/**
 * The log as it is, for commands that only read; a signer may write meanwhile. Errors: `signing/store-unavailable`, `signing/store-refused`,
 * `disk/missing` where the database holds no log of this signer.
 */
export async function readStore(address: StoreAddress, signer: string): Promise<OpenedStore> {
  const session = await connect(address, signer);
  return closing(session, async () => {
    await session.query("set default_transaction_read_only = on");
    await prepareSchema(session, false);
    const files = new PostgresFiles(session, null);
    return { files, folder: folderInStore(signer), close: () => session.close() };
  });
}

/**
 * The log as its one writer. The right to write is an advisory lock of the very session that writes, and the number of the turn beside it
 * (`writer.epoch`), which every change names: whoever loses the connection has lost the right, and whoever is late writes nothing.
 * Waits while somebody else has it, if there is `waiting`, which hears of each holder; else refuses. `lost` hears once that the right is gone.
 * Errors: `signing/busy`, `signing/store-unavailable`, `signing/store-refused`.
 */
export async function writeStore(
  address: StoreAddress,
  given: {
    readonly signer: string;
    readonly clock: Clock;
    readonly waiting?: (holder: Holder) => void;
    readonly lost?: (error: Error) => void;
  },
): Promise<OpenedStore> {
  const { signer, clock } = given;
  const session = await connect(address, signer);
  return closing(session, async () => {
    await demandDurability(session);
    await prepareSchema(session, true);
    const lock = lockNumber(signer);
    let told = "";
    for (;;) {
      const [row] = await session.query("select pg_try_advisory_lock($1::bigint) as got", [lock]);
      if (row?.["got"] === true) break;
      const holder = await holderOf(session, signer);
      if (given.waiting === undefined)
        throw new SigningError(
          "signing/busy",
          `The audit log of ${signer} in the database is being written by ${holder.holder} since ${holder.since}.`,
          { ...holder },
          { hint: "Run this command where that signer runs, or stop it first." },
        );
      if (told !== `${holder.holder} ${holder.since}`) given.waiting(holder);
      told = `${holder.holder} ${holder.since}`;
      await clock.sleep(ASK_EVERY);
    }
    const [row] = await session.query(
      `insert into writer (signer, epoch, holder) values ($1, 1, $2)
       on conflict (signer) do update set epoch = writer.epoch + 1, holder = excluded.holder, since = now()
       returning epoch`,
      [signer, `${hostname()} (process ${process.pid})`],
    );
    let closed = false;
    const files = new PostgresFiles(session, { signer, epoch: Number(row!["epoch"]) }, (error) => {
      clearInterval(pings);
      if (!closed) given.lost?.(error);
    });
    const pings = setInterval(() => void files.ping().catch(() => undefined), PING_EVERY);
    session.onEnd(() => files.fail(gone(address)));
    return {
      files,
      folder: folderInStore(signer),
      close: async () => {
        closed = true;
        clearInterval(pings);
        // The server lets go of the lock when the session ends.
        await session.close();
      },
    };
  });
}

/** Errors: `signing/bad-config` is the caller's to make of this sentence; null if the address is good. */
export function wrongAddress(url: string): string | null {
  try {
    postgresTarget(url, {});
    return null;
  } catch (error) {
    if (error instanceof PostgresAddressError) return error.message;
    throw error;
  }
}

async function connect({ url, passwordFile }: StoreAddress, signer: string): Promise<PostgresSession> {
  const opened = openPostgres({
    ...postgresTarget(url, passwordFile === null ? {} : { PGPASSFILE: passwordFile }),
    schema: SCHEMA,
    name: `upkeep signer ${signer}`,
    connections: 1,
    refuse,
  });
  return opened.session();
}

async function closing<T>(session: PostgresSession, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    await session.close().catch(() => undefined);
    throw error;
  }
}

/** A database that forgets what it acknowledged is no place for a log. */
async function demandDurability(session: PostgresSession): Promise<void> {
  const [row] = await session.query(
    "select current_setting('fsync') as fsync, current_setting('full_page_writes') as pages",
  );
  for (const [name, value] of [
    ["fsync", row?.["fsync"]],
    ["full_page_writes", row?.["pages"]],
  ])
    if (value !== "on")
      throw refused(
        `The database server runs with ${String(name)} = ${String(value)}: it may forget what it acknowledged.`,
        `Set ${String(name)} = on at the database server.`,
      );
  await session.query(
    `select set_config(name, value, false) from unnest($1::text[], $2::text[]) as wanted(name, value)
     join pg_settings using (name)`,
    [LIVELINESS.map(([name]) => name), LIVELINESS.map(([, value]) => value)],
  );
}

async function holderOf(session: PostgresSession, signer: string): Promise<Holder> {
  const [row] = await session.query(
    `select holder, to_char(since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as since from writer where signer = $1`,
    [signer],
  );
  if (row === undefined) return { holder: "another process", since: "just now" };
  return {
    holder: String(row["holder"]),
    since: formatInstant(parseInstant(String(row["since"]))),
  };
}

/** The lock's number: 63 bits of the name's digest, so that signers with logs in one database do not meet. */
function lockNumber(signer: string): string {
  const digest = sha256(toUtf8(`upkeep-signer\n${signer}`));
  return String(new DataView(digest.buffer, digest.byteOffset).getBigInt64(0));
}

function gone({ url }: StoreAddress): SigningError {
  return new SigningError(
    "signing/store-unavailable",
    `The database ${url} lost the connection, and with it this signer the right to write its log.`,
    {},
    { hint: "Start the database server; a signer that was restarted takes its log up again." },
  );
}

function refuse({ kind, hint }: PostgresProblem, sentence: string, cause: unknown): Error {
  const more = { cause, ...(hint === undefined ? {} : { hint }) };
  switch (kind) {
    case "full":
      return new DiskError("disk/full", sentence, {}, more);
    case "corrupt":
      return new SigningError("signing/log-damaged", sentence, {}, more);
    case "denied":
    case "certificate":
    case "foreign":
      return new SigningError("signing/store-refused", sentence, {}, more);
    case "unavailable":
    case "conflict":
      return new SigningError("signing/store-unavailable", sentence, {}, more);
  }
}
