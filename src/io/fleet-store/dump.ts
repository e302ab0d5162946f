// The fleet's store as one file, for backups and for the way from one kind of database to the other: every row once, and a digest at the end.

import { createHash, randomBytes, type Hash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  fsyncSync,
  linkSync,
  openSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { sql, type Kysely } from "kysely";
import type { Instant } from "../../core/instant.ts";
import { appendAudit, checkChain } from "../../fleet/audit.ts";
import type { AuditRow } from "../../fleet/records.ts";
import { FleetError } from "../../fleet/errors.ts";
import { COLUMNS, KEYS, rowProblem, type TableName } from "./_columns.ts";
import { fleetRecords } from "./_records.ts";
import { auditOf } from "./_rows.ts";
import { NEWEST, raisedRow, TABLES, type Tables } from "./schema.ts";
import { openFleetTables } from "./store.ts";

const FORMAT = "upkeep fleet store 1";
const PAGE = 500;
/** Bytes of a line at most: a report's envelope is the largest thing in a row. */
const LINE = 4 * 1024 * 1024;
const NEWLINE = 0x0a;

type Row = { readonly [column: string]: string | number | null };
type Line = { readonly format: string; readonly step: number } | readonly [table: string, row: Row];
type Env = { readonly [name: string]: string | undefined };

export type Dumped = { readonly rows: number; readonly sha256: string; readonly audit: AuditRow | null };

/**
 * Writes what the store at `place` holds at one moment into a new file that only its owner can read; writers go on meanwhile. The same
 * content gives the same bytes, whichever database it is in. The file appears whole or not at all.
 * Errors: `fleet/store-*`, `fleet/audit-broken`, `fleet/bad-dump` when there is a file already, or none can be written.
 */
export async function exportFleet(place: string, env: Env, file: string): Promise<Dumped> {
  const tables = await openFleetTables(place, env);
  const partial = `${file}.${randomBytes(4).toString("hex")}.partial`;
  try {
    const descriptor = atFile(file, () => openSync(partial, "wx", 0o600));
    try {
      const done = await tables.read((tx) =>
        writeDump(tx, (bytes) => atFile(file, () => writeFileSync(descriptor, bytes))),
      );
      atFile(file, () => fsyncSync(descriptor));
      // Not a rename: a file that has come there meanwhile is left alone.
      atFile(file, () => linkSync(partial, file));
      const folder = openSync(dirname(file), "r");
      fsyncSync(folder);
      closeSync(folder);
      return done;
    } finally {
      closeSync(descriptor);
      unlinkSync(partial);
    }
  } finally {
    await tables.close();
  }
}

async function writeDump(tx: Kysely<Tables>, write: (bytes: Buffer) => void): Promise<Dumped> {
  const hash = createHash("sha256");
  const line = (value: Line): void => {
    const bytes = Buffer.from(`${spelled(value)}\n`);
    hash.update(bytes);
    write(bytes);
  };
  let rows = 0;
  let audit: AuditRow | null = null;
  line({ format: FORMAT, step: NEWEST });
  for (const table of TABLES) {
    for (let after: Row | null = null; ;) {
      const page: readonly Row[] = await pageOf(tx, table, after);
      for (const row of page) line([table, { ...row }]);
      if (table === "audit")
        audit = checkChain(
          audit,
          page.map((row) => auditOf(row as unknown as Tables["audit"])),
        );
      rows += page.length;
      if (page.length < PAGE) break;
      after = page.at(-1)!;
    }
  }
  const sha256 = hash.digest("hex");
  write(Buffer.from(`${sha256} ${rows}\n`));
  return { rows, sha256, audit };
}

/** Ordered by its key, from the row after `after`. */
async function pageOf(tx: Kysely<Tables>, table: TableName, after: Row | null): Promise<readonly Row[]> {
  const columns = sql.join(Object.keys(COLUMNS[table]).map((name) => sql.ref(name)));
  const key = sql.join(KEYS[table].map((name) => sql.ref(name)));
  const from =
    after === null ? sql`` : sql`where (${key}) > (${sql.join(KEYS[table].map((name) => after[name]))})`;
  const found =
    await sql<Row>`select ${columns} from ${sql.table(table)} ${from} order by ${key} limit ${sql.lit(PAGE)}`.execute(
      tx,
    );
  return found.rows;
}

/**
 * Puts what a file of `exportFleet` holds into the store at `place`, which holds nothing yet; all of it or nothing. The audit log goes on
 * with a row that names the file by its digest.
 * Errors: `fleet/bad-dump` for a file that is damaged, cut or not one of these, `fleet/store-newer` for one of a later program,
 * `fleet/store-not-empty`, `fleet/audit-broken`, `fleet/store-*`.
 */
export async function importFleet(
  place: string,
  env: Env,
  file: string,
  by: { readonly actor: string; readonly now: Instant },
): Promise<Dumped> {
  // Read to its end once before the store is touched; what is read the second time has to have the same digest.
  const first = await readDump(file, async () => undefined);
  const tables = await openFleetTables(place, env);
  try {
    return await tables.transaction(async (tx, tell) => {
      tell();
      await mustBeEmpty(tx);
      const done = await readDump(file, (table, rows) => insert(tx, file, table, rows));
      if (done.sha256 !== first.sha256) throw bad(file, "it was changed while it was read");
      const records = fleetRecords(tx);
      await appendAudit(records, by.now, {
        actor: by.actor,
        action: "store/imported",
        subject: "store",
        facts: { sha256: done.sha256, rows: done.rows },
      });
      return done;
    });
  } finally {
    await tables.close();
  }
}

async function mustBeEmpty(tx: Kysely<Tables>): Promise<void> {
  for (const table of TABLES) {
    if ((await pageOf(tx, table, null)).length === 0) continue;
    throw new FleetError(
      "fleet/store-not-empty",
      "This store holds records already; a dump is taken into an empty one only.",
      { table },
      { hint: "Name another store, and import before the first server uses it." },
    );
  }
}

async function insert(
  tx: Kysely<Tables>,
  file: string,
  table: TableName,
  rows: readonly Row[],
): Promise<void> {
  try {
    await tx
      .insertInto(table)
      .values(rows as never)
      .execute();
  } catch (cause) {
    // Two rows of one key, or a report of no device: the file was made by somebody else, for its digest fits.
    if (cause instanceof FleetError) throw cause;
    throw bad(file, `rows of ${table} do not go together`, cause);
  }
}

/** Gives the rows in pages of one table each, checked for their form; what they amount to is known at the end only. */
async function readDump(
  file: string,
  take: (table: TableName, rows: readonly Row[]) => Promise<void>,
): Promise<Dumped> {
  const hash = createHash("sha256");
  let page: Row[] = [];
  let at = -1;
  let rows = 0;
  let audit: AuditRow | null = null;
  let end: string | null = null;
  let lines = 0;
  let step = NEWEST;
  const flush = async (): Promise<void> => {
    if (page.length === 0) return;
    const table = TABLES[at]!;
    if (table === "audit")
      audit = checkChain(
        audit,
        page.map((row) => auditOf(row as unknown as Tables["audit"])),
      );
    const full = page;
    page = [];
    await take(table, full);
  };
  for await (const bytes of linesOf(file)) {
    if (end !== null) throw bad(file, "something follows its end");
    lines++;
    if (lines > 1 && bytes[0] !== 0x5b) {
      end = bytes.toString("latin1");
      continue;
    }
    hash.update(bytes).update("\n");
    const value = jsonOf(file, bytes, lines);
    if (lines === 1) {
      step = checkHead(file, value);
      continue;
    }
    const [name, written] = Array.isArray(value) && value.length === 2 ? value : [];
    const place = TABLES.findIndex((table) => table === name);
    const isRow = place >= 0 && typeof written === "object" && written !== null && !Array.isArray(written);
    const row: unknown = isRow ? raisedRow(step, TABLES[place]!, written) : written;
    const problem = place < at || place < 0 ? "a table out of its order" : rowProblem(TABLES[place]!, row);
    if (problem !== null) throw bad(file, `line ${lines} has ${problem}`);
    if (place > at || page.length === PAGE) await flush();
    at = place;
    page.push(row as Row);
    rows++;
  }
  await flush();
  const sha256 = endOf(hash, rows, end, file);
  return { rows, sha256, audit };
}

function endOf(hash: Hash, rows: number, end: string | null, file: string): string {
  if (end === null) throw bad(file, "its end is missing");
  const sha256 = hash.digest("hex");
  if (end !== `${sha256} ${rows}`) throw bad(file, "its digest does not fit");
  return sha256;
}

/** The step that the file was written at. */
function checkHead(file: string, value: unknown): number {
  const { format, step, ...more } = (value ?? {}) as { readonly [name: string]: unknown };
  if (format !== FORMAT || Object.keys(more).length > 0 || !Number.isSafeInteger(step))
    throw bad(file, "it does not begin as one");
  if ((step as number) > NEWEST) {
    throw new FleetError(
      "fleet/store-newer",
      `The file was written by a later version of Upkeep (its form is ${String(step)}, this program knows ${NEWEST}).`,
      { found: step as number, known: NEWEST },
      { hint: "Import it with the later version." },
    );
  }
  if ((step as number) < 1) throw bad(file, `its form ${String(step)} is not known`);
  return step as number;
}

/** Names in their order, so that the order of columns in a database does not matter. */
function spelled(value: Line): string {
  if (!Array.isArray(value)) return JSON.stringify(value);
  const [table, row] = value as readonly [string, Row];
  return JSON.stringify([
    table,
    Object.fromEntries(Object.entries(row).toSorted(([a], [b]) => (a < b ? -1 : 1))),
  ]);
}

/** One spelling only: what this program would have written. */
function jsonOf(file: string, bytes: Buffer, line: number): unknown {
  try {
    const value = JSON.parse(bytes.toString("utf8")) as Line;
    if (Buffer.from(spelled(value)).equals(bytes)) return value;
  } catch {
    // Told below, like every other line that is not as it should be.
  }
  throw bad(file, `line ${line} is not as this program writes it`);
}

async function* linesOf(file: string): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  let length = 0;
  const parts = createReadStream(file, { highWaterMark: 256 * 1024 });
  try {
    for await (const part of parts as AsyncIterable<Buffer>) {
      let from = 0;
      for (let at = part.indexOf(NEWLINE); at >= 0; at = part.indexOf(NEWLINE, from)) {
        yield Buffer.concat([...rest, part.subarray(from, at)]);
        rest = [];
        length = 0;
        from = at + 1;
      }
      rest.push(part.subarray(from));
      length += part.length - from;
      if (length > LINE) throw bad(file, "a line is too long");
    }
  } catch (cause) {
    if ((cause as { code?: string }).code?.startsWith("E") !== true) throw cause;
    throw bad(file, `it cannot be read (${(cause as { code: string }).code})`, cause);
  }
  if (length > 0) throw bad(file, "its last line is cut");
}

function atFile<T>(file: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    const { code = "unknown" } = cause as { code?: string };
    const what = code === "EEXIST" ? "there is one by this name already" : `it cannot be written (${code})`;
    throw bad(file, what, cause);
  }
}

function bad(file: string, what: string, cause?: unknown): FleetError {
  return new FleetError(
    "fleet/bad-dump",
    `The file ${file} is of no use as a dump of a fleet's store: ${what}.`,
    { file },
    { cause },
  );
}
