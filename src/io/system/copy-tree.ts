// Copies a tree of data with Node alone: owner, modes, times, hard links and holes; no pipes, sockets, devices, attributes or access lists.

import { constants } from "node:fs";
import { chmod, lchown, link, lutimes, mkdir, symlink, type FileHandle } from "node:fs/promises";
import { quoteName } from "../../core/raw-name.ts";
import type { DataEntry } from "../../slot/data-trees.ts";
import { SlotError } from "../../slot/errors.ts";
import { diskErrorOf } from "./disk.ts";
import { openPlain } from "./open-plain.ts";
import { systemPath } from "./raw-path.ts";

const PART = 256 * 1024;
/** Zeros of at least this length, at such a place, become a hole again. */
const BLOCK = 4096;
const WINDOWS = process.platform === "win32";

/** `entries` is the survey of `from`, the top first. Errors: `slot/data-not-kept`, `disk/*`. */
export async function copyByNode(
  from: string,
  to: string,
  entries: readonly DataEntry[],
  content: boolean,
): Promise<void> {
  const names = new Map<string, string>();
  for (const entry of entries) {
    const place = placeOf(to, entry.path);
    try {
      const first = entry.kind === "directory" ? undefined : names.get(entry.inode);
      if (first !== undefined) {
        await link(systemPath(first), systemPath(place));
        continue;
      }
      names.set(entry.inode, place);
      await make(entry, placeOf(from, entry.path), place, content);
      if (entry.kind !== "directory") await dress(entry, place);
    } catch (error) {
      throw diskErrorOf(place, error);
    }
  }
  // A folder's time is that of its last name, so folders are dressed when all their names are there.
  for (const entry of entries.toReversed())
    if (entry.kind === "directory") {
      const place = placeOf(to, entry.path);
      await dress(entry, place).catch((error: unknown) => {
        throw diskErrorOf(place, error);
      });
    }
}

async function make(entry: DataEntry, source: string, place: string, content: boolean): Promise<void> {
  switch (entry.kind) {
    case "directory":
      return void (await mkdir(systemPath(place), { mode: 0o700 }));
    case "link":
      return symlink(systemPath(entry.target!), systemPath(place));
    case "file":
      return copyFile(entry, source, place, content);
    default:
      throw new SlotError(
        "slot/data-not-kept",
        `${quoteName(source, 300)} is a ${entry.kind}, which cannot be made again on this system.`,
        { path: source, why: `it is a ${entry.kind}` },
        { hint: "Install the coreutils package, or keep pipes and sockets elsewhere." },
      );
  }
}

async function copyFile(entry: DataEntry, source: string, place: string, content: boolean): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  const [read, write] = [await openPlain(source, constants.O_RDONLY), await openPlain(place, flags, 0o600)];
  try {
    if (content) await pour(read, write, entry.allocated < entry.size);
  } finally {
    await read.close();
    await write.close();
  }
}

async function pour(read: FileHandle, write: FileHandle, holes: boolean): Promise<void> {
  const part = Buffer.alloc(PART);
  let at = 0;
  for (;;) {
    const { bytesRead } = await read.read(part, 0, PART, at);
    if (bytesRead === 0) break;
    const step = holes ? BLOCK : bytesRead;
    for (let start = 0; start < bytesRead; start += step) {
      const piece = part.subarray(start, Math.min(start + step, bytesRead));
      if (holes && piece.every((byte) => byte === 0)) continue;
      for (let put = 0; put < piece.length;)
        put += (await write.write(piece, put, piece.length - put, at + start + put)).bytesWritten;
    }
    at += bytesRead;
  }
  if (holes) await write.truncate(at);
}

/** Owner first: changing it takes set-user-id bits away. */
async function dress(entry: DataEntry, place: string): Promise<void> {
  const path = systemPath(place);
  if (!WINDOWS) await lchown(path, entry.owner, entry.group).catch(onlyForbidden);
  if (entry.kind !== "link") await chmod(path, entry.mode);
  const seconds = Number(entry.modified) / 1e9;
  await lutimes(path, seconds, seconds);
}

/** Who is not root gives nothing away; the comparison afterwards finds what came out otherwise. */
function onlyForbidden(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== "EPERM") throw error;
}

function placeOf(top: string, path: string): string {
  return path === "" ? top : `${top}/${path}`;
}
