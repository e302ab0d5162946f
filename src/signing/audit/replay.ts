// Reading the log again at a start: every entry in order, its place in the chain checked, nothing else.

import { fromUtf8, toHex } from "../../core/bytes.ts";
import type { FileStore } from "../../core/disk.ts";
import { leafOf, NO_ENTRY, type AuditEntry } from "./entry.ts";
import { damaged, readSegment, SEGMENT, segmentsOf, splitLines } from "./files.ts";

/** Calls `seen` for each of the first `size` entries, or for those from `from` on. Errors: `signing/log-damaged`. */
export async function replayLog(
  disk: FileStore,
  folder: string,
  size: number,
  seen: (entry: AuditEntry) => void,
  from: { readonly n: number; readonly prev: string } = { n: 0, prev: NO_ENTRY },
): Promise<void> {
  let { n, prev } = from;
  for (const first of await segmentsOf(disk, folder)) {
    if (first + SEGMENT <= n) continue;
    const { lines } = splitLines(await readSegment(disk, folder, first));
    for (const bytes of lines.slice(Math.max(0, n - first))) {
      if (n >= size) return;
      // The log wrote these lines in canonical form and opened them against its signed head; the full check is `audit verify`.
      const entry = JSON.parse(fromUtf8(bytes)) as AuditEntry;
      if (entry.n !== n || entry.prev !== prev) throw damaged(n, "it does not follow its predecessor");
      prev = toHex(leafOf(bytes));
      seen(entry);
      n++;
    }
  }
  if (n < size) throw damaged(n, "it is missing");
}
