// All records of the fleet inside one transaction, and what holds the tables that they are in.

import type { Kysely } from "kysely";
import type { FleetRecords, FleetStore, StoreRecords } from "../../fleet/store.ts";
import { deviceRecords } from "./_devices.ts";
import { licenseRecords } from "./_licenses.ts";
import { messageRecords } from "./_messages.ts";
import { rolloutRecords } from "./_rollouts.ts";
import { stateRecords } from "./_state.ts";
import { trailRecords } from "./_trail.ts";
import type { Tables } from "./schema.ts";

/** The store below its records: tables, with the promises that `FleetStore` makes. */
export type FleetTables = Omit<FleetStore, "read" | "transaction"> & {
  read<T>(work: (tx: Kysely<Tables>) => Promise<T>): Promise<T>;
  /** `tell`: what is written is to be noticed by other processes (a database that shows each write by itself does not need it). */
  transaction<T>(work: (tx: Kysely<Tables>, tell: () => void) => Promise<T>): Promise<T>;
};

/**
 * What servers keep in memory of the fleet, or act upon. The rest is written all the time (sightings, reports, what was announced): if
 * that were news too, two servers would never stop answering each other.
 */
const NEWS = [
  "addDevice",
  "dropDevice",
  "putGroup",
  "dropGroup",
  "putDesired",
  "dropDesired",
  "putLabels",
  "putRollout",
  "putWake",
  "putMessageOrder",
  "addAudit",
] as const satisfies readonly (keyof FleetRecords)[];

/** The same records; calls `tell` when something is written that is news to other servers. */
export function tellingRecords(records: StoreRecords, tell: () => void): StoreRecords {
  const told = { ...records };
  for (const name of NEWS) {
    const act = records[name] as (...given: unknown[]) => Promise<never>;
    told[name] = (...given: unknown[]) => {
      tell();
      return act(...given);
    };
  }
  told.changeDevice = (id, patch) => {
    const { lastSequence: _sequence, lastReport: _report, ...news } = patch;
    if (Object.keys(news).length > 0) tell();
    return records.changeDevice(id, patch);
  };
  return told;
}

export function fleetRecords(tx: Kysely<Tables>): StoreRecords {
  return {
    ...deviceRecords(tx),
    ...rolloutRecords(tx),
    ...stateRecords(tx),
    ...trailRecords(tx),
    ...licenseRecords(tx),
    ...messageRecords(tx),
    ...trailRecords(tx),
  };
}
