// All records of the fleet inside one transaction, and what holds the tables that they are in.

import type { Kysely } from "kysely";
import type { FleetRecords, FleetStore } from "../fleet/store.ts";
import { deviceRecords } from "./_fleet-devices.ts";
import { stateRecords } from "./_fleet-state.ts";
import { trailRecords } from "./_fleet-trail.ts";
import type { Tables } from "./fleet-schema.ts";

/** The store below its records: tables, with the promises that `FleetStore` makes. */
export type FleetTables = Omit<FleetStore, "read" | "transaction"> & {
  read<T>(work: (tx: Kysely<Tables>) => Promise<T>): Promise<T>;
  transaction<T>(work: (tx: Kysely<Tables>) => Promise<T>): Promise<T>;
};

export function fleetRecords(tx: Kysely<Tables>): FleetRecords {
  return { ...deviceRecords(tx), ...stateRecords(tx), ...trailRecords(tx) };
}
