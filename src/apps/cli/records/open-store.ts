// Where the fleet's records are for a command: the database that --store names, or the file of the data folder.

import { userInfo } from "node:os";
import { makePrivateDirectory, statOrNull } from "../../../core/disk.ts";
import { FleetError } from "../../../fleet/errors.ts";
import type { FleetReads, FleetStore, StoreRecords } from "../../../fleet/store.ts";
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

/** What an operator's data folder has one of, at least. */
const TRACES = ["server", "repository", "keys"];

/**
 * An address, or the path of a file. `make`: also in a data folder that is not one yet. Errors: `cli/usage`, `fleet/no-data` when nothing
 * of an operator is in the folder, as when its name was mistyped; `disk/*`.
 */
export async function fleetPlace(call: Call, make = false): Promise<string> {
  const { context } = call;
  if (isShared(call)) return context.store!;
  const found = await Promise.all(TRACES.map((name) => statOrNull(context.disk, `${context.data}/${name}`)));
  if (!make && found.every((stat) => stat === null)) {
    throw new FleetError(
      "fleet/no-data",
      `There is no data of Upkeep in ${context.data}; nothing was made there.`,
      { data: context.data },
      {
        hint: "Name the operator's data folder with --data or UPKEEP_DATA, or begin one with `upkeep repo init`.",
      },
    );
  }
  const folder = `${context.data}/server`;
  await makePrivateDirectory(context.disk, folder);
  return `${folder}/upkeep.sqlite`;
}

/** The same for what works on records that are there: a store that was lost is not begun anew. Errors: also `fleet/store-missing`. */
async function livingPlace(call: Call, make: boolean): Promise<string> {
  const place = await fleetPlace(call, make);
  if (!isShared(call)) await refuseLostStore(call.context.disk, `${call.context.data}/server`);
  return place;
}

/** `make`: also in a data folder that is not one yet. */
export async function withStore<T>(
  call: Call,
  work: (store: FleetStore) => Promise<T>,
  make = false,
): Promise<T> {
  const store = await openFleetStore(await livingPlace(call, make), call.context.terminal.env);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** Changes the fleet's records in one transaction. `make` as in `withStore`. */
export function withFleet<T>(
  call: Call,
  work: (records: StoreRecords, now: number) => Promise<T>,
  make = false,
): Promise<T> {
  return withStore(
    call,
    (store) => store.transaction((records) => work(records, call.context.clock.now())),
    make,
  );
}

/** Reads without hindering the server. */
export function readFleet<T>(call: Call, work: (records: FleetReads, now: number) => Promise<T>): Promise<T> {
  return withStore(call, (store) => store.read((records) => work(records, call.context.clock.now())));
}

/**
 * Who types: the user of the system, and of one who became root by sudo the user before. The system's word, no proof: who is root may call
 * himself anything, and could write the records by hand as well.
 */
export function actor(): string {
  const before = process.env["SUDO_USER"] ?? "";
  if (process.getuid?.() === 0 && /^[A-Za-z0-9._-]{1,64}$/.test(before)) return `operator:${before}`;
  try {
    return `operator:${userInfo().username}`;
  } catch {
    return `operator:${process.getuid?.() ?? "unknown"}`;
  }
}
