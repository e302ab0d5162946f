// A file of any size as a stream, in constant memory.

import type { Disk } from "../core/disk.ts";

const PART = 256 * 1024;

/** The bytes of the file in parts of 256 KiB. Errors: `disk/*`. */
export async function* readFile(disk: Disk, path: string): AsyncGenerator<Uint8Array> {
  const file = await disk.open(path, "read");
  try {
    for (let at = 0; ;) {
      const part = await file.read(at, PART);
      if (part.length === 0) return;
      at += part.length;
      yield part;
    }
  } finally {
    await file.close();
  }
}
