// The repository as it stands on disk, read by the one who will publish on top of it: every signature checked, expiry ignored.

import { sha256Hex } from "../../core/digest.ts";
import { readOrNull, statOrNull, type Disk } from "../../core/disk.ts";
import { delegatesFor } from "../delegations.ts";
import { isBinOf } from "./hash-bins.ts";
import type { Root, Signed, Snapshot, TargetFile, Targets, Timestamp } from "../metadata.ts";
import { parseRoleFileName, roleFileName } from "./disk-names.ts";
import { PublisherError } from "./publisher-errors.ts";
import {
  initialRoot,
  isListedContent,
  newTargets,
  nextRoot,
  storedSnapshot,
  storedTimestamp,
  type Delegator,
} from "../trusted-set.ts";

/** Generous: a publisher reads what it wrote itself. */
const METADATA_LIMIT = 256 * 1024 * 1024;

export interface Published {
  readonly folder: string;
  /** Every root from 1 on. */
  readonly roots: readonly Signed<Root>[];
  readonly root: Signed<Root>;
  readonly timestamp: Signed<Timestamp>;
  readonly snapshot: Signed<Snapshot>;
  /** The highest version of a role's file on disk, published or left over from a crash: no number is used twice. */
  highest(role: string): number;
  /** A targets role as published, or null when the snapshot does not list it. Verified under its delegator. */
  role(name: string, delegator: Delegator): Promise<Signed<Targets> | null>;
}

/** SHA-256 of the first root: what a repository is called wherever it must be told apart from others. */
export function repositoryId(published: Published): string {
  return sha256Hex(published.roots[0]!.bytes);
}

/**
 * Any trace of a repository is a repository: what is only half there is made whole again, never made anew, because devices may hold its
 * first root. Targets of the list of trusted keys alone are those of a ceremony that has not ended.
 */
export async function hasRepository(disk: Disk, folder: string): Promise<boolean> {
  for (const name of await namesIn(disk, `${folder}/metadata`))
    if (name === "timestamp.json" || parseRoleFileName(name) !== null) return true;
  return (await namesIn(disk, `${folder}/targets`)).some((name) => name !== "trust");
}

async function namesIn(disk: Disk, folder: string): Promise<readonly string[]> {
  return (await statOrNull(disk, folder)) === null ? [] : disk.list(folder);
}

/** Why nothing is made in a folder that holds a repository, or what is left of one. */
export function existsAlready(folder: string): PublisherError {
  return new PublisherError(
    "publisher/exists",
    `There is a repository in ${folder} already, or what is left of one.`,
    { folder },
    {
      hint: "upkeep repo status shows it; upkeep repo recover makes it whole again if a part of it was lost. A new one has another root, which no device of this one would follow: it needs another data folder.",
    },
  );
}

/**
 * Reads and verifies root chain, timestamp and snapshot. Errors: `publisher/missing`, `publisher/inconsistent`
 * for anything that does not verify: nothing is signed on top of what somebody else may have changed.
 */
export async function readPublished(disk: Disk, folder: string): Promise<Published> {
  const read = async (file: string): Promise<Uint8Array | null> =>
    readOrNull(disk, `${folder}/metadata/${file}`, METADATA_LIMIT);
  const roots: Signed<Root>[] = [];
  for (let version = 1; ; version++) {
    const bytes = await read(roleFileName("root", version));
    if (bytes === null) break;
    const before = roots.at(-1);
    roots.push(
      await believing(`${version}.root.json`, () =>
        before === undefined ? initialRoot(bytes) : nextRoot(before, bytes),
      ),
    );
  }
  const root = roots.at(-1);
  const timestampBytes = await read("timestamp.json");
  if (root === undefined || timestampBytes === null) throw await lossOf(disk, folder, root === undefined);
  const timestamp = await believing("timestamp.json", () => storedTimestamp(root, timestampBytes));
  const listed = timestamp.signed.snapshot;
  const file = roleFileName("snapshot", listed.version);
  const snapshotBytes = await read(file);
  const snapshot = await believing(file, () => {
    if (snapshotBytes === null) throw missing(file);
    if (!isListedContent("snapshot", snapshotBytes, listed)) throw different(file);
    return storedSnapshot(root, snapshotBytes);
  });
  const highest = highestVersions(await disk.list(`${folder}/metadata`));
  const cache = new Map<string, Signed<Targets>>();
  return {
    folder,
    roots,
    root,
    timestamp,
    snapshot,
    highest: (role) => highest.get(role) ?? 0,
    role: async (name, delegator) => {
      const known = cache.get(name);
      if (known !== undefined) return known;
      const meta = snapshot.signed.meta.get(name);
      if (meta === undefined) return null;
      const path = roleFileName(name, meta.version);
      const bytes = await read(path);
      const role = await believing(path, () => {
        if (bytes === null) throw missing(path);
        // An instant at the beginning of time: expired metadata is still what the next version is made from.
        return newTargets(snapshot, name, delegator, bytes, 0);
      });
      cache.set(name, role);
      return role;
    },
  };
}

