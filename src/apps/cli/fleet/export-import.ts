// What `fleet export` and `fleet import` do.

import { resolve } from "node:path";
import { exportFleet, importFleet, type Dumped } from "../../../io/fleet-store/dump.ts";
import type { Call, Result } from "../../framework/command.ts";
import { fleetPlace } from "../records/open-store.ts";
import { actor } from "../records/open-store.ts";

export async function fleetExport(call: Call): Promise<Result> {
  const file = resolve(call.argument(0));
  return told(file, await exportFleet(await fleetPlace(call), call.context.terminal.env, file));
}

export async function fleetImport(call: Call): Promise<Result> {
  const file = resolve(call.argument(0));
  const by = { actor: actor(), now: call.context.clock.now() };
  return told(file, await importFleet(await fleetPlace(call, true), call.context.terminal.env, file, by));
}

function told(file: string, { rows, sha256, audit }: Dumped): Result {
  return {
    text: `${file}: ${rows} records, digest ${sha256}; the audit log holds together: ${audit?.sequence ?? 0} rows, last hash ${audit?.hash ?? "none"}.`,
    json: { file, rows, sha256, audit: { count: audit?.sequence ?? 0, hash: audit?.hash ?? null } },
  };
}
