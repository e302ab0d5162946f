// One line of the local log: what happened, with the SHA-256 of the line before it (spec/local-log.md).

import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { UpkeepError } from "../core/errors.ts";
import { growing } from "../core/growth.ts";
import { parseJsonText } from "../core/json.ts";
import { checkSchema, instantSchema, nameSchema, sha256Schema, z } from "../core/schema.ts";

/** What the first line of all names as the one before it. */
export const NOTHING = "0".repeat(64);
/** Longest line that is written or read. */
export const LINE_LIMIT = 8 * 1024;

export const EVENTS = [
  /** An attempt has begun; it has exactly one `end`. */
  "begin",
  /** The one end of an attempt. */
  "end",
  /** The decision to go back, with its reason. */
  "going-back",
  /** Taken back for now, because only this machine is in the way. */
  "put-off",
  /** What people should know. */
  "alarm",
  /** The owner of the device asked for something. */
  "asked",
  /** The log before this line could not be read, and was put aside. */
  "log-lost",
] as const;

const text = (most: number) => z.exactOptional(z.nullable(z.string().check(z.maxLength(most))));
const recordSchema = growing({
  seq: z.number().check(z.int(), z.minimum(1)),
  previous: sha256Schema,
  at: instantSchema,
  /** One of `EVENTS`; a reader shows others as they are. */
  event: z.string().check(z.regex(/^[a-z][a-z-]{0,39}$/, "expected a word such as begin")),
  product: z.exactOptional(nameSchema),
  /** The id of the attempt in the journal, in the reports and in what a handler is asked. */
  attempt: z.exactOptional(z.string().check(z.regex(/^[0-9a-f]{32}$/, "expected 32 lower-case hex digits"))),
  from: text(256),
  to: text(256),
  /** Of an end: committed, failed, refused, superseded, rolled-back; lost if nobody knows. */
  end: text(40),
  step: text(40),
  code: text(120),
  reason: text(1000),
  running: text(256),
  duration: z.exactOptional(z.number().check(z.int(), z.minimum(0))),
  what: text(200),
});
export type LogRecord = Readonly<z.infer<typeof recordSchema>>;
/** What is to be written; number and chain are the log's. */
export type LogEvent = Omit<LogRecord, "seq" | "previous" | "event"> & {
  readonly event: (typeof EVENTS)[number];
};

/** Where the chain is: the number of the last line and the SHA-256 that the next one names. */
export type Link = { readonly seq: number; readonly sha256: string };
export const START: Link = { seq: 0, sha256: NOTHING };

/** The line without its end. */
export function formatRecord(after: Link, event: LogEvent): Uint8Array {
  return toUtf8(JSON.stringify({ seq: after.seq + 1, previous: after.sha256, ...event }));
}

export function linkOf(seq: number, line: Uint8Array): Link {
  return { seq, sha256: sha256Hex(line) };
}

/** Null for what is no record. */
export function parseRecord(line: Uint8Array): LogRecord | null {
  if (line.length > LINE_LIMIT) return null;
  try {
    return checkSchema(recordSchema, parseJsonText(fromUtf8(line)), "line of the local log");
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

export type ParsedLines = {
  readonly records: readonly LogRecord[];
  readonly last: Link;
  /** Where the last whole line ends. */
  readonly end: number;
  /** Why the lines from there on are not part of the chain; null if nothing follows, or half a line. */
  readonly broken: string | null;
};

/**
 * Follows the chain through the bytes of one file, from `after`, or from whatever the first line names. Only the last line can be half written,
 * since each is synced before the next one is.
 */
export function followChain(bytes: Uint8Array, after: Link | null): ParsedLines {
  const records: LogRecord[] = [];
  let [last, end] = [after, 0];
  const done = (broken: string | null): ParsedLines => ({ records, last: last ?? START, end, broken });
  while (end < bytes.length) {
    const newline = bytes.indexOf(0x0a, end);
    if (newline < 0) return done(null);
    const line = bytes.subarray(end, newline);
    const record = parseRecord(line);
    const number = (last?.seq ?? (record?.seq ?? 1) - 1) + 1;
    if (record === null)
      return done(newline + 1 === bytes.length && isTorn(line) ? null : `line ${number} cannot be read`);
    if (record.seq !== number) return done(`line ${number} is missing: the next one is ${record.seq}`);
    if (last !== null && record.previous !== last.sha256)
      return done(`line ${number} does not follow the line before it: one of them was changed`);
    records.push(record);
    last = linkOf(record.seq, line);
    end = newline + 1;
  }
  return done(null);
}

/** A write of which a part was lost leaves zeros, and its line feed may be there all the same. */
function isTorn(line: Uint8Array): boolean {
  return line.includes(0);
}
