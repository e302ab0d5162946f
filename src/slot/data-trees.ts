// The data of a component as a tree that somebody else made: what it holds, how it is copied, and what a copy fails to have.

import { quoteName } from "../core/raw-name.ts";

export type DataKind = "file" | "directory" | "link" | "pipe" | "socket" | "device";

/** One entry; everything about it that going back has to bring back, but for content, extended attributes and access lists. */
export type DataEntry = {
  /** Below the tree's top; empty for the top itself. */
  readonly path: string;
  readonly kind: DataKind;
  readonly size: number;
  /** Bytes that it takes on the disk: fewer than `size` where it has holes. */
  readonly allocated: number;
  readonly mode: number;
  readonly owner: number;
  readonly group: number;
  /** Nanoseconds. */
  readonly modified: bigint;
  /** Names with the same text are hard links of one file. */
  readonly inode: string;
  /** The volume it lies on. */
  readonly volume: string;
  /** Of a link: where it points. Of a device: its number. Else null. */
  readonly target: string | null;
};

/** How this system copies trees. Every path is one of the Disk port. */
export interface DataTrees {
  /** What a copy loses here without anybody noticing, in words; null if nothing is known to be lost. */
  readonly unseen: string | null;
  /** The top first, links not followed. What vanishes meanwhile is left out. Errors: `disk/*`. */
  survey(path: string): Promise<readonly DataEntry[]>;
  /** Makes `to`, which is not there, a copy; not durable yet. Errors: `slot/data-not-kept`, `disk/*`. */
  copy(from: string, to: string): Promise<void>;
  /** The same without the content of files, so that it shows at once what cannot be kept. Errors: as `copy`. */
  outline(from: string, to: string): Promise<void>;
  /** True if copying the file `from` into the folder `to` takes no room, since both share what is on the disk. */
  shares(from: string, to: string): Promise<boolean>;
}

/** Systems without finer times round them. */
const TICK = 1000n;

/** The first thing in which `copy` differs from `original`, in words; null if they are alike. */
export function differenceOf(
  original: readonly DataEntry[],
  copy: readonly DataEntry[],
  what: "all" | "outline",
): { readonly path: string; readonly why: string } | null {
  const found = new Map(copy.map((entry) => [entry.path, entry]));
  const [groups, groupsOfCopy] = [hardLinks(original), hardLinks(copy)];
  for (const entry of original) {
    const there = found.get(entry.path);
    const why = there === undefined ? "it was not copied" : fault(entry, there, what);
    if (why !== null) return { path: entry.path, why };
    if (groups.get(entry.path) !== groupsOfCopy.get(entry.path))
      return { path: entry.path, why: "its hard links were not kept" };
  }
  return null;
}

function fault(entry: DataEntry, there: DataEntry, what: "all" | "outline"): string | null {
  if (entry.kind !== there.kind) return `it is a ${entry.kind} and became a ${there.kind}`;
  if (entry.target !== there.target) return "it points elsewhere";
  if (entry.owner !== there.owner || entry.group !== there.group)
    return `its owner ${entry.owner}:${entry.group} became ${there.owner}:${there.group}`;
  if (entry.kind !== "link" && entry.mode !== there.mode)
    return `its mode ${entry.mode.toString(8)} became ${there.mode.toString(8)}`;
  if (what === "all" && entry.kind === "file" && entry.size !== there.size)
    return `its ${entry.size} bytes became ${there.size}`;
  const late =
    entry.modified > there.modified ? entry.modified - there.modified : there.modified - entry.modified;
  return late < TICK ? null : "its time was not kept";
}

/** By path: the first path of the same file. */
function hardLinks(entries: readonly DataEntry[]): ReadonlyMap<string, string> {
  const first = new Map<string, string>();
  const out = new Map<string, string>();
  for (const { path, inode, kind } of entries) {
    if (kind === "directory") continue;
    if (!first.has(inode)) first.set(inode, path);
    out.set(path, first.get(inode)!);
  }
  return out;
}

/** Entries of the first survey that the second saw unchanged: of a program that runs, only those can be held against a copy. */
export function unchanged(before: readonly DataEntry[], after: readonly DataEntry[]): readonly DataEntry[] {
  const later = new Map(after.map((entry) => [entry.path, entry]));
  return before.filter((entry) => {
    const there = later.get(entry.path);
    return (
      there !== undefined &&
      there.inode === entry.inode &&
      fault(entry, there, "all") === null &&
      entry.modified === there.modified
    );
  });
}

/** Bytes of files on the disk, each file once. */
export function bytesOf(entries: readonly DataEntry[]): number {
  const seen = new Set<string>();
  let bytes = 0;
  for (const { kind, inode, size, allocated } of entries) {
    if (kind !== "file" || seen.has(inode)) continue;
    seen.add(inode);
    bytes += Math.min(size, allocated);
  }
  return bytes;
}

/** Why a tree cannot be exchanged for a copy at all, null if it can. */
export function unmovable(
  entries: readonly DataEntry[],
  volume: string,
): { path: string; why: string } | null {
  const [top] = entries;
  if (top === undefined || top.kind !== "directory")
    return { path: "", why: "it is no folder, and what it leads to would be replaced by one" };
  const mounted = entries.find((entry) => entry.volume !== volume);
  if (mounted === undefined) return null;
  return { path: mounted.path, why: "another volume is mounted there" };
}

/** How a sentence names an entry. */
export function nameOfEntry(path: string): string {
  return path === "" ? "the data folder itself" : quoteName(path);
}
