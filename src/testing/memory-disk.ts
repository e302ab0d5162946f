// A disk in memory that knows what a power cut would leave: crash points, crash states, and faults on demand.

import { sha256Hex } from "../core/digest.ts";
import { DiskError, type Disk, type DiskErrorCode, type DiskFile, type FileStat } from "../core/disk.ts";
import { rawBytes } from "../core/raw-name.ts";
import { crashTrees } from "./_crash-states.ts";
import {
  copyTree,
  describeTree,
  emptyDirectory,
  writeInto,
  type DirectoryNode,
  type FileNode,
  type MetadataChange,
  type Node,
} from "./_memory-tree.ts";

export type DiskOperationKind =
  | "stat"
  | "list"
  | "read"
  | "open"
  | "create"
  | "write"
  | "truncate"
  | "sync"
  | "rename"
  | "link"
  | "make-directory"
  | "remove"
  | "chmod"
  | "sync-directory";

/** `number` counts the operations that change something, from 0; reading ones carry the number of the next. */
export type DiskOperation = {
  readonly kind: DiskOperationKind;
  readonly path: string;
  readonly number: number;
};

/** The machine lost power. Not a `DiskError`: no code may handle it, as no code would run. */
export class PowerCut extends Error {}

export type MemoryDiskOptions = {
  /** Bytes that files may hold together; writing past it is `disk/full` after a part was written. */
  readonly capacity?: number;
};

const READING: ReadonlySet<DiskOperationKind> = new Set(["stat", "list", "read", "open"]);

/**
 * Implements the contract of `Disk` to the letter: file content and mode last only from `sync`, names only from
 * `syncDirectory`; until then a power cut may lose any of them, and keep any other.
 */
export class MemoryDisk implements Disk {
  #root: DirectoryNode;
  #pending: MetadataChange[] = [];
  #used = 0;
  #count = 0;
  #halted = false;
  /** What stands for inode and times: no copy of the disk has those of the original. */
  readonly #stamps = new WeakMap<Node, { readonly inode: number; readonly changes: number }>();
  #inodes = 0;
  capacity: number;
  /** Cuts power before the changing operation of this number takes effect. */
  crashAt: number | null = null;
  /** Called before each operation; a code returned is thrown instead of acting. */
  fault: ((operation: DiskOperation) => DiskErrorCode | undefined) | null = null;
  /** Told of each operation, for tests that count or watch. */
  watch: ((operation: DiskOperation) => void) | null = null;

  constructor(options: MemoryDiskOptions = {}, root: DirectoryNode = emptyDirectory()) {
    this.capacity = options.capacity ?? Number.MAX_SAFE_INTEGER;
    this.#root = root;
    this.#used = describeTree(root).bytes;
  }

  /** Changing operations so far. */
  get operations(): number {
    return this.#count;
  }

  /** True once power was cut. */
  get halted(): boolean {
    return this.#halted;
  }

