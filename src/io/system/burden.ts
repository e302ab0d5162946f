// How much this machine has to do, and how much room its disk has.

import { statfs } from "node:fs/promises";
import { availableParallelism, loadavg } from "node:os";

/** Runnable processes for each core, over a minute, below which a machine has little to do. Windows has no such number, and says zero. */
const LITTLE = 0.5;

export function hasLittleToDo(): boolean {
  return loadavg()[0]! / availableParallelism() < LITTLE;
}

/** Null where the system does not say it. */
export async function spaceAt(
  folder: string,
): Promise<{ readonly free: number; readonly total: number } | null> {
  try {
    const { bavail, blocks, bsize } = await statfs(folder);
    return { free: bavail * bsize, total: blocks * bsize };
  } catch {
    return null;
  }
}
