// A segment of the audit log line by line, and piece by piece: a backup needs no more memory than a line and a piece.

import type { Disk } from "../../core/disk.ts";
import { concat } from "../../core/bytes.ts";
import { MAX_ENTRY } from "../../signing/audit/entry.ts";
import { damaged } from "../../signing/audit/files.ts";

const PIECE = 256 * 1024;

type Files = Pick<Disk, "open">;

/** The first `length` bytes of a file, or all of them. Errors: `disk/*`. */
export async function* piecesOf(
  disk: Files,
  path: string,
  length = Number.POSITIVE_INFINITY,
): AsyncGenerator<Uint8Array> {
  const file = await disk.open(path, "read");
  try {
    for (let at = 0; at < length;) {
      const bytes = await file.read(at, Math.min(PIECE, length - at));
      if (bytes.length === 0) return;
      at += bytes.length;
      yield bytes;
    }
  } finally {
    await file.close();
  }
}

/** Complete lines, without their line break; `first` is the number of the first entry. Errors: `signing/log-damaged`, `disk/*`. */
export async function* linesIn(disk: Files, path: string, first: number): AsyncGenerator<Uint8Array> {
  let rest: Uint8Array = new Uint8Array(0);
  let n = first;
  for await (const piece of piecesOf(disk, path)) {
    const bytes = rest.length === 0 ? piece : concat([rest, piece]);
    let start = 0;
    for (let end; (end = bytes.indexOf(0x0a, start)) >= 0; start = end + 1, n++)
      yield bytes.subarray(start, end);
    rest = bytes.slice(start);
    if (rest.length > MAX_ENTRY) throw damaged(n, "it is longer than an entry may be");
  }
}