  /** Another disk with the same content, all of it durable: what a process that was merely killed leaves. */
  clone(): MemoryDisk {
    return new MemoryDisk({ capacity: this.capacity }, copyTree(this.#root));
  }

  /** From now on every call throws `PowerCut`. */
  cutPower(): void {
    this.#halted = true;
  }

  /** What the disk may hold after a power cut now, each state once, at most `limit` of them; the first is the least kept, the last the most. */
  crashStates(limit = 64): readonly MemoryDisk[] {
    return crashTrees(this.#root, this.#pending, limit).map(
      (tree) => new MemoryDisk({ capacity: this.capacity }, tree),
    );
  }

  /** Every path with kind, mode and digest or target: two disks with equal descriptions are equal. */
  describe(): readonly string[] {
    return describeTree(this.#root).lines;
  }

  fingerprint(): string {
    return sha256Hex(new TextEncoder().encode(this.describe().join("\n")));
  }

  async stat(path: string): Promise<FileStat> {
    this.#enter("stat", path);
    const node = this.#find(path);
    return {
      kind: node.kind,
      size: node.kind === "file" ? node.content.length : 0,
      mode: node.kind === "link" ? 0o777 : node.mode,
      mtimeMs: 0,
      changedMs: 0,
      stamp: this.#stampOf(node),
    };
  }

  async list(path: string): Promise<readonly string[]> {
    this.#enter("list", path);
    return [...this.#directory(path).entries.keys()].sort();
  }

  async read(path: string, limit: number): Promise<Uint8Array> {
    this.#enter("read", path);
    const file = this.#file(path);
    if (file.content.length > limit) {
      throw new DiskError("disk/io", `${path} is larger than the allowed ${limit} bytes.`, {
        path,
        size: file.content.length,
        limit,
      });
    }
    return file.content.slice();
  }

  async open(path: string, how: "read" | "write" | "create", mode = 0o644): Promise<DiskFile> {
    if (how === "read") {
      this.#enter("open", path);
      return this.#handle(path, this.#file(path), false);
    }
    const { directory, name } = this.#parent(path);
    const found = directory.entries.get(name);
    if (found !== undefined) {
      this.#enter("open", path);
      if (how === "create") throw fail("disk/exists", path);
      if (found.kind !== "file") throw fail("disk/wrong-kind", path);
      return this.#handle(path, found, true);
    }
    this.#enter("create", path);
    const file: FileNode = {
      kind: "file",
      mode,
      content: new Uint8Array(0),
      durable: new Uint8Array(0),
      durableMode: mode,
      writes: [],
    };
    this.#change([{ directory, name, node: file }]);
    return this.#handle(path, file, true);
  }

  async rename(from: string, to: string): Promise<void> {
    this.#enter("rename", to);
    const source = this.#parent(from);
    const target = this.#parent(to);
    const node = source.directory.entries.get(source.name);
    if (node === undefined) throw fail("disk/missing", from);
    const replaced = target.directory.entries.get(target.name);
    if (replaced === node) return;
    if (replaced !== undefined) {
      if ((replaced.kind === "directory") !== (node.kind === "directory")) throw fail("disk/wrong-kind", to);
      if (replaced.kind === "directory" && replaced.entries.size > 0) throw fail("disk/not-empty", to);
    }
    this.#release(replaced);
    this.#change([
      { directory: source.directory, name: source.name, node: null },
      { directory: target.directory, name: target.name, node },
    ]);
  }

  async link(path: string, target: string): Promise<void> {
    this.#enter("link", path);
    this.#add(path, { kind: "link", target });
  }

  async readLink(path: string): Promise<string> {
    this.#enter("stat", path);
    const node = this.#find(path);
    if (node.kind !== "link") throw fail("disk/wrong-kind", path);
    return node.target;
  }

  async makeDirectory(path: string, mode = 0o755): Promise<void> {
    this.#enter("make-directory", path);
    this.#add(path, emptyDirectory(mode));
  }

  async removeFile(path: string): Promise<void> {
    this.#enter("remove", path);
    const { directory, name } = this.#parent(path);
    const node = directory.entries.get(name);
    if (node === undefined) throw fail("disk/missing", path);
    if (node.kind === "directory") throw fail("disk/wrong-kind", path);
    this.#release(node);
    this.#change([{ directory, name, node: null }]);
  }

  async removeDirectory(path: string): Promise<void> {
    this.#enter("remove", path);
    const { directory, name } = this.#parent(path);
    const node = directory.entries.get(name);
    if (node === undefined) throw fail("disk/missing", path);
    if (node.kind !== "directory") throw fail("disk/wrong-kind", path);
    if (node.entries.size > 0) throw fail("disk/not-empty", path);
    this.#change([{ directory, name, node: null }]);
  }

  async chmod(path: string, mode: number): Promise<void> {
    this.#enter("chmod", path);
    const node = this.#find(path);
    if (node.kind === "link") throw fail("disk/wrong-kind", path);
    node.mode = mode;
    this.#touch(node);
  }

  async syncDirectory(path: string): Promise<void> {
    this.#enter("sync-directory", path);
    const directory = this.#directory(path);
    directory.durableMode = directory.mode;
    // A rename is one journalled change: syncing either folder keeps both halves, and what they depend on.
    const keep = new Set<MetadataChange>();
    const take = (change: MetadataChange): void => {
      if (keep.has(change)) return;
      keep.add(change);
      for (const earlier of change.after) take(earlier);
    };
    for (const change of this.#pending) {
      if (change.edits.some((edit) => edit.directory === directory)) take(change);
    }
    for (const change of this.#pending) {
      if (!keep.has(change)) continue;
      for (const { directory: where, name, node } of change.edits) {
        if (node === null) where.durable.delete(name);
        else where.durable.set(name, node);
      }
    }
    this.#pending = this.#pending.filter((change) => !keep.has(change));
  }

  async free(path: string): Promise<number> {
    this.#enter("stat", path);
    return Math.max(0, this.capacity - this.#used);
  }

  /** Edits a file behind the program's back, durably: somebody else, or (`unseen`: no time of the file changes) bit rot. */
  tamper(path: string, edit: (bytes: Uint8Array) => Uint8Array, how: "seen" | "unseen" = "seen"): void {
    const file = this.#file(path);
    if (how === "seen") this.#touch(file);
    file.content = edit(file.content.slice());
    file.durable = file.content.slice();
    file.writes = [];
  }

  #handle(path: string, file: FileNode, writable: boolean): DiskFile {
    const demand = (): void => {
      if (!writable) throw fail("disk/read-only", path);
    };
    return {
      read: async (position, length) => {
        this.#enter("read", path);
        return file.content.slice(position, position + length);
      },
      write: async (position, bytes) => {
        demand();
        this.#enter("write", path);
        const growth = Math.max(0, position + bytes.length - file.content.length);
        const room = this.capacity - this.#used;
        const fits =
          growth === 0 || growth <= room
            ? bytes
            : bytes.subarray(0, Math.max(0, bytes.length - (growth - room)));
        this.#used += Math.max(0, position + fits.length - file.content.length);
        file.content = writeInto(file.content, position, fits);
        this.#touch(file);
        file.writes.push({ position, bytes: fits.slice() });
        if (fits.length < bytes.length) throw fail("disk/full", path);
      },
      truncate: async (length) => {
        demand();
        this.#enter("truncate", path);
        this.#used += length - file.content.length;
        const content = new Uint8Array(length);
        content.set(file.content.subarray(0, length));
        file.content = content;
        file.writes.push({ length });
        this.#touch(file);
      },
      sync: async () => {
        this.#enter("sync", path);
        file.durable = file.content.slice();
        file.durableMode = file.mode;
        file.writes = [];
      },
      close: async () => {
        if (this.#halted) throw new PowerCut("the power is cut");
      },
    };
  }

  /** Counts, cuts power, injects faults: the one gate of every call. */
  #enter(kind: DiskOperationKind, path: string): void {
    if (this.#halted) throw new PowerCut("the power is cut");
    const operation = { kind, path, number: this.#count };
    if (!READING.has(kind)) {
      if (this.crashAt === this.#count) {
        this.#halted = true;
        throw new PowerCut(`power cut before operation ${this.#count}: ${kind} ${path}`);
      }
      this.#count++;
    }
    this.watch?.(operation);
    const code = this.fault?.(operation);
    if (code !== undefined) throw fail(code, path);
  }

  #add(path: string, node: Node): void {
    const { directory, name } = this.#parent(path);
    if (directory.entries.has(name)) throw fail("disk/exists", path);
    this.#change([{ directory, name, node }]);
  }

  #change(edits: MetadataChange["edits"]): void {
    const after = this.#pending.filter((earlier) =>
      earlier.edits.some((a) => edits.some((b) => a.directory === b.directory && a.name === b.name)),
    );
    for (const { directory, name, node } of edits) {
      if (node === null) directory.entries.delete(name);
      else directory.entries.set(name, node);
    }
    this.#pending.push({ edits, after });
  }

  #stampOf(node: Node): string {
    const found = this.#stamps.get(node) ?? { inode: ++this.#inodes, changes: 0 };
    this.#stamps.set(node, found);
    return `0:${found.inode}:${found.changes}:${found.changes}`;
  }

