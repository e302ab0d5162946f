// Where the fleet's records are for a command: the database that --store names, or the file of the data folder.

import { userInfo } from "node:os";
import { makeDirectories } from "../../../core/disk.ts";
import type { FleetReads, FleetRecords, FleetStore } from "../../../fleet/store.ts";
import { openFleetStore } from "../../../io/fleet-store/store.ts";
import { refuseLostStore } from "../../server/store-check.ts";
import { isPostgres } from "../../../io/database/postgres-address.ts";
import type { Call } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";

/** Whether the records are in a database that other servers may share. Error: `cli/usage`. */
export function isShared(call: Call): boolean {
  const { store } = call.context;
  if (store === null) return false;
  if (isPostgres(store)) return true;
  throw usage(
    "--store takes the address of a PostgreSQL database, postgres://USER@HOST/DATABASE.",
    "Without it the fleet is kept in a file of the data folder.",
  );
}

/** An address, or the path of a file, whose folder is made. Errors: `cli/usage`, `disk/*`. */
export async function fleetPlace(call: Call): Promise<string> {
  const { context } = call;
  if (isShared(call)) return context.store!;
  const folder = `${context.data}/server`;
  await makeDirectories(context.disk, folder, 0o700);
  return `${folder}/upkeep.sqlite`;
}

/** The same for what works on records that are there: a store that was lost is not begun anew. Errors: also `fleet/store-missing`. */
async function livingPlace(call: Call): Promise<string> {
  const place = await fleetPlace(call);
  if (!isShared(call)) await refuseLostStore(call.context.disk, `${call.context.data}/server`);
  return place;
}

export async function withStore<T>(call: Call, work: (store: FleetStore) => Promise<T>): Promise<T> {
  const store = await openFleetStore(await livingPlace(call), call.context.terminal.env);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** Changes the fleet's records in one transaction. */
export function withFleet<T>(
  call: Call,
  work: (records: FleetRecords, now: number) => Promise<T>,
): Promise<T> {
  return withStore(call, (store) => store.transaction((records) => work(records, call.context.clock.now())));
}

/** Reads without hindering the server. */
export function readFleet<T>(call: Call, work: (records: FleetReads, now: number) => Promise<T>): Promise<T> {
  return withStore(call, (store) => store.read((records) => work(records, call.context.clock.now())));
}

/** Who types: the user of the system, as far as it tells. */
export function actor(): string {
  try {
    return `operator:${userInfo().username}`;
  } catch {
    return `operator:${process.getuid?.() ?? "unknown"}`;
  }
}
