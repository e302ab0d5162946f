// The fleet's store on a database: one query layer, in the words that SQLite and PostgreSQL share.

import { sql, type Kysely } from "kysely";
import { FleetError } from "../../fleet/errors.ts";
import type { FleetStore } from "../../fleet/store.ts";
import { fleetRecords, tellingRecords, type FleetTables } from "./_records.ts";
import { migrate, type Tables } from "./schema.ts";
import { isPostgres } from "../database/postgres-address.ts";
import { openSqlite } from "../database/sqlite.ts";

type Env = { readonly [name: string]: string | undefined };

/**
 * Opens the store at `place`, a file or an address `postgres://…` (see postgres-address.ts), and brings it to this program's form.
 * `env` is where the password of an address is looked up (see postgres-password.ts).
 * Errors: `fleet/store-*`, `fleet/bad-store-address`.
 */
export async function openFleetStore(place: string, env: Env = {}): Promise<FleetStore> {
  const tables = await openFleetTables(place, env);
  return {
    ...tables,
    read: (work) => tables.read((tx) => work(fleetRecords(tx))),
    transaction: (work) => tables.transaction((tx, tell) => work(tellingRecords(fleetRecords(tx), tell))),
  };
}

/** As `openFleetStore`, for what treats the tables as a whole. */
export async function openFleetTables(place: string, env: Env = {}): Promise<FleetTables> {
  // Whoever keeps the fleet in a file loads nothing of the other database.
  if (isPostgres(place)) return (await import("./postgres.ts")).openFleetPostgres(place, env);
  const { db, dataVersion, trouble, close } = openSqlite<Tables>(place);
  try {
    await db.transaction().execute((tx) => migrate(tx));
  } catch (error) {
    await close();
    throw error;
  }
  // Nothing is acknowledged that would be lost with a file that has no name any more.
  const present = (): void => {
    const found = trouble();
    if (found !== null) throw new FleetError("fleet/store-missing", `${found}.`, { path: place });
  };
  return {
    read: async (work) => (present(), read(db, work)),
    transaction: async (work) => (present(), db.transaction().execute((tx) => work(tx, () => undefined))),
    foreignChanges: dataVersion,
    reachable: () => trouble() === null,
    trouble,
    close,
  };
}

function read<T>(db: Kysely<Tables>, work: (tx: Kysely<Tables>) => Promise<T>): Promise<T> {
  return db.connection().execute(async (connection) => {
    // Not Kysely's transaction, which takes the writer's lock (see sqlite.ts); a reader sees the state as of its first query.
    await sql`begin deferred`.execute(connection);
    try {
      return await work(connection);
    } finally {
      await sql`commit`.execute(connection);
    }
  });
}
