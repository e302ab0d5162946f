// Which trees a power cut may leave: every closed choice of unsynced names, times choices of unsynced content, bounded.

import {
  describeTree,
  durableFile,
  emptyDirectory,
  writeInto,
  type DirectoryNode,
  type FileNode,
  type MetadataChange,
  type Node,
} from "./_memory-tree.ts";

/** none: as last synced. all: as visible. head, tail: only the first or only the last half of the unsynced bytes arrived. */
type Kept = "none" | "all" | "head" | "tail";

/** At this many unsynced changes every closed subset is tried; above it prefixes, single ones and all but one. */
const EXHAUSTIVE = 6;

/** Distinct trees, least kept first, most kept last. */
export function crashTrees(
  root: DirectoryNode,
  pending: readonly MetadataChange[],
  limit: number,
): readonly DirectoryNode[] {
  const found = new Map<string, DirectoryNode>();
  for (const chosen of subsets(pending)) {
    const entries = namesAfter(root, pending, chosen);
    const dirty = dirtyFiles(root, entries);
    for (const kept of contents(dirty)) {
      const tree = build(root, entries, kept);
      const key = describeTree(tree).lines.join("\n");
      if (!found.has(key)) found.set(key, tree);
    }
  }
  const all = [...found.values()];
  if (all.length <= limit) return all;
  // Evenly spread, always with the first and the last: bounded and the same at every run.
  return Array.from({ length: limit }, (_, i) => all[Math.round((i * (all.length - 1)) / (limit - 1))]!);
}

function subsets(pending: readonly MetadataChange[]): readonly ReadonlySet<MetadataChange>[] {
  const closed = (chosen: Iterable<MetadataChange>): ReadonlySet<MetadataChange> => {
    const out = new Set<MetadataChange>();
    const take = (change: MetadataChange): void => {
      if (out.has(change) || !pending.includes(change)) return;
      for (const earlier of change.after) take(earlier);
      out.add(change);
    };
    for (const change of chosen) take(change);
    return out;
  };
  const n = pending.length;
  const out: ReadonlySet<MetadataChange>[] = [];
  if (n <= EXHAUSTIVE) {
    for (let mask = 0; mask < 2 ** n; mask++)
      out.push(closed(pending.filter((_, i) => (mask & (1 << i)) !== 0)));
    return out;
  }
  for (let i = 0; i < n; i++) out.push(closed(pending.slice(0, i)), closed([pending[i]!]));
  for (let i = 0; i < n; i++) {
    const lost = pending[i]!;
    out.push(new Set(pending.filter((change) => change !== lost && !dependsOn(change, lost))));
  }
  out.push(new Set(pending));
  return out;
}

function dependsOn(change: MetadataChange, on: MetadataChange): boolean {
  return change.after.some((earlier) => earlier === on || dependsOn(earlier, on));
}

type Names = ReadonlyMap<DirectoryNode, ReadonlyMap<string, Node>>;

function namesAfter(
  root: DirectoryNode,
  pending: readonly MetadataChange[],
  chosen: ReadonlySet<MetadataChange>,
): Names {
  const names = new Map<DirectoryNode, Map<string, Node>>();
  const of = (directory: DirectoryNode): Map<string, Node> => {
    let map = names.get(directory);
    if (map === undefined) names.set(directory, (map = new Map(directory.durable)));
    return map;
  };
  of(root);
  for (const change of pending) {
    if (!chosen.has(change)) continue;
    for (const { directory, name, node } of change.edits) {
      if (node === null) of(directory).delete(name);
      else of(directory).set(name, node);
    }
  }
  return names;
}

function dirtyFiles(root: DirectoryNode, names: Names): readonly FileNode[] {
  const out = new Set<FileNode>();
  const visit = (directory: DirectoryNode): void => {
    for (const node of (names.get(directory) ?? directory.durable).values()) {
      if (node.kind === "directory") visit(node);
      else if (node.kind === "file" && (node.writes.length > 0 || node.mode !== node.durableMode))
        out.add(node);
    }
  };
  visit(root);
  return [...out];
}

function contents(dirty: readonly FileNode[]): readonly ReadonlyMap<FileNode, Kept>[] {
  const same = (kept: Kept): Map<FileNode, Kept> => new Map(dirty.map((file) => [file, kept]));
  if (dirty.length === 0) return [new Map()];
  const out = [same("none")];
  for (const file of dirty.slice(0, 8)) {
    for (const kept of ["head", "tail"] as const) out.push(same("all").set(file, kept));
    if (dirty.length > 1) out.push(same("none").set(file, "all"), same("all").set(file, "none"));
  }
  out.push(same("all"));
  return out;
}

function build(directory: DirectoryNode, names: Names, kept: ReadonlyMap<FileNode, Kept>): DirectoryNode {
  const out = emptyDirectory(directory.durableMode);
  for (const [name, node] of names.get(directory) ?? directory.durable) {
    const made: Node =
      node.kind === "directory"
        ? build(node, names, kept)
        : node.kind === "file"
          ? survivor(node, kept.get(node) ?? "all")
          : node;
    out.entries.set(name, made);
    out.durable.set(name, made);
  }
  return out;
}

function survivor(file: FileNode, kept: Kept): FileNode {
  if (kept === "none") return durableFile(file.durable.slice(), file.durableMode);
  if (kept === "all") return durableFile(file.content.slice(), file.mode);
  let content: Uint8Array = file.durable.slice();
  for (const write of file.writes) {
    if ("length" in write) {
      const cut = new Uint8Array(write.length);
      cut.set(content.subarray(0, write.length));
      content = cut;
    } else {
      const half = write.bytes.length >> 1;
      content =
        kept === "head"
          ? writeInto(content, write.position, write.bytes.subarray(0, half))
          : writeInto(content, write.position + half, write.bytes.subarray(half));
    }
  }
  return durableFile(content, file.durableMode);
}
