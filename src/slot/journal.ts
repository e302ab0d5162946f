// The journal of one component: checksummed, numbered records in a file of reserved size, so that a full disk cannot stop a rollback.

import { concat, fromUtf8, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { parentOf, readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJsonText } from "../core/json.ts";
import { checkSchema } from "../core/schema.ts";
import { SlotError } from "./errors.ts";
import { journalEventSchema, type JournalEvent } from "./journal-event.ts";

/** One line: 16 hex digits of SHA-256 over the rest, the sequence number, the event as JSON. See spec/journal.md. */
export type JournalRecord = { readonly sequence: number; readonly event: JournalEvent };

/** Zeros reserved ahead; they are taken when an attempt begins, where a full disk does no harm. */
const RESERVE = 64 * 1024;
/** One attempt may write this much before it would run into the end of the reserve. */
const HEADROOM = 32 * 1024;
/** A journal this long is rewritten with the records of its last attempts only. */
const COMPACT_AT = 512 * 1024;
const JOURNAL_LIMIT = 4 * 1024 * 1024;

/** What reading found. `end` is where the next record goes; a torn tail lies behind it. */
export type ParsedJournal = {
  readonly records: readonly JournalRecord[];
  readonly end: number;
  readonly torn: boolean;
};

/**
 * Reads a journal's bytes. Only the last record can be torn, since each is synced before the next is written:
 * what cannot be read at the end is cut; what cannot be read before a good record is corruption.
 * Errors: `slot/journal-corrupt`.
 */
export function parseJournal(bytes: Uint8Array): ParsedJournal {
  const records: JournalRecord[] = [];
  let at = 0;
  while (at < bytes.length && bytes[at] !== 0) {
    const newline = bytes.indexOf(0x0a, at);
    const line = bytes.subarray(at, newline < 0 ? bytes.length : newline);
    const record = newline < 0 ? null : parseLine(line);
    const expected = (records.at(-1)?.sequence ?? (record?.sequence ?? 1) - 1) + 1;
    if (record === null || record.sequence !== expected) {
      if (record !== null || goodLineAfter(bytes, at + 1)) throw corrupt(at, expected);
      return { records, end: at, torn: true };
    }
    records.push(record);
    at = newline + 1;
  }
  // A tail that begins with zeros: reserve, or a write of which the first part was lost.
  const torn = bytes.subarray(at).some((byte) => byte !== 0);
  if (torn && goodLineAfter(bytes, at)) throw corrupt(at, (records.at(-1)?.sequence ?? 0) + 1);
  return { records, end: at, torn };
}

function corrupt(at: number, expected: number): SlotError {
  return new SlotError(
    "slot/journal-corrupt",
    `The journal cannot be read at byte ${at}, before records that can: the disk lost data, or somebody changed the file.`,
    { at, expected },
    {
      hint: "The component keeps running as it is. Enroll the device again in an empty data folder to start over; nothing of the old one is trusted.",
    },
  );
}

/** Looks for a whole record anywhere behind the damage, not only at starts of lines: a newline may be what was damaged. */
function goodLineAfter(bytes: Uint8Array, from: number): boolean {
  const rest = bytes.subarray(from);
  const text = Buffer.from(rest.buffer, rest.byteOffset, rest.byteLength).toString("latin1");
  for (const { index } of text.matchAll(/(?=[0-9a-f]{16} [1-9]\d{0,14} \{)/g)) {
    const newline = rest.indexOf(0x0a, index);
    if (newline >= 0 && parseLine(rest.subarray(index, newline)) !== null) return true;
  }
  return false;
}

function parseLine(line: Uint8Array): JournalRecord | null {
  try {
    const match = /^([0-9a-f]{16}) (([1-9]\d{0,14}) (\{.*\}))$/.exec(fromUtf8(line));
    if (match === null || sha256Hex(toUtf8(match[2]!)).slice(0, 16) !== match[1]) return null;
    const event = checkSchema(journalEventSchema, parseJsonText(match[4]!), "journal record");
    return { sequence: Number(match[3]), event };
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

export function formatRecord({ sequence, event }: JournalRecord): Uint8Array {
  const rest = `${sequence} ${JSON.stringify(event)}`;
  return toUtf8(`${sha256Hex(toUtf8(rest)).slice(0, 16)} ${rest}\n`);
}

/** An open journal. One writer: the agent holds the folder's lock. */
export class Journal {
  readonly #disk: Disk;
  readonly #path: string;
  #records: JournalRecord[];
  #end: number;
  #size: number;
  /** One change at a time: an attempt and a check of what is installed may both have something to say. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(disk: Disk, path: string, parsed: ParsedJournal, size: number) {
    this.#disk = disk;
    this.#path = path;
    this.#records = [...parsed.records];
    this.#end = parsed.end;
    this.#size = size;
  }

  get records(): readonly JournalRecord[] {
    return this.#records;
  }

  get events(): readonly JournalEvent[] {
    return this.#records.map((record) => record.event);
  }

  /** Durable when it returns. Errors: `slot/journal-full`, `disk/*`. */
  append(event: JournalEvent): Promise<void> {
    return this.#inTurn(() => this.#append(event));
  }

  async #append(event: JournalEvent): Promise<void> {
    const record = { sequence: (this.#records.at(-1)?.sequence ?? 0) + 1, event };
    const bytes = formatRecord(record);
    if (this.#end + bytes.length > JOURNAL_LIMIT) {
      throw new SlotError("slot/journal-full", `The journal ${this.#path} has reached its limit.`, {
        limit: JOURNAL_LIMIT,
      });
    }
    const file = await this.#disk.open(this.#path, "write", 0o600);
    try {
      await file.write(this.#end, bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    this.#end += bytes.length;
    this.#size = Math.max(this.#size, this.#end);
    this.#records.push(record);
  }

  /**
   * Makes sure that a whole attempt fits into space that the file already has; called where failing is harmless.
   * `keep` says which records a long journal may not lose. Errors: `disk/*`.
   */
  reserve(keep: (records: readonly JournalRecord[]) => readonly JournalRecord[]): Promise<void> {
    return this.#inTurn(() => this.#reserve(keep));
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(action, action);
    this.#turn = run.catch(() => undefined);
    return run;
  }

  async #reserve(keep: (records: readonly JournalRecord[]) => readonly JournalRecord[]): Promise<void> {
    if (this.#end > COMPACT_AT) {
      const records = keep(this.#records);
      const body = concat(records.map(formatRecord));
      await writeAtomic(this.#disk, this.#path, concat([body, new Uint8Array(RESERVE)]), 0o600);
      this.#records = [...records];
      this.#end = body.length;
      this.#size = body.length + RESERVE;
    }
    if (this.#size - this.#end >= HEADROOM) return;
    const file = await this.#disk.open(this.#path, "write", 0o600);
    try {
      await file.write(this.#size, new Uint8Array(RESERVE));
      await file.sync();
    } finally {
      await file.close();
    }
    this.#size += RESERVE;
  }
}

/** Opens or creates; cuts a torn tail and makes the cut durable. Errors: `slot/journal-corrupt`, `disk/*`. */
export async function openJournal(disk: Disk, path: string): Promise<Journal> {
  const bytes = await readOrNull(disk, path, JOURNAL_LIMIT + RESERVE);
  if (bytes === null) {
    await writeAtomic(disk, path, new Uint8Array(RESERVE), 0o600);
    return new Journal(disk, path, { records: [], end: 0, torn: false }, RESERVE);
  }
  const parsed = parseJournal(bytes);
  // What was read may not be on the disk yet if only the process died: it is made so before anything is built on it.
  const file = await disk.open(path, "write", 0o600);
  try {
    if (parsed.torn) await file.write(parsed.end, new Uint8Array(bytes.length - parsed.end));
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.syncDirectory(parentOf(path));
  return new Journal(disk, path, parsed, bytes.length);
}
