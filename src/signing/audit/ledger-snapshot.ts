// The ledger kept beside the log, so that a start reads only what is newer: derived, sealed, never believed over the log.

import { createHmac } from "node:crypto";
import { concat, equalBytes, fromHex, fromUtf8, toHex, toUtf8 } from "../../core/bytes.ts";
import { readOrNull, writeAtomic, type FileStore } from "../../core/disk.ts";
import { parseJson } from "../../core/json.ts";
import { checkSchema, lengthSchema, sha256Schema, z } from "../../core/schema.ts";
import { encodeEntry, parseEntry, type AuditEntry } from "./entry.ts";
import type { AuditLog } from "./log.ts";
import { replayLog } from "./replay.ts";
import { Ledger } from "./ledger.ts";
import { ledgerStateSchema, type LedgerState } from "./ledger-state.ts";

/** magic || json length (4, big-endian) || json || signed requests || HMAC-SHA-256 over all before it */
const MAGIC = toUtf8("upkeep-ledger-v1\n");
const MAC = 32;
/** Room for ten million signatures a day. */
const MAX_SNAPSHOT = 256 * 1024 * 1024;

/** Checkpoints come within milliseconds. */
const MAX_WAITS = 500;

const headSchema = z.strictObject({
  /** Of the log that it belongs to. */
  origin: z.string(),
  /** The entries that it was made from, and the root hash over them. */
  size: lengthSchema,
  root: sha256Schema,
  ledger: ledgerStateSchema,
  /** Entries about administrators, as the log has them: few, and each of them counts for good. */
  admins: z.array(z.string()),
});

export type Snapshot = {
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
  readonly ledger: LedgerState;
  readonly admins: readonly string[];
};

/** What follows the log beside the ledger, and is built again from the entries that it kept. */
export interface Follower {
  readonly kept: readonly AuditEntry[];
  apply(entry: AuditEntry): void;
}

export function snapshotPath(folder: string): string {
  return `${folder}/ledger`;
}

/** `key` is derived from the unlock secret: whoever can write the file but not unlock the signer can't make one. */
export function sealSnapshot({ origin, size, root, ledger, admins }: Snapshot, key: Uint8Array): Uint8Array {
  const { signed, ...rest } = ledger;
  const json = toUtf8(JSON.stringify({ origin, size, root: toHex(root), ledger: rest, admins }));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, json.length);
  const body = concat([MAGIC, length, json, signed]);
  return concat([body, macOf(body, key)]);
}

/** Null unless every byte is as `sealSnapshot` wrote it under this key. */
export function openSnapshot(bytes: Uint8Array, key: Uint8Array): Snapshot | null {
  const end = bytes.length - MAC;
  const start = MAGIC.length + 4;
  if (end < start || !equalBytes(macOf(bytes.subarray(0, end), key), bytes.subarray(end))) return null;
  if (!equalBytes(bytes.subarray(0, MAGIC.length), MAGIC)) return null;
  const split = start + new DataView(bytes.buffer, bytes.byteOffset + MAGIC.length, 4).getUint32(0);
  const { root, ledger, ...head } = checkSchema(
    headSchema,
    parseJson(bytes.subarray(start, split)),
    "snapshot of the ledger",
  );
  return { ...head, root: fromHex(root), ledger: { ...ledger, signed: bytes.subarray(split, end) } };
}

/** Where the log is, what it is called, and what seals its snapshots. */
export type SnapshotPlace = {
  readonly disk: FileStore;
  readonly folder: string;
  readonly origin: string;
  readonly key: Uint8Array;
};

export type Resumed = {
  readonly ledger: Ledger;
  /** Entries that were read from the log. */
  readonly replayed: number;
  /** Why a snapshot that was there was thrown away. */
  readonly refused?: string;
};

/**
 * The ledger of a log that was just opened. A snapshot counts only if it is sealed with `key`, of this log, and over entries that the
 * log's signed head leads to; anything else is as if it were not there. Errors: `signing/log-damaged`.
 */
