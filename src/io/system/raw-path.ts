// Paths at the door of the operating system: text where it is UTF-8, bytes where it is not.

import { rawBytes, rawName } from "../../core/raw-name.ts";

/** Names are UTF-16 there, and Node passes them on as they are. */
const WINDOWS = process.platform === "win32";

/** What Node is given for a path of the Disk port. */
export function systemPath(path: string): string | Buffer {
  return WINDOWS || path.isWellFormed() ? path : Buffer.from(rawBytes(path));
}

/** What the Disk port gives for a name that Node read. */
export function portName(name: string | Buffer): string {
  return typeof name === "string" ? name : rawName(name);
}

/** How names have to be asked for, so that none is guessed at; on Windows they come as text all the same. */
export const AS_READ = { encoding: WINDOWS ? ("utf8" as "buffer") : "buffer" } as const;