/** Says whether there is none or what was lost, and never advises to make a new one over an old one. */
async function lossOf(disk: Disk, folder: string, rootLost: boolean): Promise<PublisherError> {
  if (!(await hasRepository(disk, folder))) return noRepository(folder);
  const lost = rootLost ? "1.root.json" : "timestamp.json";
  return new PublisherError(
    "publisher/missing",
    `The repository in ${folder} has lost its ${lost}.`,
    { folder, lost },
    {
      hint: rootLost
        ? "Restore metadata/ from a mirror or a backup: nothing else can take the place of the first root."
        : "upkeep repo recover puts it together again from what is left.",
    },
  );
}

export function noRepository(folder: string): PublisherError {
  return new PublisherError(
    "publisher/missing",
    `There is no repository in ${folder}.`,
    { folder },
    { hint: "upkeep repo init makes one; upkeep --data names another data folder." },
  );
}

/** Where roles are looked up: what is published, or a draft on top of it. */
export interface RoleView {
  readonly root: Root;
  targets(name: string, delegator: Delegator): Promise<Targets | null>;
}

/**
 * Who vouches for a role, found by its name alone; null when nobody does. Roles of ours carry their parent's name in front,
 * so that one path is walked; for a repository that was taken over, every role is looked at.
 */
export async function findDelegator(view: RoleView, name: string): Promise<Delegator | null> {
  const visit = async (role: string, delegator: Delegator): Promise<Delegator | null> => {
    const delegations = (await view.targets(role, delegator))?.delegations ?? null;
    if (delegations === null) return null;
    const { succinct, keys } = delegations;
    if (succinct !== null) return isBinOf(succinct, name) ? { keys, role: succinct } : null;
    const child = delegations.roles.find((candidate) => candidate.name === name);
    if (child !== undefined) return { keys, role: child };
    const ours = delegations.roles.filter((parent) => name.startsWith(`${parent.name}.`));
    for (const parent of ours.length > 0 || name.startsWith("product.") ? ours : delegations.roles) {
      if (visited.has(parent.name)) continue;
      visited.add(parent.name);
      const found = await visit(parent.name, { keys, role: parent });
      if (found !== null) return found;
    }
    return null;
  };
  const visited = new Set<string>();
  const top = topDelegator(view.root, "targets");
  return name === "targets" ? top : visit("targets", top);
}

export type FoundTarget = { readonly role: string; readonly file: TargetFile };

/** TUF 5.6.7: the first role, in preorder, that lists the target. */
export async function findTarget(view: RoleView, name: string): Promise<FoundTarget | null> {
  const visit = async (role: string, delegator: Delegator): Promise<FoundTarget | "stop" | null> => {
    const targets = await view.targets(role, delegator);
    const file = targets?.targets.get(name);
    if (file !== undefined) return { role, file };
    const { delegations } = targets ?? { delegations: null };
    if (delegations === null) return null;
    for (const delegate of delegatesFor(delegations, name)) {
      const found = await visit(delegate.name, { keys: delegations.keys, role: delegate.role });
      if (found !== null) return found;
      if (delegate.terminating) return "stop";
    }
    return null;
  };
  const found = await visit("targets", topDelegator(view.root, "targets"));
  return found === "stop" ? null : found;
}

export function topDelegator(root: Root, role: "root" | "targets" | "snapshot" | "timestamp"): Delegator {
  return { keys: root.keys, role: root.roles[role] };
}

function highestVersions(files: readonly string[]): ReadonlyMap<string, number> {
  const highest = new Map<string, number>();
  for (const file of files) {
    const parsed = parseRoleFileName(file);
    if (parsed !== null) highest.set(parsed.role, Math.max(highest.get(parsed.role) ?? 0, parsed.version));
  }
  return highest;
}

async function believing<T>(file: string, read: () => T): Promise<T> {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof PublisherError) throw cause;
    throw new PublisherError(
      "publisher/inconsistent",
      `${file} of this repository does not verify: somebody changed the files, or a part of them was lost. Nothing is signed on top of it.`,
      { file },
      {
        cause,
        hint: "Restore metadata/ from a mirror or a backup; upkeep repo doctor says what else is wrong.",
      },
    );
  }
}

function missing(file: string): PublisherError {
  return new PublisherError(
    "publisher/inconsistent",
    `${file} is listed and not there: a part of the repository was lost.`,
    { file },
  );
}

function different(file: string): PublisherError {
  return new PublisherError(
    "publisher/inconsistent",
    `${file} is not the file that signed metadata lists: somebody changed it.`,
    { file },
  );
}
