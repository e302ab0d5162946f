// The fleet's store on a database: one query layer, in the words that SQLite and PostgreSQL share.

import type { Kysely, Transaction } from "kysely";
import type { FleetRecords, FleetStore } from "../fleet/store.ts";
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
    transaction: (work) => transaction(db, work),
    foreignChanges: dataVersion,
    close,
  };
}

function transaction<T>(db: Kysely<Tables>, work: (records: FleetRecords) => Promise<T>): Promise<T> {
  return db.transaction().execute((tx) => work(recordsOf(tx)));
}

function recordsOf(tx: Transaction<Tables>): FleetRecords {
  return { ...deviceRecords(tx), ...stateRecords(tx), ...trailRecords(tx) };
}
