// What the server that serves this data folder makes of its repository: by its own memory, without touching it.

import { statOrNull } from "../../../core/disk.ts";
import { UpkeepError } from "../../../core/errors.ts";
import { formatInstant } from "../../../core/instant.ts";
import { diskSource } from "../../../io/source/disk.ts";
import { mirrorAt, openRepository } from "../../../repository/client/client.ts";
import { diskStore, memoryStore, type MetadataStore } from "../../../repository/client/store.ts";
import type { Context } from "../../framework/context.ts";

export type ServerView = {
  readonly follows: boolean;
  /** The code of the refusal. */
  readonly code: string | null;
  readonly sentence: string;
  /** It takes the time for a later one than this clock says. */
  readonly clockBehind: boolean;
  /** No clock is right, to this server, that says an earlier time. */
  readonly remembered: string | null;
};

const LIMIT = 64 * 1024 * 1024;

/** Null where no server has run. Errors: `disk/*`. */
export async function serverView(context: Context): Promise<ServerView | null> {
  const { disk, data, clock, random } = context;
  const state = `${data}/server/tuf`;
  if ((await statOrNull(disk, state)) === null) return null;
  const store = await copied(diskStore(disk, state));
  const remembered = (await store.loadKnownTime())?.time ?? null;
  const known = remembered === null ? null : formatInstant(remembered);
  try {
    const client = openRepository({
      mirrors: [mirrorAt(diskSource(disk, `${data}/repository`))],
      store,
      clock,
      random,
      trustedRoot: await disk.read(`${data}/repository/metadata/1.root.json`, LIMIT),
    });
    const { clockSetBack, forgotten } = await client.refresh();
    const sentence = clockSetBack
      ? `the server of this folder follows, and takes the time for ${known!}, at which it looked before: either this clock is behind, or it was ahead then (upkeep repo forget-time)`
      : "the server of this folder follows";
    return {
      follows: true,
      code: null,
      sentence,
      clockBehind: clockSetBack,
      remembered: forgotten === null ? known : null,
    };
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    const sentence = `the server of this folder cannot follow, so devices get nothing of it: ${error.message}`;
    return { follows: false, code: error.code, sentence, clockBehind: false, remembered: known };
  }
}

/** Everything that binds the next refresh, in memory: nothing is learned for the server by looking. */
async function copied(from: MetadataStore): Promise<MetadataStore> {
  const copy = memoryStore();
  for (const role of ["root", "timestamp", "snapshot"]) {
    const bytes = await from.load(role, LIMIT);
    if (bytes !== null) await copy.save(role, bytes);
  }
  for (let version = 2; ; version++) {
    const bytes = await from.loadRoot(version, LIMIT);
    if (bytes === null) break;
    await copy.saveRoot(version, bytes);
  }
  const known = await from.loadKnownTime();
  if (known !== null) await copy.saveKnownTime(known);
  return copy;
}
