// Checking a whole audit log from its files alone, naming what was edited, deleted, reordered or truncated.

import { toHex } from "../../core/bytes.ts";
import { equalBytes } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { readOrNull, type FileStore } from "../../core/disk.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { leafOf, NO_ENTRY, parseEntry, type AuditEntry, type Blob } from "./entry.ts";
import { blobPath, readHead, readSegment, segmentsOf, splitLines } from "./files.ts";
import type { NoteKey } from "./note.ts";
import { tilePath, TILE_WIDTH, TileTree } from "./tiles.ts";

export type AuditFault = {
  /** Number of the entry that the fault is about. */
  readonly entry: number;
  readonly what:
    | "edited"
    | "deleted"
    | "reordered"
    | "truncated"
    | "inserted"
    | "unreadable"
    | "torn"
    | "forged-checkpoint"
    | "rewritten"
    | "tile-changed"
    | "document-missing"
    | "document-changed";
  readonly sentence: string;
};

export type AuditVerdict = {
  readonly size: number;
  readonly root: string;
  readonly faults: readonly AuditFault[];
  /** Intents without result: the service was interrupted there. */
  readonly open: readonly number[];
  readonly counts: { readonly [kind: string]: number };
};

/**
 * Reads every entry. `known` are checkpoints that were kept elsewhere (receipts, backups, witnesses): the log must contain
 * them, which is what catches a log that was rewritten as a whole.
 */
export async function verifyLog(
  disk: FileStore,
  folder: string,
  key: NoteKey,
  known: readonly Checkpoint[] = [],
  seen: (entry: AuditEntry) => void = () => {},
): Promise<AuditVerdict> {
  const faults: AuditFault[] = [];
  const fault = (entry: number, what: AuditFault["what"], sentence: string): void => {
    if (faults.length < 100) faults.push({ entry, what, sentence: `Entry ${entry}: ${sentence}.` });
  };
  const stored = await storedLeaves(disk, folder);
  const tree = new TileTree(() => Promise.reject(new Error("a tile that is not kept was asked for")));
  const wanted = new Map<number, Checkpoint[]>();
  const want = (checkpoint: Checkpoint): unknown =>
    wanted.set(checkpoint.size, [...(wanted.get(checkpoint.size) ?? []), checkpoint]);
  let head: Checkpoint | null = null;
  try {
    head = await readHead(disk, folder, key);
    const published = await readOrNull(disk, `${folder}/tiles/checkpoint`, 64 * 1024);
    if (published !== null) want(openCheckpoint(published, key));
  } catch {
    fault(0, "forged-checkpoint", "a checkpoint of the log is not signed by the log's key");
  }
  if (head !== null) want(head);
  known.forEach(want);
  const open = new Map<number, true>();
  const counts: { [kind: string]: number } = {};

  let prev = NO_ENTRY;
  let n = 0;
  const missing = new Set<number>();
  const miss = (from: number, to: number): void => {
    for (let i = from; i < to && missing.size < 10_000; i++) missing.add(i);
  };
  for (const first of await segmentsOf(disk, folder)) {
    miss(n, first);
    n = Math.max(n, first);
    const { lines, rest } = splitLines(await readSegment(disk, folder, first));
    for (const bytes of lines) {
      const leaf = leafOf(bytes);
      const leafName = toHex(leaf);
      let entry: AuditEntry | null = null;
      try {
        entry = parseEntry(bytes);
      } catch (error) {
        fault(
          n,
          "unreadable",
          `it was edited so that it cannot be read (${(error as Error).message.slice(0, 120)})`,
        );
      }
      // After a gap the numbers that the entries carry are followed, so that one fault is not named a thousand times.
      const expected = n;
      if (entry === null) {
        n++;
      } else if (entry.n < n) {
        const moved = missing.delete(entry.n);
        fault(
          entry.n,
          moved ? "reordered" : "inserted",
          moved
            ? "it does not stand in its place: entries were reordered"
            : "it stands in the log more than once",
        );
      } else {
        miss(n, entry.n);
        n = entry.n + 1;
        judgeContent(entry, expected, prev, leafName, stored, fault);
      }
      if (entry !== null) {
        for (const blob of blobsOf(entry)) await judgeBlob(disk, folder, entry.n, blob, fault);
        if (entry.kind === "intent") open.set(entry.n, true);
        if (entry.kind === "result" || entry.kind === "failed" || entry.kind === "abandoned")
          open.delete(entry.intent);
        counts[entry.kind] = (counts[entry.kind] ?? 0) + 1;
        seen(entry);
      }
      prev = leafName;
      tree.push(leaf);
      for (const checkpoint of wanted.get(tree.size) ?? []) {
        if (!equalBytes(tree.root(), checkpoint.root)) {
          fault(
            checkpoint.size - 1,
            "rewritten",
            `a signed checkpoint over ${checkpoint.size} entries has another root hash: an entry up to this one was changed after it was signed`,
          );
        }
      }
      for (const { level, index, hashes } of tree.take()) {
        const kept = await readOrNull(disk, `${folder}/tiles/${tilePath(level, index)}`, TILE_WIDTH * 32);
        if (kept !== null && !equalBytes(kept, hashes)) {
          fault(
            index * TILE_WIDTH ** (level + 1),
            "tile-changed",
            `the tile ${level}/${index} does not hold the hashes of its entries`,
          );
        }
      }
    }
    if (rest.length > 0) fault(n, "torn", `${rest.length} bytes follow the last complete entry`);
  }
  for (const [from, to] of ranges(missing)) {
    fault(from, "deleted", from === to ? "it was deleted" : `it and what followed, up to ${to}, was deleted`);
  }
  for (const [size] of wanted) {
    if (size > n) {
      fault(
        n,
        "truncated",
        `it and what followed, up to ${size - 1}, is missing: a signed checkpoint covers ${size} entries`,
      );
    }
  }
  faults.sort((a, b) => a.entry - b.entry);
  return { size: tree.size, root: toHex(tree.root()), faults, open: [...open.keys()], counts };
}

