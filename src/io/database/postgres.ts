// PostgreSQL under Kysely: a pool that connects honestly, waits for nothing without end, and says in a store's own codes what went wrong.

import { Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient } from "kysely";
import pg from "pg";
import { parsePostgresAddress, tlsOf, type PostgresAddress } from "./postgres-address.ts";
import { postgresProblem, type PostgresProblem } from "./postgres-errors.ts";
import { lookUpPassword, PasswordFileError } from "./postgres-password.ts";

/** Milliseconds to connect, or to wait for a free connection of the pool. */
const CONNECT = 5000;
/** Milliseconds that the server gives one statement, and a transaction in which nothing is asked. */
const STATEMENT = 15_000;
const IDLE_IN_TRANSACTION = 30_000;
/** Milliseconds after which a server that says nothing at all is given up. */
const SILENT = 20_000;
const FAREWELL = 2000;
/** https://www.postgresql.org/docs/current/catalog-pg-type.html */
const INT8 = 20;

export type PostgresOptions = {
  readonly address: PostgresAddress;
  /** Asked at each new connection, so that a password may be replaced while the program runs; null: none. May throw. */
  readonly password: () => string | null;
  /** The tables' own schema, so that one database may hold several stores; lower case letters and `_`. */
  readonly schema: string;
  /** Shown at the server among its sessions. */
  readonly name: string;
  /** Connections at most. */
  readonly connections: number;
  /** Makes an error of the store of a problem. `sentence` is whole. */
  readonly refuse: (problem: PostgresProblem, sentence: string, cause: unknown) => Error;
};

export type OpenedPostgres<Schema> = {
  readonly db: Kysely<Schema>;
  /** A connection of its own, for LISTEN and for locks that last a session; errors are told as those of `db`. */
  session(): Promise<PostgresSession>;
  /** An error of the database as one of the store; other errors as they are. */
  described(cause: unknown): unknown;
  /** Waits for what is under way. */
  close(): Promise<void>;
};

export type PostgresSession = {
  /** The process at the server, as `pg_notify` tells it. */
  readonly processId: number;
  query(
    text: string,
    values?: readonly unknown[],
  ): Promise<readonly { readonly [column: string]: unknown }[]>;
  onNotification(take: (channel: string, processId: number, payload: string) => void): void;
  /** Called once, when the connection is no more, for whatever reason. */
  onEnd(take: () => void): void;
  close(): Promise<void>;
};

/** A sentence's reason, for callers that have no codes of their own for a bad address. */
export class PostgresAddressError extends Error {
  override readonly name = "PostgresAddressError";
}

/** Parses an address and finds its password; nothing is connected. Error: `PostgresAddressError`, whose message repeats no secret. */
export function postgresTarget(
  text: string,
  env: { readonly [name: string]: string | undefined },
): Pick<PostgresOptions, "address" | "password"> {
  const address = parsePostgresAddress(text);
  if ("wrong" in address)
    throw new PostgresAddressError(`The address of the database is refused: ${address.wrong}.`);
  return { address, password: () => lookUpPassword(address, env) };
}

/** Nothing is connected before the first use. */
export function openPostgres<Schema>(options: PostgresOptions): OpenedPostgres<Schema> {
  if (!/^[a-z_]+$/.test(options.schema)) throw new TypeError("not a name for a schema");
  const described = (cause: unknown): unknown => describe(options, cause);
  const pool = new pg.Pool({
    ...connectionOf(options),
    max: options.connections,
    connectionTimeoutMillis: CONNECT,
    idleTimeoutMillis: 60_000,
    onConnect: (client) => prepare(client, options.schema),
  });
  // A connection that breaks while nobody asks anything is taken out of the pool; the next request finds out whether there is a server.
  pool.on("error", () => undefined);
  pool.on("connect", (client) => client.on("error", () => undefined));
  const db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool: telling(pool, described) }) });
  let closed: Promise<void> | null = null;
  return {
    db,
    session: () => openSession(options, described),
    described,
    close: () => (closed ??= bounded(pool.end())),
  };
}