export async function resumeLedger(
  place: SnapshotPlace,
  log: AuditLog,
  admins: Pick<Follower, "apply">,
): Promise<Resumed> {
  const { disk, folder } = place;
  const { start, refused } = await startFrom(place, log);
  const ledger = start?.ledger ?? new Ledger();
  for (const entry of start?.admins ?? []) admins.apply(entry);
  const follow = (entry: AuditEntry): void => {
    ledger.apply(entry);
    admins.apply(entry);
  };
  await replayLog(disk, folder, log.size, follow, start);
  return {
    ledger,
    replayed: log.size - (start?.n ?? 0),
    ...(refused === undefined ? {} : { refused }),
  };
}

type Start = {
  readonly ledger: Ledger;
  readonly admins: readonly AuditEntry[];
  readonly n: number;
  readonly prev: string;
};

async function startFrom(
  { disk, folder, origin, key }: SnapshotPlace,
  log: AuditLog,
): Promise<{ readonly start?: Start; readonly refused?: string }> {
  try {
    const bytes = await readOrNull(disk, snapshotPath(folder), MAX_SNAPSHOT);
    if (bytes === null) return {};
    const snapshot = openSnapshot(bytes, key);
    if (snapshot === null) return { refused: "it was changed, cut off, or sealed with another secret" };
    if (snapshot.origin !== origin) return { refused: "it is of another log" };
    const { size } = snapshot;
    if (size === 0 || size > log.covered) return { refused: "it is newer than the log" };
    const { root, last } = await log.prefix(size);
    if (!equalBytes(root, snapshot.root)) return { refused: "the log does not lead to it" };
    const admins = snapshot.admins.map((text) => parseEntry(toUtf8(text)));
    return { start: { ledger: Ledger.of(snapshot.ledger), admins, n: size, prev: toHex(last) } };
  } catch (error) {
    return { refused: `it cannot be read: ${(error as Error).message.slice(0, 200)}` };
  }
}

/** Writes snapshots as the log grows; one at a time. */
export class SnapshotWriter {
  readonly #place: SnapshotPlace;
  readonly #log: AuditLog;
  readonly #ledger: Ledger;
  readonly #admins: Pick<Follower, "kept">;
  #size: number;
  #writing: Promise<void> | null = null;

  /** `size` is what a start would not read again now. */
  constructor(
    place: SnapshotPlace,
    log: AuditLog,
    { ledger, admins }: { readonly ledger: Ledger; readonly admins: Pick<Follower, "kept"> },
    size: number,
  ) {
    this.#place = place;
    this.#log = log;
    this.#ledger = ledger;
    this.#admins = admins;
    this.#size = size;
  }

  /** Entries that a start would have to read now. */
  get behind(): number {
    return this.#log.durable.size - this.#size;
  }

  /** Returns at once if one is being written. `covered` resolves when the log's checkpoint may have grown. */
  write(covered: () => Promise<void>): Promise<void> {
    this.#writing ??= this.#write(covered).finally(() => (this.#writing = null));
    return this.#writing;
  }

  async #write(covered: () => Promise<void>): Promise<void> {
    const { disk, folder, origin, key } = this.#place;
    // The ledger follows the log entry by entry: at this instant it knows exactly what is durable.
    const { size, root } = this.#log.durable;
    if (size === 0) return;
    const admins = this.#admins.kept.filter(({ n }) => n < size).map((entry) => fromUtf8(encodeEntry(entry)));
    const bytes = sealSnapshot({ origin, size, root, ledger: this.#ledger.state(), admins }, key);
    if (bytes.length > MAX_SNAPSHOT) return;
    for (let waits = 0; this.#log.covered < size; waits++) {
      // A log that failed is never covered again.
      if (waits === MAX_WAITS) return;
      await covered();
    }
    await writeAtomic(disk, snapshotPath(folder), bytes, 0o600);
    this.#size = size;
  }
}

function macOf(body: Uint8Array, key: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac("sha256", key).update(body).digest());
}
