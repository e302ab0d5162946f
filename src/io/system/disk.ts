// The real disk behind the Disk port.

import { constants, type BigIntStats } from "node:fs";
import {
  chmod,
  lstat,
  mkdir,
  open,
  readdir,
  readlink,
  rename,
  rmdir,
  statfs,
  symlink,
  unlink,
  type FileHandle,
} from "node:fs/promises";
import { openPlain } from "./open-plain.ts";
import { AS_READ, portName, systemPath } from "./raw-path.ts";
import { UpkeepError } from "../../core/errors.ts";
import { showName } from "../../core/raw-name.ts";
import { DiskError, type Disk, type DiskErrorCode, type DiskFile, type FileStat } from "../../core/disk.ts";

const CODES: { readonly [system: string]: DiskErrorCode } = {
  ENOENT: "disk/missing",
  EEXIST: "disk/exists",
  ENOSPC: "disk/full",
  EDQUOT: "disk/full",
  EROFS: "disk/read-only",
  EACCES: "disk/read-only",
  EPERM: "disk/read-only",
  ENOTDIR: "disk/wrong-kind",
  EISDIR: "disk/wrong-kind",
  ELOOP: "disk/wrong-kind",
  ENOTEMPTY: "disk/not-empty",
};

/** What is short is neither the path nor its content. */
const SHORT: { readonly [system: string]: string } = {
  EMFILE: "This process has too many files open: raise its limit (ulimit -n, LimitNOFILE= of its unit).",
  ENFILE: "This machine has too many files open: see what holds them, or raise fs.file-max.",
};

const SENTENCES: { readonly [C in DiskErrorCode]: string } = {
  "disk/missing": "is not there",
  "disk/exists": "exists already",
  "disk/full": "cannot be written: the disk is full",
  "disk/read-only": "may not be changed or read by this user",
  "disk/wrong-kind": "is of another kind than expected",
  "disk/not-empty": "is not empty",
  "disk/exposed": "could be changed by others",
  "disk/io": "could not be used",
};

/** A link in the last place is `disk/wrong-kind`. */
const FLAGS = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR | constants.O_CREAT,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
} as const;
const WINDOWS = process.platform === "win32";

export const systemDisk: Disk = {
  stat: (path) => at(path, async () => describe(await lstat(systemPath(path), { bigint: true }))),
  list: (path) => at(path, async () => namesIn(path)),
  read: (path, limit) =>
    at(path, async () => {
      const handle = await openPlain(path, FLAGS.read);
      try {
        const size = (await handle.stat()).size;
        if (size > limit)
          throw new DiskError("disk/io", `${showName(path)} is larger than the allowed ${limit} bytes.`, {
            path,
            size,
            limit,
          });
        return new Uint8Array(await handle.readFile());
      } finally {
        await handle.close();
      }
    }),
  open: (path, how, mode = 0o644) =>
    at(path, async () => fileOf(path, await openPlain(path, FLAGS[how], mode))),
  rename: (from, to) =>
    at(to, () => (WINDOWS ? renameInTurn(from, to) : rename(systemPath(from), systemPath(to)))),
  link: (path, target) => at(path, () => symlink(systemPath(target), systemPath(path))),
  readLink: (path) => at(path, async () => portName(await readlink(systemPath(path), AS_READ))),
  makeDirectory: (path, mode = 0o755) => at(path, () => mkdir(systemPath(path), { mode })),
  removeFile: (path) => at(path, () => unlink(systemPath(path))),
  removeDirectory: (path) => at(path, () => rmdir(systemPath(path))),
  chmod: (path, mode) => at(path, () => chmod(systemPath(path), mode)),
  syncDirectory: (path) =>
    at(path, async () => {
      if (WINDOWS) return syncFolderOfWindows(path);
      const handle = await open(systemPath(path), constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    }),
  free: (path) =>
    at(path, async () => {
      const { bavail, bsize } = await statfs(systemPath(path));
      return bavail * bsize;
    }),
};

async function namesIn(path: string): Promise<readonly string[]> {
  return (await readdir(systemPath(path), AS_READ)).map(portName).sort();
}

/** Windows writes a folder to the disk only through a handle that may write, and not on every volume; where it refuses, names are as durable as its journal makes them. */
async function syncFolderOfWindows(path: string): Promise<void> {
  let handle: FileHandle | null = null;
  try {
    handle = await open(path, constants.O_RDWR);
    await handle.sync();
  } catch (error) {
    if (!["EPERM", "EACCES", "EISDIR", "EINVAL"].includes((error as NodeJS.ErrnoException).code ?? ""))
      throw error;
    // Refused for what it is, not because it is missing.
    await readdir(path);
  } finally {
    await handle?.close();
  }
}

const RENAME_WAITS = [10, 20, 50, 100, 200, 400, 800];

/** On Windows a file that a scanner or a reader has open for a moment cannot be replaced until it is let go. */
async function renameInTurn(from: string, to: string): Promise<void> {
  for (const wait of RENAME_WAITS) {
    try {
      return await rename(from, to);
    } catch (error) {
      if (!["EPERM", "EACCES", "EBUSY"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
  return rename(from, to);
}

function fileOf(path: string, handle: FileHandle): DiskFile {
  return {
    read: (position, length) =>
      at(path, async () => {
        const bytes = new Uint8Array(length);
        let got = 0;
        while (got < length) {
          const { bytesRead } = await handle.read(bytes, got, length - got, position + got);
          if (bytesRead === 0) break;
          got += bytesRead;
        }
        return bytes.subarray(0, got);
      }),
    write: (position, bytes) =>
      at(path, async () => {
        let put = 0;
        while (put < bytes.length) {
          const { bytesWritten } = await handle.write(bytes, put, bytes.length - put, position + put);
          put += bytesWritten;
        }
      }),
    truncate: (length) => at(path, () => handle.truncate(length)),
    sync: () => at(path, () => handle.sync()),
    close: () => at(path, () => handle.close()),
  };
}

function describe(stat: BigIntStats): FileStat {
  const kind = stat.isFile()
    ? "file"
    : stat.isDirectory()
      ? "directory"
      : stat.isSymbolicLink()
        ? "link"
        : "other";
  return {
    kind,
    size: Number(stat.size),
    mode: Number(stat.mode) & 0o7777,
    // With its fraction, as before: more than milliseconds tell two writes apart.
    mtimeMs: Number(stat.mtimeNs) / 1e6,
    changedMs: Number(stat.ctimeNs) / 1e6,
    stamp: `${stat.dev}:${stat.ino}:${stat.mtimeNs}:${stat.ctimeNs}`,
  };
}

async function at<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    throw diskErrorOf(path, cause);
  }
}

/** What the system said, as the port says it; an error of Upkeep stays what it is. */
export function diskErrorOf(path: string, cause: unknown): UpkeepError {
  if (cause instanceof UpkeepError) return cause;
  const system = (cause as NodeJS.ErrnoException).code ?? "unknown";
  const code = CODES[system] ?? "disk/io";
  return new DiskError(
    code,
    `${showName(path)} ${SENTENCES[code]} (${system}).`,
    { path, system },
    { cause, ...(SHORT[system] === undefined ? {} : { hint: SHORT[system] }) },
  );
}