function connectionOf(options: PostgresOptions): pg.ClientConfig {
  const { address } = options;
  return {
    host: address.host,
    port: address.port,
    user: address.user,
    database: address.database,
    ssl: fileErrors(options, () => tlsOf(address)),
    // A function always: the driver then looks for no password of its own.
    password: () => options.password() ?? "",
    application_name: options.name,
    client_encoding: "UTF8",
    connectionTimeoutMillis: CONNECT,
    statement_timeout: STATEMENT,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION,
    query_timeout: SILENT,
    keepAlive: true,
    keepAliveInitialDelayMillis: 10_000,
    types: { getTypeParser: parserOf },
  };
}

function fileErrors<T>(options: PostgresOptions, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const { code, path } = cause as { readonly code?: string; readonly path?: string };
    if (code === undefined || path === undefined) throw cause;
    const problem = {
      kind: "certificate",
      what: `cannot be reached: ${path} cannot be read (${code})`,
    } as const;
    throw options.refuse(problem, sentenceOf(options, problem.what), cause);
  }
}

const parserOf = ((oid: number, format?: "text" | "binary") =>
  oid === INT8
    ? wholeNumber
    : (pg.types.getTypeParser(oid, format as "text") as (
        text: string,
      ) => unknown)) as typeof pg.types.getTypeParser;

/** `bigint` as a number, as SQLite has it; none of ours is beyond what a number holds exactly. */
function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError("a number of the database is too large");
  return value;
}

/** What each session has to be told before its first use. */
async function prepare(client: pg.ClientBase, schema: string): Promise<void> {
  // What was acknowledged survives a power cut: never weaker than the disk, and as strong as the server's own setting.
  await client.query(
    `set search_path = ${schema};
     select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'`,
  );
}

async function openSession(
  options: PostgresOptions,
  described: (cause: unknown) => unknown,
): Promise<PostgresSession> {
  const client = new pg.Client({ ...connectionOf(options) });
  let ended = false;
  const watchers: (() => void)[] = [];
  const end = (): void => {
    if (ended) return;
    ended = true;
    for (const watcher of watchers) watcher();
  };
  client.on("error", end);
  client.on("end", end);
  try {
    await client.connect();
    await prepare(client, options.schema);
    const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
    return {
      processId: rows[0]!.pid,
      query: async (text, values = []) => {
        try {
          return (await client.query<{ [column: string]: unknown }>(text, [...values])).rows;
        } catch (cause) {
          throw described(cause);
        }
      },
      onNotification: (take) => {
        client.on("notification", ({ channel, processId, payload }) =>
          take(channel, processId, payload ?? ""),
        );
      },
      onEnd: (take) => void (ended ? take() : watchers.push(take)),
      close: () => bounded(client.end()),
    };
  } catch (cause) {
    void client.end().catch(() => undefined);
    throw described(cause);
  }
}

/** A server that is gone does not answer a farewell. */
function bounded(farewell: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, FAREWELL).unref();
    void (async () => {
      await farewell.catch(() => undefined);
      clearTimeout(timer);
      resolve();
    })();
  });
}

/** The pool as Kysely sees it: errors are the store's, and a connection whose state is unknown is not used again. */
function telling(pool: pg.Pool, described: (cause: unknown) => unknown): PostgresPool {
  return {
    connect: async () => {
      let client: pg.PoolClient;
      try {
        client = await pool.connect();
      } catch (cause) {
        throw described(cause);
      }
      let broken = false;
      return {
        query: async (text: string, values: readonly unknown[]) => {
          try {
            return await client.query(text, [...values]);
          } catch (cause) {
            // After anything but the server's own answer the connection may still owe one.
            broken ||= !(cause instanceof pg.DatabaseError) || cause.code?.startsWith("57P") === true;
            throw described(cause);
          }
        },
        release: (discard?: boolean) => client.release(broken || discard === true),
      } as unknown as PostgresPoolClient;
    },
    end: () => pool.end(),
  } as PostgresPool;
}

function describe(options: PostgresOptions, cause: unknown): unknown {
  if (cause instanceof PasswordFileError) {
    const problem = { kind: "denied", what: "gets no password", hint: cause.message } as const;
    return options.refuse(problem, sentenceOf(options, problem.what), cause);
  }
  // An address with several machines behind it fails with all their errors.
  const problem =
    postgresProblem(cause) ?? (cause instanceof AggregateError ? postgresProblem(cause.errors[0]) : null);
  if (problem === null) return cause;
  return options.refuse(problem, sentenceOf(options, problem.what), cause);
}

function sentenceOf({ address }: PostgresOptions, what: string): string {
  return `The database ${address.text} ${what}.`;
}
