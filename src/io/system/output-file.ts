// What components write: each run's output begins with nothing, is kept within a bound, and can be read in part.

import { open, rename, stat } from "node:fs/promises";

/** The log of the run before is kept as `<path>.1`, one only. */
export async function rotateLog(path: string): Promise<void> {
  await rename(path, `${path}.1`).catch((error: NodeJS.ErrnoException) => {
    // Nothing was written yet, or nothing can be: neither keeps a component from starting.
    if (error.code !== "ENOENT" && error.code !== "EROFS" && error.code !== "ENOSPC") throw error;
  });
}

/** Keeps a log file within its bound although its writer holds it open: the tail is copied aside (`<path>.2`), then the file is emptied. */
export async function boundLog(path: string, limit: number): Promise<void> {
  const log = await open(path, "r+").catch(() => null);
  if (log === null) return;
  try {
    const { size } = await log.stat();
    if (size <= limit) return;
    const tail = Buffer.alloc(Math.min(size, limit >> 1));
    await log.read(tail, 0, tail.length, size - tail.length);
    const beside = await open(`${path}.2`, "w", 0o640);
    try {
      await beside.write(tail);
    } finally {
      await beside.close();
    }
    // The writer appends (O_APPEND), so it goes on at the new end.
    await log.truncate(0);
  } finally {
    await log.close();
  }
}

/** The first bytes of a log from `from` on, or of all of it if it was emptied since; nothing if there is none. */
export function logHead(path: string, limit: number, from = 0): Promise<string> {
  return part(path, (size) => [from > size ? 0 : from, limit]);
}

/** The last bytes of a log, none from before `from`; nothing if there is none. */
export function logTail(path: string, limit: number, from = 0): Promise<string> {
  return part(path, (size) => [Math.max(from > size ? 0 : from, size - limit), limit]);
}

export async function logSize(path: string): Promise<number> {
  return (await stat(path).catch(() => null))?.size ?? 0;
}

async function part(path: string, place: (size: number) => readonly [number, number]): Promise<string> {
  const log = await open(path, "r").catch(() => null);
  if (log === null) return "";
  try {
    const { size } = await log.stat();
    const [at, limit] = place(size);
    const bytes = Buffer.alloc(Math.min(size - at, limit));
    const { bytesRead } = await log.read(bytes, 0, bytes.length, at);
    return bytes.toString("utf8", 0, bytesRead);
  } finally {
    await log.close();
  }
}
