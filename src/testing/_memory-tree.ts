// The inodes of the memory disk: what is visible now, and what is durable.

import { sha256Hex } from "../core/digest.ts";

export type Write = { readonly position: number; readonly bytes: Uint8Array } | { readonly length: number };

export type FileNode = {
  readonly kind: "file";
  mode: number;
  content: Uint8Array;
  /** Content and mode as of the last sync. */
  durable: Uint8Array;
  durableMode: number;
  /** Since the last sync, in order. */
  writes: Write[];
};

export type DirectoryNode = {
  readonly kind: "directory";
  mode: number;
  durableMode: number;
  readonly entries: Map<string, Node>;
  /** Names as of the last sync, and of changes that were synced through another folder. */
  readonly durable: Map<string, Node>;
};

export type LinkNode = { readonly kind: "link"; readonly target: string };

export type Node = FileNode | DirectoryNode | LinkNode;

/** One atomic change of names that is not durable yet. */
export type MetadataChange = {
  readonly edits: readonly {
    readonly directory: DirectoryNode;
    readonly name: string;
    readonly node: Node | null;
  }[];
  /** Earlier changes of the same names: a journal never keeps the later without the earlier. */
  readonly after: readonly MetadataChange[];
};

export function emptyDirectory(mode = 0o755): DirectoryNode {
  return { kind: "directory", mode, durableMode: mode, entries: new Map(), durable: new Map() };
}

export function durableFile(content: Uint8Array, mode: number): FileNode {
  return {
    kind: "file",
    mode,
    content,
    durable: content.slice(),
    durableMode: mode,
    writes: [],
  };
}

/** A tree with the same visible content, all of it durable. */
export function copyTree(root: DirectoryNode): DirectoryNode {
  const copy = emptyDirectory(root.mode);
  for (const [name, node] of root.entries) {
    const made: Node =
      node.kind === "directory"
        ? copyTree(node)
        : node.kind === "file"
          ? durableFile(node.content.slice(), node.mode)
          : node;
    copy.entries.set(name, made);
    copy.durable.set(name, made);
  }
  return copy;
}

/** Gaps are zeros, as on a real disk. */
export function writeInto(content: Uint8Array, position: number, bytes: Uint8Array): Uint8Array {
  const out =
    position + bytes.length > content.length ? new Uint8Array(position + bytes.length) : content.slice();
  if (out.length !== content.length) out.set(content);
  out.set(bytes, position);
  return out;
}

export function describeTree(root: DirectoryNode): { lines: string[]; bytes: number } {
  const lines: string[] = [];
  let bytes = 0;
  const visit = (node: Node, path: string): void => {
    if (node.kind === "link") lines.push(`${path} -> ${node.target}`);
    else if (node.kind === "file") {
      bytes += node.content.length;
      lines.push(`${path} ${node.mode.toString(8)} ${node.content.length} ${sha256Hex(node.content)}`);
    } else {
      if (path !== "") lines.push(`${path}/ ${node.mode.toString(8)}`);
      for (const name of [...node.entries.keys()].sort()) visit(node.entries.get(name)!, `${path}/${name}`);
    }
  };
  visit(root, "");
  return { lines, bytes };
}
