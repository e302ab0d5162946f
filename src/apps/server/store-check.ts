// Whether the fleet's records are those that the authorities in this folder belong to: lost ones are never begun anew without a word.

import { exists, statOrNull, type Disk } from "../../core/disk.ts";
import { FleetError } from "../../fleet/errors.ts";
import type { FleetStore } from "../../fleet/store.ts";
import { checkSqlite } from "../../io/database/sqlite.ts";
import { openFleetStore } from "../../io/fleet-store/store.ts";

/** Made at the first start, after the records. */
async function hasAuthorities(disk: Disk, folder: string): Promise<boolean> {
  return (await statOrNull(disk, `${folder}/tls/device-ca.key.json`)) !== null;
}

/**
 * `folder`: `server` of the data folder. Authorities have issued for devices whose records are in the file beside them.
 * Error: `fleet/store-missing`.
 */
export async function refuseLostStore(disk: Disk, folder: string): Promise<void> {
  const path = `${folder}/upkeep.sqlite`;
  if ((await statOrNull(disk, path)) !== null || !(await hasAuthorities(disk, folder))) return;
  throw lost(`The fleet's records (${path}) are gone, and this server's authorities are there`, path);
}

const BEGUN = "begun";

/**
 * Before anything is issued: records that begin together with the authorities are marked, and records that hold nothing, not even that
 * mark, are not those of the authorities that are there. `anew`: a person says that they begin now. Error: `fleet/store-missing`.
 */
export async function beginRecords(
  disk: Disk,
  folder: string,
  store: Pick<FleetStore, "read" | "transaction">,
  place: string,
  anew = false,
): Promise<void> {
  const used = await store.read(
    async (records) =>
      (await records.setting(BEGUN)) !== null ||
      (await records.lastAudit()) !== null ||
      (await records.devices({ limit: 1 })).length > 0,
  );
  if (used) return;
  if (anew || !(await hasAuthorities(disk, folder)))
    return store.transaction((records) => records.putSetting(BEGUN, "1"));
  throw lost(
    `The fleet's records in ${place} are new and empty, and this server's authorities are older`,
    place,
  );
}

/** The fleet's records, read whole where they are a file, and those that belong to this folder. Errors: `fleet/store-*`. */
export async function openRecords(
  options: {
    readonly disk: Disk;
    readonly store?: string | null;
    readonly env?: { readonly [name: string]: string | undefined };
    readonly beginEmpty?: boolean;
  },
  folder: string,
): Promise<FleetStore> {
  const { disk, env, store: address = null, beginEmpty = false } = options;
  const path = `${folder}/upkeep.sqlite`;
  if (address === null) {
    if (!beginEmpty) await refuseLostStore(disk, folder);
    if (await exists(disk, path)) checkSqlite(path);
  }
  const store = await openFleetStore(address ?? path, env);
  try {
    // Not the address, which may name a person.
    await beginRecords(disk, folder, store, address === null ? path : "the database", beginEmpty);
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

function lost(what: string, place: string): FleetError {
  return new FleetError(
    "fleet/store-missing",
    `${what}: devices that were enrolled would be strangers here. No new records were begun.`,
    { place },
    {
      hint: "Take in the last export: upkeep fleet import FILE. If no device was ever enrolled, or all are to be enrolled again: upkeep server --begin-empty.",
    },
  );
}
