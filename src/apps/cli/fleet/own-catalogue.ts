// What the repository of the data folder offers, for commands: read by the same verifying client that devices use.

import { readCatalogue, type ReadRepository } from "../../../fleet/catalogue.ts";
import type { Catalogue } from "../../../fleet/decide.ts";
import type { Desired } from "../../../fleet/records.ts";
import { diskSource } from "../../../io/source/disk.ts";
import { mirrorAt, openRepository } from "../../../repository/client/client.ts";
import { memoryStore } from "../../../repository/client/store.ts";
import type { Call } from "../../framework/command.ts";

type Wanted = readonly Pick<Desired, "product" | "channel" | "version">[];

/** Verified and refreshed; null when there is no repository here. Errors: `repository/*`, `disk/*`. */
export async function ownRepository(call: Call): Promise<ReadRepository | null> {
  const { context } = call;
  const folder = `${context.data}/repository`;
  const trustedRoot = await context.disk.read(`${folder}/metadata/1.root.json`, 512 * 1024).catch(() => null);
  if (trustedRoot === null) return null;
  const repository = openRepository({
    mirrors: [mirrorAt(diskSource(context.disk, folder))],
    store: memoryStore(),
    clock: context.clock,
    random: context.random,
    trustedRoot,
  });
  await repository.refresh();
  return repository;
}

/** Null when there is no repository here. Errors: as `ownRepository`. */
export async function ownCatalogue(call: Call, wanted: Wanted): Promise<Catalogue | null> {
  const repository = await ownRepository(call);
  // What it is called matters to nobody here, but that there is one does.
  return repository === null ? null : (await readCatalogue(repository, "0".repeat(64), wanted)).catalogue;
}
