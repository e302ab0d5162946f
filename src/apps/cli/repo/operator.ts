// The operator's side of a data folder: keys, publisher, and the fresh client that looks from outside.

import { readOrNull, writeAtomic, type Disk } from "../../../core/disk.ts";
import { parseJson } from "../../../core/json.ts";
import { checkSchema, z } from "../../../core/schema.ts";
import { stableJsonFile } from "../../../core/stable-json.ts";
import { diskSource } from "../../../io/source/disk.ts";
import { publisherLock } from "../../../io/system/publisher-lock.ts";
import type { KeyStore } from "../../../io/keys/key-store.ts";
import { RepositoryError } from "../../../repository/errors.ts";
import { mirrorAt, openRepository } from "../../../repository/client/client.ts";
import { Draft } from "../../../repository/publish/draft.ts";
import {
  openPublisher,
  type Publisher,
  type PublisherMemory,
} from "../../../repository/publish/publisher.ts";
import type { KeyRing } from "../../../repository/publish/quorum.ts";
import type { ReleaseTools } from "../../../repository/publish/release-publisher.ts";
import { memoryStore } from "../../../repository/client/store.ts";
import type { Call } from "../../framework/command.ts";
import type { Context } from "../../framework/context.ts";
import { auditOf } from "./audit-trail.ts";
import { keysOf } from "../key/keys.ts";

export type Operator = {
  readonly keys: KeyStore;
  readonly ring: KeyRing;
  readonly publisher: Publisher;
  readonly folder: string;
  readonly releases: ReleaseTools;
  /** What was published last from this data folder. */
  readonly memory: PublisherMemory;
  /** A draft to read from; never published. */
  look(): Promise<Draft>;
};

export function operatorOf(call: Call): Operator {
  const { context } = call;
  const keys = keysOf(call);
  const folder = `${context.data}/repository`;
  const ring: KeyRing = (wanted) => keys.signersFor(wanted);
  const { disk, clock } = context;
  const memory = memoryAt(`${context.data}/published.json`, disk);
  const publisher = openPublisher({
    disk,
    folder,
    clock,
    ring,
    lock: publisherLock(`${context.data}/repository.lock`, { disk, clock }),
    lookFromOutside: (path) => lookFromOutside(context, path),
    memory,
    audit: auditOf(call),
  });
  return {
    keys,
    ring,
    publisher,
    folder,
    memory,
    releases: { publisher, disk, folder, ring, now: () => clock.now() },
    look: async () => {
      const published = await publisher.read();
      return new Draft(published, published.root.signed);
    },
  };
}

const versionsSchema = z.array(z.strictObject({ role: z.string(), version: z.number().check(z.int()) }));

/** What was published from this data folder, beside the repository: a folder that was wound back is noticed. */
function memoryAt(path: string, disk: Disk): PublisherMemory {
  return {
    load: async () => {
      const bytes = await readOrNull(disk, path, 1 << 20);
      if (bytes === null) return null;
      const rows = checkSchema(versionsSchema, parseJson(bytes), `record of what was published (${path})`);
      return new Map(rows.map(({ role, version }) => [role, version]));
    },
    save: async (versions) => {
      const rows = [...versions].map(([role, version]) => ({ role, version }));
      await writeAtomic(disk, path, stableJsonFile(rows), 0o600);
    },
  };
}

/**
 * A client that has never seen the repository follows it from its first root. Expired metadata of roles that this
 * publication did not touch is for `repo status` to shout about; it does not make what was published wrong.
 */
export async function lookFromOutside(context: Context, folder: string): Promise<void> {
  const trustedRoot = await context.disk.read(`${folder}/metadata/1.root.json`, 1 << 20);
  const client = openRepository({
    mirrors: [mirrorAt(diskSource(context.disk, folder))],
    store: memoryStore(),
    clock: context.clock,
    random: context.random,
    trustedRoot,
  });
  try {
    await client.refresh();
  } catch (error) {
    if (error instanceof RepositoryError && error.code === "repository/expired") return;
    throw error;
  }
}
