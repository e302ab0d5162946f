// All records of the fleet inside one transaction.

import type { Kysely } from "kysely";
import type { FleetRecords } from "../fleet/store.ts";
import { deviceRecords } from "./_fleet-devices.ts";
import { stateRecords } from "./_fleet-state.ts";
import { trailRecords } from "./_fleet-trail.ts";
import type { Tables } from "./fleet-schema.ts";

export function fleetRecords(tx: Kysely<Tables>): FleetRecords {
  return { ...deviceRecords(tx), ...stateRecords(tx), ...trailRecords(tx) };
}
