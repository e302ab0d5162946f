// The fleet's store on PostgreSQL: writers one after the other, readers beside them, and servers that hear of each other's writes.

import { randomBytes } from "node:crypto";
import { sql, type Kysely } from "kysely";
import { FleetError, type FleetErrorCode } from "../../fleet/errors.ts";
import type { FleetTables } from "./_records.ts";
import { lastStep, migrate, NEWEST, type Tables } from "./schema.ts";
import { watchPostgres } from "../database/postgres-watch.ts";
import {
  openPostgres,
  postgresTarget,
  PostgresAddressError,
  type OpenedPostgres,
} from "../database/postgres.ts";
import type { PostgresKind } from "../database/postgres-errors.ts";

/** The tables' schema and the channel of notifications. */
const SCHEMA = "upkeep_fleet";
/** The writers' advisory lock: "upke" and a number of the schema's own. */
const LOCK = sql`pg_advisory_xact_lock(1970302821, 1)`;
const CONNECTIONS = 8;
/** How often a transaction that lost against another is run. */
const TRIES = 5;

const CODES: { readonly [K in PostgresKind]: FleetErrorCode } = {
  unavailable: "fleet/store-unavailable",
  conflict: "fleet/store-unavailable",
  full: "fleet/store-full",
  corrupt: "fleet/store-corrupt",
  denied: "fleet/store-denied",
  certificate: "fleet/store-certificate",
  foreign: "fleet/store-foreign",
};

/** Errors: `fleet/store-*`, `fleet/bad-store-address`. */
export async function openFleetPostgres(
  place: string,
  env: { readonly [name: string]: string | undefined },
): Promise<FleetTables> {
  const opened = openPostgres<Tables>({
    ...targetOf(place, env),
    schema: SCHEMA,
    name: "upkeep fleet",
    connections: CONNECTIONS,
    refuse: (problem, sentence, cause) =>
      new FleetError(
        CODES[problem.kind],
        sentence,
        { store: place, kind: problem.kind },
        { cause, ...(problem.hint === undefined ? {} : { hint: problem.hint }) },
      ),
  });
  try {
    await bringUp(opened, place);
    const own = randomBytes(12).toString("hex");
    const inTurn = queue();
    const watch = await watchPostgres(() => opened.session(), SCHEMA, own);
    return {
      read: (work) => inTransaction(opened, sql`begin isolation level repeatable read read only`, work),
      transaction: (work) => inTurn(() => write(opened, own, work)),
      foreignChanges: () => watch.changes(),
      reachable: () => watch.connected(),
      trouble: () => (watch.connected() ? null : "the database of the fleet's records cannot be reached"),
      close: async () => {
        await watch.close();
        await opened.close();
      },
    };
  } catch (error) {
    await opened.close();
    throw error;
  }
}

function targetOf(
  place: string,
  env: { readonly [name: string]: string | undefined },
): ReturnType<typeof postgresTarget> {
  try {
    return postgresTarget(place, env);
  } catch (cause) {
    if (!(cause instanceof PostgresAddressError)) throw cause;
    throw new FleetError(
      "fleet/bad-store-address",
      cause.message,
      {},
      {
        hint: "Write postgres://USER@HOST/DATABASE; the password belongs into the file that PGPASSFILE names, or ~/.pgpass.",
      },
    );
  }
}

/**
 * Writers hold one lock from their first statement to their end, so each sees all that was committed before and nobody else's writes
 * after: the audit chain has one end. What is committed is notified with the commit, never before.
 */
async function write<T>(
  opened: OpenedPostgres<Tables>,
  own: string,
  work: (tx: Kysely<Tables>, tell: () => void) => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await inTransaction(opened, sql`begin isolation level read committed`, async (tx) => {
        await sql`select ${LOCK}`.execute(tx);
        let news = false;
        const result = await work(tx, () => void (news = true));
        if (news) await sql`select pg_notify(${SCHEMA}, ${own})`.execute(tx);
        return result;
      });
    } catch (error) {
      const lost = error instanceof FleetError && error.facts["kind"] === "conflict";
      if (!lost || tries === TRIES) throw error;
    }
  }
}

/** Of this process's writers one at a time asks for the lock: those who wait for it hold no connection that a reader could use. */
function queue(): <T>(action: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (action) => {
    const next = last.then(action);
    last = next.catch(() => undefined);
    return next;
  };
}

async function inTransaction<T>(
  { db }: OpenedPostgres<Tables>,
  begin: ReturnType<typeof sql>,
  work: (tx: Kysely<Tables>) => Promise<T>,
): Promise<T> {
  return db.connection().execute(async (tx) => {
    await begin.execute(tx);
    let result: T;
    try {
      result = await work(tx);
    } catch (error) {
      // A connection on which even this fails is thrown away by the pool; the first error is the one that says why.
      await sql`rollback`.execute(tx).catch(() => undefined);
      throw error;
    }
    const [end] = (await sql<{ command?: string }>`commit`.execute(tx)).rows;
    // Where a statement failed and its error was swallowed, the server answers a commit with a rollback.
    if (end?.command === "ROLLBACK")
      throw new Error("a transaction was undone after an error that was not reported");
    return result;
  });
}

/** Makes or renews the tables; refuses what is not ours. */
async function bringUp(opened: OpenedPostgres<Tables>, place: string): Promise<void> {
  if ((await stateOf(opened.db, place)) === NEWEST) return;
  await write(opened, "migration", async (tx) => {
    // Asked again under the lock: of several servers that start at once, one makes the tables.
    const state = await stateOf(tx, place);
    if (state === NEWEST) return;
    // Not `if not exists`, which asks for the right to make schemas where there is one already.
    if (state === "no schema") await sql`create schema ${sql.id(SCHEMA)}`.execute(tx);
    // Ids and names are compared byte by byte, as SQLite does, whatever the database's language.
    await migrate(tx, sql`text collate "C"`);
  });
}

async function stateOf(db: Kysely<Tables>, place: string): Promise<number | "no schema" | "empty"> {
  const { rows } = await sql<{ schema: boolean; tables: number; steps: boolean }>`select
    exists (select 1 from pg_namespace where nspname = ${SCHEMA}) as schema,
    (select count(*) from pg_tables where schemaname = ${SCHEMA}) as tables,
    exists (select 1 from pg_tables where schemaname = ${SCHEMA} and tablename = 'schema_step') as steps`.execute(
    db,
  );
  const { schema, tables, steps } = rows[0]!;
  if (!schema) return "no schema";
  if (tables === 0) return "empty";
  if (steps) return lastStep(db);
  throw new FleetError(
    "fleet/store-foreign",
    `The database ${place} has a schema ${SCHEMA} whose tables are not Upkeep's; nothing was changed.`,
    { store: place, schema: SCHEMA },
    { hint: "Name another database." },
  );
}
