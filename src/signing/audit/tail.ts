// The end of a log as a start finds it: the last segment, judged against the head that was signed.

import { toHex } from "../../core/bytes.ts";
import { readOrNull, type FileStore } from "../../core/disk.ts";
import { leafOf, parseEntry } from "./entry.ts";
import {
  damaged,
  type Head,
  leafBefore,
  MAX_SEGMENT_BYTES,
  readHead,
  segmentPath,
  segmentsOf,
  splitLines,
} from "./files.ts";
import type { NoteKey } from "./note.ts";

export type Tail = {
  /** The newest checkpoint that was signed, if there was one. */
  readonly head: Head | null;
  /** Number of the last segment's first entry. */
  readonly first: number;
  /** Whole entries of the last segment, in order. */
  readonly kept: readonly Uint8Array[];
  /** Leaf hash of the last of them. */
  readonly prev: string;
  /** Where they end in the segment's file, and how many bytes follow that are to be cut off. */
  readonly offset: number;
  readonly dropped: number;
};

/** Errors: `signing/log-damaged` when entries that were acknowledged are missing or changed. */
export async function readTail(disk: FileStore, folder: string, key: NoteKey): Promise<Tail> {
  const head = await readHead(disk, folder, key);
  const first = (await segmentsOf(disk, folder)).at(-1) ?? 0;
  const bytes = (await readOrNull(disk, segmentPath(folder, first), MAX_SEGMENT_BYTES)) ?? new Uint8Array(0);
  const acknowledged = head?.size ?? 0;

  let prev = await leafBefore(disk, folder, first);
  const kept: Uint8Array[] = [];
  let offset = 0;
  for (const line of splitLines(bytes).lines) {
    const n = first + kept.length;
    try {
      const entry = parseEntry(line);
      if (entry.n !== n || entry.prev !== prev) throw damaged(n, "it does not follow its predecessor");
    } catch (cause) {
      if (n < acknowledged)
        throw damaged(n, "it was changed, moved or removed after it was acknowledged", cause);
      break;
    }
    prev = toHex(leafOf(line));
    kept.push(line.slice());
    offset += line.length + 1;
  }
  const size = first + kept.length;
  if (size < acknowledged) {
    throw damaged(
      size,
      `the log was acknowledged up to ${acknowledged} entries but holds ${size}: it was truncated`,
    );
  }
  return { head, first, kept, prev, offset, dropped: bytes.length - offset };
}
