// The fleet's store on a database: one query layer, in the words that SQLite and PostgreSQL share.

import { sql, type Kysely } from "kysely";
import type { FleetReads, FleetRecords, FleetStore } from "../fleet/store.ts";
import { deviceRecords } from "./_fleet-devices.ts";
import { stateRecords } from "./_fleet-state.ts";
import { trailRecords } from "./_fleet-trail.ts";
import { migrate, type Tables } from "./fleet-schema.ts";
import { openSqlite } from "./sqlite.ts";

/** Opens the store of one machine. Errors: `fleet/store-*`. */
export async function openFleetStore(path: string): Promise<FleetStore> {
  const { db, dataVersion, close } = openSqlite<Tables>(path);
  try {
    await migrate(db);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    read: (work) => read(db, work),
    transaction: (work) => transaction(db, work),
    foreignChanges: dataVersion,
    close,
  };
}

function read<T>(db: Kysely<Tables>, work: (records: FleetReads) => Promise<T>): Promise<T> {
  return db.connection().execute(async (connection) => {
    // Not Kysely's transaction, which takes the writer's lock (see sqlite.ts); a reader sees the state as of its first query.
    await sql`begin deferred`.execute(connection);
    try {
      return await work(recordsOf(connection));
    } finally {
      await sql`commit`.execute(connection);
    }
  });
}

function transaction<T>(db: Kysely<Tables>, work: (records: FleetRecords) => Promise<T>): Promise<T> {
  return db.transaction().execute((tx) => work(recordsOf(tx)));
}

function recordsOf(tx: Kysely<Tables>): FleetRecords {
  return { ...deviceRecords(tx), ...stateRecords(tx), ...trailRecords(tx) };
}
