// The disk as a port: the few calls a crash-safe program needs, and the two helpers built on them.

import { FAILED, REFUSED, TRANSIENT, UpkeepError, type Traits } from "./errors.ts";

/**
 * What a disk answers when it can't. Implementations map the system's codes:
 * ENOENT missing, EEXIST exists, ENOSPC/EDQUOT full, EROFS/EACCES/EPERM read-only, ENOTDIR/EISDIR/ELOOP wrong-kind, ENOTEMPTY not-empty, else io.
 */
export type DiskErrorCode =
  | "disk/missing"
  | "disk/exists"
  | "disk/full"
  | "disk/read-only"
  | "disk/wrong-kind"
  | "disk/not-empty"
  | "disk/exposed"
  | "disk/io";
export const DISK_ERRORS = {
  "disk/missing": FAILED,
  "disk/exists": FAILED,
  "disk/full": { ...TRANSIENT, hint: "Make room on the volume of this file, and run it again." },
  "disk/read-only": {
    ...TRANSIENT,
    hint: "Look at the permissions of the file and its folder, and at who runs this.",
  },
  "disk/wrong-kind": FAILED,
  "disk/not-empty": FAILED,
  "disk/exposed": REFUSED,
  "disk/io": TRANSIENT,
} satisfies Traits<DiskErrorCode>;

export class DiskError extends UpkeepError<DiskErrorCode> {
  protected override get traits(): Traits<DiskErrorCode> {
    return DISK_ERRORS;
  }
}

export type FileKind = "file" | "directory" | "link" | "other";

export type FileStat = {
  readonly kind: FileKind;
  readonly size: number;
  /** Permission bits, as in 0o755. */
  readonly mode: number;
  readonly mtimeMs: number;
  /** When content, mode or names of it were changed last, as the system has it: nobody sets this time by hand. */
  readonly changedMs: number;
  /** Device, inode, modification and change time: another text means that the file may be another. */
  readonly stamp: string;
};

/** An open file. Positions are explicit; there is no cursor. */
export interface DiskFile {
  read(position: number, length: number): Promise<Uint8Array>;
  write(position: number, bytes: Uint8Array): Promise<void>;
  truncate(length: number): Promise<void>;
  /** Returns only when the content would survive a power cut. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/**
 * What the audit log of a signer needs of the place where its files are: a folder of a disk, or rows of a database.
 * Paths are absolute, with `/`; on Windows they begin with a drive, and `\\` is as good. Nothing is durable until synced: file content by `DiskFile.sync`,
 * names (create, rename, unlink, link) by `syncDirectory` of the folder that holds them. An implementation may keep more than that.
 * Names are bytes on most systems: what is not UTF-8 is spelled as `rawName` says, in paths, lists and targets of links alike.
 * Every method throws `DiskError`.
 */
export interface FileStore {
  stat(path: string): Promise<Pick<FileStat, "kind" | "size" | "mode">>;
  /** Names only, sorted. */
  list(path: string): Promise<readonly string[]>;
  /** Whole content; refuses more than `limit` bytes with `disk/io`. */
  read(path: string, limit: number): Promise<Uint8Array>;
  /** `create` fails with `disk/exists` if the name is taken (also by a link); `write` creates or opens; `read` opens. */
  open(path: string, how: "read" | "write" | "create", mode?: number): Promise<DiskFile>;
  /** Replaces the target atomically if it exists. */
  rename(from: string, to: string): Promise<void>;
  makeDirectory(path: string, mode?: number): Promise<void>;
  removeFile(path: string): Promise<void>;
  removeDirectory(path: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  /** Where there is one: what `writeAtomic` does, in one step of its own. Most stores won't need it. */
  replace?(path: string, bytes: Uint8Array, mode: number): Promise<void>;
}

/** A disk as the system has it. */
export interface Disk extends FileStore {
  stat(path: string): Promise<FileStat>;
  /** Makes a symbolic link named `path`; fails if the name is taken. */
  link(path: string, target: string): Promise<void>;
  readLink(path: string): Promise<string>;
  chmod(path: string, mode: number): Promise<void>;
  /** Bytes free for this user on the volume that holds `path`. */
  free(path: string): Promise<number>;
}

export function parentOf(path: string): string {
  if (/^[A-Za-z]:[\\/]/.test(path)) {
    const last = Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"));
    return path.slice(0, Math.max(last, 3));
  }
  const at = path.lastIndexOf("/");
  return at <= 0 ? "/" : path.slice(0, at);
}

/** True if something by that name exists; links are not followed. */
export async function exists(disk: FileStore, path: string): Promise<boolean> {
  return (await statOrNull(disk, path)) !== null;
}

export async function statOrNull<S>(
  disk: { readonly stat: (path: string) => Promise<S> },
  path: string,
): Promise<S | null> {
  try {
    return await disk.stat(path);
  } catch (error) {
    if (error instanceof DiskError && error.code === "disk/missing") return null;
    throw error;
  }
}

export async function readOrNull(disk: FileStore, path: string, limit: number): Promise<Uint8Array | null> {
  try {
    return await disk.read(path, limit);
  } catch (error) {
    if (error instanceof DiskError && error.code === "disk/missing") return null;
    throw error;
  }
}

/** Makes the folder and its parents, each durable. */
export async function makeDirectories(disk: FileStore, path: string, mode = 0o755): Promise<void> {
  const found = await statOrNull(disk, path);
  if (found?.kind === "directory") return;
  if (path !== parentOf(path)) await makeDirectories(disk, parentOf(path), mode);
  try {
    await disk.makeDirectory(path, mode);
  } catch (error) {
    if (!(error instanceof DiskError && error.code === "disk/exists")) throw error;
    // A link to a folder is as good as one; anything else is not.
    await disk.list(path);
  }
  await disk.syncDirectory(parentOf(path));
}

/**
 * Makes a folder for keys and records, mode 0700. One that was there and is empty becomes as private as one that is made; one that holds
 * something is as its owner wants it. A volume that has no modes keeps what it has. Errors: `disk/*`.
 */
export async function makePrivateDirectory(disk: Disk, path: string): Promise<void> {
  const found = await statOrNull(disk, path);
  await makeDirectories(disk, path, 0o700);
  if (found?.kind !== "directory" || (found.mode & 0o077) === 0 || (await disk.list(path)).length > 0) return;
  try {
    await disk.chmod(path, found.mode & 0o700);
  } catch (error) {
    if (!(error instanceof DiskError && error.code === "disk/read-only")) throw error;
  }
}

/**
 * The file is the old or the new one at every instant, also across a power cut: write beside, sync, rename, sync the folder.
 * A leftover `.tmp` of an earlier crash is overwritten.
 */
export async function writeAtomic(
  disk: FileStore,
  path: string,
  bytes: Uint8Array,
  mode = 0o644,
): Promise<void> {
  if (disk.replace !== undefined) return disk.replace(path, bytes, mode);
  const beside = `${path}.tmp`;
  const file = await disk.open(beside, "write", mode);
  try {
    await file.truncate(0);
    await file.write(0, bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.rename(beside, path);
  await disk.syncDirectory(parentOf(path));
}

/** Removes a file, link or whole tree; a missing one is fine. Links are removed, never followed. */
export async function removeTree(disk: FileStore, path: string): Promise<void> {
  const found = await statOrNull(disk, path);
  if (found === null) return;
  if (found.kind !== "directory") return disk.removeFile(path);
  for (const name of await disk.list(path)) await removeTree(disk, `${path}/${name}`);
  await disk.removeDirectory(path);
}
