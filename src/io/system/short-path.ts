// Paths that are too long for the address of a socket.

import { closeSync, openSync } from "node:fs";

/** sun_path holds 108 bytes on Linux and 104 elsewhere. */
const MAX_PATH = 100;

/** A folder deep down has a path that no socket address can hold; Linux knows it by a handle as well. */
export async function withShortPath<T>(
  folder: string,
  name: string,
  action: (path: string) => Promise<T>,
): Promise<T> {
  const path = `${folder}/${name}`;
  if (Buffer.byteLength(path) <= MAX_PATH) return action(path);
  const handle = openSync(folder, "r");
  try {
    return await action(`/proc/self/fd/${handle}/${name}`);
  } finally {
    closeSync(handle);
  }
}