  #touch(node: Node): void {
    const { inode, changes } = this.#stamps.get(node) ?? { inode: ++this.#inodes, changes: 0 };
    this.#stamps.set(node, { inode, changes: changes + 1 });
  }

  #release(node: Node | undefined): void {
    if (node?.kind === "file") this.#used -= node.content.length;
  }

  #find(path: string): Node {
    if (path === "/") return this.#root;
    const { directory, name } = this.#parent(path);
    const node = directory.entries.get(name);
    if (node === undefined) throw fail("disk/missing", path);
    return node;
  }

  #file(path: string): FileNode {
    const node = this.#find(path);
    if (node.kind !== "file") throw fail("disk/wrong-kind", path);
    return node;
  }

  #directory(path: string): DirectoryNode {
    return this.#walk(path.split("/").filter(Boolean), path, 0);
  }

  #parent(path: string): { directory: DirectoryNode; name: string } {
    const parts = path.split("/").filter(Boolean);
    const name = parts.pop();
    if (!path.startsWith("/") || name === undefined || name === "." || name === "..") {
      throw fail("disk/wrong-kind", path);
    }
    if (rawBytes(name).length > 255 || name.includes("\0")) throw fail("disk/io", path);
    return { directory: this.#walk(parts, path, 0), name };
  }

  /** Follows links in every place, as a kernel does for the folders of a path. */
  #walk(parts: readonly string[], path: string, depth: number): DirectoryNode {
    if (depth > 40) throw fail("disk/wrong-kind", path);
    const trail: DirectoryNode[] = [this.#root];
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i]!;
      if (part === ".") continue;
      if (part === "..") {
        if (trail.length > 1) trail.pop();
        continue;
      }
      const node = trail.at(-1)!.entries.get(part);
      if (node === undefined) throw fail("disk/missing", path);
      if (node.kind === "file") throw fail("disk/wrong-kind", path);
      if (node.kind === "link") {
        const before = node.target.startsWith("/") ? [] : parts.slice(0, i);
        const rest = [...before, ...node.target.split("/").filter(Boolean), ...parts.slice(i + 1)];
        return this.#walk(rest, path, depth + 1);
      }
      trail.push(node);
    }
    return trail.at(-1)!;
  }
}

function fail(code: DiskErrorCode, path: string): DiskError {
  return new DiskError(code, `${path}: ${code} (memory).`, { path, system: "memory" });
}