function judgeContent(
  entry: AuditEntry,
  expected: number,
  prev: string,
  leaf: string,
  stored: ReadonlyMap<number, string>,
  fault: (entry: number, what: AuditFault["what"], sentence: string) => void,
): void {
  const remembered = stored.get(entry.n);
  if (remembered !== undefined && remembered !== leaf) {
    fault(entry.n, "edited", "it was edited: its hash is not the one that was stored when it was written");
  } else if (entry.n === expected && entry.prev !== prev) {
    if (entry.n === 0) fault(0, "edited", "it names a predecessor, but it is the first");
    // Where the stored hash of the predecessor says that it was edited, that was named already.
    else if (stored.get(entry.n - 1) === undefined) {
      fault(entry.n - 1, "edited", `it was edited: entry ${entry.n} names another predecessor`);
    }
  }
}

function ranges(numbers: ReadonlySet<number>): readonly (readonly [number, number])[] {
  const out: [number, number][] = [];
  for (const n of [...numbers].sort((a, b) => a - b)) {
    const last = out.at(-1);
    if (last !== undefined && last[1] === n - 1) last[1] = n;
    else out.push([n, n]);
  }
  return out;
}

/** Leaf hashes as the tiles hold them, so that an edited entry is named even if it was the last. */
async function storedLeaves(disk: FileStore, folder: string): Promise<ReadonlyMap<number, string>> {
  const leaves = new Map<number, string>();
  for (let index = 0; ; index++) {
    const full = await readOrNull(disk, `${folder}/tiles/${tilePath(0, index)}`, TILE_WIDTH * 32);
    const tile = full ?? (await widestPartial(disk, folder, index));
    if (tile === null) return leaves;
    for (let at = 0; at + 32 <= tile.length; at += 32) {
      leaves.set(index * TILE_WIDTH + at / 32, toHex(tile.subarray(at, at + 32)));
    }
    if (full === null) return leaves;
  }
}

async function widestPartial(disk: FileStore, folder: string, index: number): Promise<Uint8Array | null> {
  const at = `${folder}/tiles/${tilePath(0, index)}.p`;
  let names: readonly string[];
  try {
    names = await disk.list(at);
  } catch {
    return null;
  }
  const widths = names.filter((name) => /^\d{1,3}$/.test(name)).map(Number);
  if (widths.length === 0) return null;
  return readOrNull(disk, `${at}/${Math.max(...widths)}`, TILE_WIDTH * 32);
}

function blobsOf(entry: AuditEntry): readonly Blob[] {
  return [...("document" in entry ? [entry.document] : []), ...("reply" in entry ? [entry.reply] : [])];
}

async function judgeBlob(
  disk: FileStore,
  folder: string,
  n: number,
  blob: Blob,
  fault: (entry: number, what: AuditFault["what"], sentence: string) => void,
): Promise<void> {
  const bytes =
    blob.inline === undefined
      ? await readOrNull(disk, blobPath(folder, blob.sha256), blob.length)
      : new Uint8Array(Buffer.from(blob.inline, "base64"));
  if (bytes === null)
    fault(n, "document-missing", `the document ${blob.sha256} that belongs to it is missing`);
  else if (sha256Hex(bytes) !== blob.sha256)
    fault(n, "document-changed", "the document that belongs to it was changed");
}
