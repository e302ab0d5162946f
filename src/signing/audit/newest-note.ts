// The newest checkpoint of a log as the very note that was signed.

import { fromUtf8 } from "../../core/bytes.ts";
import { readOrNull, type FileStore } from "../../core/disk.ts";
import { openCheckpoint, type Checkpoint } from "./checkpoint.ts";
import { headPath, HEAD_SLOT } from "./files.ts";
import type { NoteKey } from "./note.ts";

/** Null if neither slot of `head` holds a checkpoint of this key. A slot that is being written is passed over: the other one is whole. */
export async function newestNote(
  disk: FileStore,
  folder: string,
  key: NoteKey,
): Promise<{ readonly note: string; readonly checkpoint: Checkpoint } | null> {
  const bytes = await readOrNull(disk, headPath(folder), 2 * HEAD_SLOT);
  if (bytes === null) return null;
  let best: { note: string; checkpoint: Checkpoint } | null = null;
  for (const slot of [bytes.subarray(0, HEAD_SLOT), bytes.subarray(HEAD_SLOT)]) {
    const end = slot.indexOf(0);
    const note = slot.subarray(0, end < 0 ? slot.length : end);
    try {
      const checkpoint = openCheckpoint(note, key);
      if (best === null || checkpoint.size > best.checkpoint.size)
        best = { note: fromUtf8(note), checkpoint };
    } catch {
      continue;
    }
  }
  return best;
}
