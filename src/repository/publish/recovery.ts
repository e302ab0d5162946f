// The repository put together again from what is still whole on disk, when timestamp or snapshot cannot be relied on.

import { readOrNull, type Disk } from "../../core/disk.ts";
import type { Draft } from "./draft.ts";
import { UpkeepError } from "../../core/errors.ts";
import {
  NO_EXTRA,
  SPEC_VERSION,
  type MetaFile,
  type Root,
  type Signed,
  type Snapshot,
  type Targets,
} from "../metadata.ts";
import { parseRoleFileName, roleFileName } from "./disk-names.ts";
import { parseTimestamp } from "../parse-metadata.ts";
import { topDelegator, type Published } from "./published.ts";
import { initialRoot, newTargets, nextRoot, type Delegator } from "../trusted-set.ts";
import { binNames } from "./hash-bins.ts";
import { PublisherError } from "./publisher-errors.ts";
import { signMetadata } from "./write-metadata.ts";

const LIMIT = 256 * 1024 * 1024;
/** Numbers from here on come from a fast-forward attack, not from publishing. */
export const FAR_VERSION = 1_000_000_000;

export type Recovered = {
  readonly published: Published;
  /** For each role the version that was chosen, and the versions passed over because they do not verify. */
  readonly chosen: readonly {
    readonly role: string;
    readonly version: number;
    readonly unusable: readonly number[];
  }[];
  /** Numbers of timestamp or snapshot begin anew: devices follow only if the online key is replaced in the same publication. */
  readonly numbersLost: boolean;
};

/**
 * Walks the root chain and takes for each role the highest version on disk that its delegator's keys signed. Nothing is
 * taken from timestamp and snapshot, which are made anew; after a fast-forward attack their numbers begin low again, which
 * devices accept when the online key is replaced at the same time. `atMost` names the last good version of a role whose key was stolen; `atLeast` the numbers that were published before, as far
 * as they are known: what is made anew goes above them, also when only an older copy is left.
 */
export async function recoverPublished(
  disk: Disk,
  folder: string,
  atMost: ReadonlyMap<string, number> = new Map(),
  atLeast: ReadonlyMap<string, number> = new Map(),
): Promise<Recovered> {
  const read = (file: string) => readOrNull(disk, `${folder}/metadata/${file}`, LIMIT);
  const roots: Signed<Root>[] = [];
  for (let version = 1; ; version++) {
    const bytes = await read(roleFileName("root", version));
    if (bytes === null) break;
    const before = roots.at(-1);
    roots.push(before === undefined ? initialRoot(bytes) : nextRoot(before, bytes));
  }
  const root = roots.at(-1);
  if (root === undefined) {
    throw new PublisherError("publisher/missing", `There is no root in ${folder}.`, { folder });
  }
  const versions = versionsOnDisk(await disk.list(`${folder}/metadata`));
  const files = new Map<string, Signed<Targets>>();
  const chosen: { role: string; version: number; unusable: readonly number[] }[] = [];
  const visit = async (role: string, delegator: Delegator): Promise<void> => {
    const unusable: number[] = [];
    for (const version of (versions.get(role) ?? []).toSorted((a, b) => b - a)) {
      if (version > (atMost.get(role) ?? Number.MAX_SAFE_INTEGER)) continue;
      const bytes = await read(roleFileName(role, version));
      const signed = bytes === null ? null : await tryTargets(role, version, delegator, bytes);
      if (signed === null) {
        unusable.push(version);
        continue;
      }
      files.set(role, signed);
      chosen.push({ role, version, unusable });
      const { delegations } = signed.signed;
      if (delegations === null) return;
      const { succinct, keys } = delegations;
      for (const child of delegations.roles) await visit(child.name, { keys, role: child });
      for (const bin of succinct === null ? [] : binNames(succinct))
        await visit(bin, { keys, role: succinct! });
      return;
    }
    throw new PublisherError(
      "publisher/inconsistent",
      `No version of the role ${role} on disk verifies.`,
      { role, unusable },
      { hint: "Restore metadata/ from a mirror or a backup, and run it again." },
    );
  };
  await visit("targets", topDelegator(root.signed, "targets"));

  const usable = (role: string): number =>
    Math.max(
      0,
      ...[...(versions.get(role) ?? []), atLeast.get(role) ?? 0].filter((version) => version < FAR_VERSION),
    );
  const meta = new Map<string, MetaFile>(
    [...files].map(([role, signed]) => [role, { version: signed.signed.version, extra: NO_EXTRA }]),
  );
  // Stand-ins without signatures: only their numbers are used, by what is published on top of them.
  const head = { specVersion: SPEC_VERSION, expires: 0, extra: NO_EXTRA } as const;
  const snapshotVersion = Math.max(1, usable("snapshot"));
  const snapshot = await signMetadata(
    { ...head, type: "snapshot", version: snapshotVersion, meta } as const,
    [],
  );
  const lastKnown = lastTimestamp(await read("timestamp.json"));
  const timestamp = await signMetadata(
    {
      ...head,
      type: "timestamp",
      version: Math.max(lastKnown ?? 1, usable("timestamp")),
      snapshot: { version: snapshotVersion, extra: NO_EXTRA },
    } as const,
    [],
  );
  const published: Published = {
    folder,
    roots,
    root,
    timestamp,
    snapshot,
    highest: (role) => usable(role),
    role: async (name) => files.get(name) ?? null,
  };
  const far = (versions.get("snapshot") ?? []).some((version) => version >= FAR_VERSION);
  const lost = lastKnown === null && !atLeast.has("timestamp");
  return { published, chosen, numbersLost: lost || far };
}

/**
 * Marks for signing what must be published again: roles whose later versions were passed over, because devices may have
 * seen their numbers, and `targets` if there is nothing else, so that snapshot and timestamp are made.
 */
export async function redoRecovered(
  draft: Draft,
  { published, chosen }: Recovered,
): Promise<readonly string[]> {
  const redone: string[] = [];
  for (const { role, version } of chosen) {
    if (published.highest(role) <= version) continue;
    await draft.touch(role);
    redone.push(role);
  }
  if (!draft.rootChanged && draft.changed.size === 0) {
    await draft.touch("targets");
    redone.push("targets");
  }
  return redone;
}

async function tryTargets(
  role: string,
  version: number,
  delegator: Delegator,
  bytes: Uint8Array,
): Promise<Signed<Targets> | null> {
  const meta = new Map<string, MetaFile>([[role, { version, extra: NO_EXTRA }]]);
  const listing = await signMetadata<Snapshot>(
    { type: "snapshot", specVersion: SPEC_VERSION, version: 1, expires: 0, meta, extra: NO_EXTRA },
    [],
  );
  try {
    return newTargets(listing, role, delegator, bytes, 0);
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

/** What the file says, verified or not, as long as it is not far away: the next number must be higher for devices that saw it. */
function lastTimestamp(bytes: Uint8Array | null): number | null {
  try {
    const version = bytes === null ? null : parseTimestamp(bytes).signed.version;
    return version === null || version >= FAR_VERSION ? null : version;
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

function versionsOnDisk(files: readonly string[]): ReadonlyMap<string, readonly number[]> {
  const out = new Map<string, number[]>();
  for (const file of files) {
    const parsed = parseRoleFileName(file);
    if (parsed !== null) out.set(parsed.role, [...(out.get(parsed.role) ?? []), parsed.version]);
  }
  return out;
}
