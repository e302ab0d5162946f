// The local log of a device: lines that form a chain, in files of bounded size, of which the oldest go; only one agent writes.

import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { exists, makeDirectories, readOrNull, removeTree, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { parseJsonText } from "../core/json.ts";
import { checkSchema, sha256Schema, z } from "../core/schema.ts";
import { HistoryError } from "./errors.ts";
import {
  followChain,
  formatRecord,
  LINE_LIMIT,
  linkOf,
  NOTHING,
  START,
  type Link,
  type LogEvent,
  type LogRecord,
} from "./record.ts";

/** A file that is longer than this is followed by the next one. */
const FILE_LIMIT = 512 * 1024;
const MOST_FILES = 8;
/** What could not be written waits in memory, up to this many lines; attempts are completed from their journals. */
const MOST_WAITING = 1000;

const linkSchema = z.strictObject({ seq: z.number().check(z.int(), z.minimum(0)), sha256: sha256Schema });
const headSchema = z.strictObject({
  format: z.literal(1),
  /** The oldest line that is kept follows this one. */
  first: linkSchema,
  /** No fewer lines than this may be there. */
  last: linkSchema,
});
type Head = z.infer<typeof headSchema>;

type OpenLog = { last: Link; first: Link; path: string; size: number };

export class EventLog {
  readonly #disk: Disk;
  readonly #folder: string;
  readonly #fileLimit: number;
  /** Null until it was opened: a disk that cannot be read now is tried again with the next line. */
  #open: OpenLog | null = null;
  #waiting: LogEvent[] = [];
  #turn: Promise<unknown> = Promise.resolve();
  /** Attempts that have begun here and not ended, by id; and all ids that are in the log. */
  readonly #begun = new Map<string, { readonly product: string; readonly ended: boolean }>();

  /** Most callers won't give `fileLimit`. */
  constructor(disk: Disk, folder: string, fileLimit = FILE_LIMIT) {
    this.#fileLimit = fileLimit;
    this.#disk = disk;
    this.#folder = folder;
  }

  /** Adds the line, durable when it returns; where the disk cannot take it, with the next one. Never throws an error of ours. */
  add(event: LogEvent): Promise<void> {
    return this.#inTurn(async () => {
      this.#waiting = [...this.#waiting, event].slice(-MOST_WAITING);
      await this.#write();
    });
  }

  /**
   * Completes the log from the journals of the components that exist: a kill may have come between journal and log. An attempt that began
   * here and of which no journal knows ended nobody knows how.
   */
  settle(
    at: string,
    known: readonly { readonly begin: LogEvent; readonly end: LogEvent | null }[],
  ): Promise<void> {
    return this.#inTurn(async () => {
      await this.#write();
      if (this.#open === null || this.#waiting.length > 0) return;
      const ids = new Set<string>();
      for (const { begin, end } of known) {
        const id = begin.attempt!;
        ids.add(id);
        const found = this.#begun.get(id);
        if (found === undefined) this.#waiting.push(begin);
        if (end !== null && found?.ended !== true) this.#waiting.push(end);
      }
      for (const [attempt, { product, ended }] of this.#begun)
        if (!ended && !ids.has(attempt))
          this.#waiting.push({
            at,
            event: "end",
            product,
            attempt,
            end: "lost",
            code: "agent/unforeseen",
            reason: "The journal of this attempt was lost: nobody knows how it ended.",
          });
      await this.#write();
    });
  }

  async #write(): Promise<void> {
    try {
      this.#open ??= await this.#openFiles();
      while (this.#waiting.length > 0) await this.#append(this.#open, this.#waiting[0]!);
    } catch (error) {
      // It stops nothing: what waits is written with the next line.
      if (!(error instanceof UpkeepError)) throw error;
      this.#open = null;
    }
  }

  async #append(open: OpenLog, event: LogEvent): Promise<void> {
    if (open.size > this.#fileLimit) await this.#rotate();
    const line = formatRecord(open.last, fitting(event));
    const bytes = new Uint8Array(line.length + 1);
    bytes.set(line);
    bytes[line.length] = 0x0a;
    const file = await this.#disk.open(open.path, "write", 0o600);
    try {
      await file.write(open.size, bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    if (open.size === 0) await this.#disk.syncDirectory(this.#folder);
    open.size += bytes.length;
    open.last = linkOf(open.last.seq + 1, line);
    this.#remember(event);
    // It is there, whatever comes of the head: written once more it would be twice there.
    this.#waiting.shift();
    await this.#writeHead();
  }

  #remember({ event, attempt, product }: Pick<LogRecord, "event" | "attempt" | "product">): void {
    if (attempt === undefined || product === undefined) return;
    if (event === "begin") this.#begun.set(attempt, { product, ended: false });
    if (event === "end") this.#begun.set(attempt, { product, ended: true });
  }

  /** The next file begins; what is older than the bound goes, and the head says first from where on the chain is kept. */
  async #rotate(): Promise<void> {
    const open = this.#open!;
    open.path = `${this.#folder}/${fileName(open.last.seq + 1)}`;
    open.size = 0;
    const files = await filesOf(this.#disk, this.#folder);
    const gone = files.slice(0, Math.max(0, files.length + 1 - MOST_FILES));
    const next = files[gone.length];
    if (gone.length === 0 || next === undefined) return;
    const bytes = await this.#disk.read(`${this.#folder}/${next}`, FILE_LIMIT + 2 * LINE_LIMIT);
    const oldest = followChain(bytes, null).records[0];
    if (oldest === undefined) return;
    open.first = { seq: oldest.seq - 1, sha256: oldest.previous };
    await this.#writeHead();
    for (const name of gone) await this.#disk.removeFile(`${this.#folder}/${name}`);
  }

  async #writeHead(): Promise<void> {
    const { first, last } = this.#open!;
    const head: Head = { format: 1, first, last };
    await writeAtomic(this.#disk, `${this.#folder}/head.json`, toUtf8(`${JSON.stringify(head)}\n`), 0o600);
  }

  async #openFiles(): Promise<OpenLog> {
    await makeDirectories(this.#disk, this.#folder, 0o700);
    this.#begun.clear();
    const found = await readLog(this.#disk, this.#folder);
    if (found.broken !== null) return this.#beginAnew(found.broken);
    for (const record of found.records) this.#remember(record);
    const path = `${this.#folder}/${found.file ?? fileName(found.last.seq + 1)}`;
    // Half a line of an earlier run is cut before anything follows it.
    if (found.file !== null) {
      const file = await this.#disk.open(path, "write", 0o600);
      try {
        await file.truncate(found.end);
        await file.sync();
      } finally {
        await file.close();
      }
    }
    return { last: found.last, first: found.first, path, size: found.end };
  }

  /** What cannot be believed is kept aside for people, and the log begins again and says so. */
  async #beginAnew(why: string): Promise<OpenLog> {
    const aside = `${this.#folder}.damaged`;
    await removeTree(this.#disk, aside);
    await this.#disk.rename(this.#folder, aside);
    await makeDirectories(this.#disk, this.#folder, 0o700);
    const reason = `The log before this line was damaged (${why}) and is kept in ${aside}.`;
    this.#waiting.unshift({ at: this.#waiting[0]?.at ?? "1970-01-01T00:00:00Z", event: "log-lost", reason });
    return { last: START, first: START, path: `${this.#folder}/${fileName(1)}`, size: 0 };
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(action, action);
    this.#turn = run.catch(() => undefined);
    return run;
  }
}

/** What a log holds, and why it cannot be believed from some line on; null if it can. */
export type ReadLog = {
  readonly records: readonly LogRecord[];
  readonly first: Link;
  readonly last: Link;
  /** The file that is written to, and where its last whole line ends. */
  readonly file: string | null;
  readonly end: number;
  readonly broken: string | null;
};

/** Reads the whole log and follows its chain. Errors: `disk/*`. */
export async function readLog(disk: Disk, folder: string): Promise<ReadLog> {
  const headBytes = await readOrNull(disk, `${folder}/head.json`, 64 * 1024);
  const head = headBytes === null ? null : parseHead(headBytes);
  const records: LogRecord[] = [];
  let [link, file, end]: [Link | null, string | null, number] = [null, null, 0];
  let broken = headBytes !== null && head === null ? "its head cannot be read" : null;
  const files = await filesOf(disk, folder);
  for (const [i, name] of files.entries()) {
    const bytes = await disk.read(`${folder}/${name}`, FILE_LIMIT + 2 * LINE_LIMIT);
    const found = followChain(bytes, link);
    records.push(...found.records);
    if (found.records.length > 0 || link !== null) link = found.last;
    [file, end] = [name, found.end];
    broken ??= found.broken;
    // Only the last file has an open end.
    if (broken === null && i < files.length - 1 && found.end < bytes.length)
      broken = `the end of ${name} is missing`;
    if (broken !== null) break;
  }
  const oldest = records[0];
  const first = oldest === undefined ? START : { seq: oldest.seq - 1, sha256: oldest.previous };
  const last = link ?? head?.last ?? START;
  return { records, first, last, file, end, broken: broken ?? againstHead(head, first, last, records) };
}

/** What was cut off at either end shows by what the head remembers. */
function againstHead(
  head: Head | null,
  first: Link,
  last: Link,
  records: readonly LogRecord[],
): string | null {
  if (head === null) return first.seq === 0 ? null : `its first ${first.seq} lines are missing`;
  if (first.seq > head.first.seq) return `lines ${head.first.seq + 1} to ${first.seq} are missing`;
  if (first.seq === head.first.seq && records.length > 0 && first.sha256 !== head.first.sha256)
    return `line ${first.seq + 1} does not follow what came before it`;
  if (first.seq === 0 && records.length > 0 && first.sha256 !== NOTHING)
    return "line 1 names a line before it";
  if (last.seq < head.last.seq || (records.length === 0 && head.last.seq > 0))
    return `lines ${records.length === 0 ? 1 : last.seq + 1} to ${head.last.seq} are missing`;
  // The line after the one that the head knows names it; the last one itself is compared here.
  const named =
    last.seq === head.last.seq ? last.sha256 : records.find(({ seq }) => seq === head.last.seq + 1)?.previous;
  return named === head.last.sha256 ? null : `line ${head.last.seq} is not the one that was written`;
}

/**
 * Every line that is kept, if the chain holds from the first to the last. Attempts that have begun and not ended are in `open`.
 * Errors: `history/corrupt`, `disk/*`.
 */
export async function verifyLog(
  disk: Disk,
  folder: string,
): Promise<ReadLog & { readonly open: readonly string[] }> {
  if (!(await exists(disk, folder)))
    return { records: [], first: START, last: START, file: null, end: 0, broken: null, open: [] };
  const found = await readLog(disk, folder);
  const open = new Set<string>();
  let twice: string | null = null;
  for (const { event, attempt } of found.records) {
    if (attempt === undefined) continue;
    if (event === "begin") open.add(attempt);
    if (event === "end" && !open.delete(attempt) && found.first.seq === 0) twice = attempt;
  }
  const why =
    found.broken ?? (twice === null ? null : `attempt ${twice} ends without having begun, or twice`);
  if (why === null) return { ...found, open: [...open] };
  throw new HistoryError("history/corrupt", `The local log in ${folder} is not as it was written: ${why}.`, {
    folder,
    why,
    whole: found.records.length,
  });
}

function parseHead(bytes: Uint8Array): Head | null {
  try {
    return checkSchema(headSchema, parseJsonText(fromUtf8(bytes)), "head of the local log");
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

async function filesOf(disk: Disk, folder: string): Promise<readonly string[]> {
  if (!(await exists(disk, folder))) return [];
  return (await disk.list(folder)).filter((name) => /^\d{12}\.jsonl$/.test(name));
}

/** Named by the number of its first line, so that the order of names is that of lines. */
function fileName(seq: number): string {
  return `${String(seq).padStart(12, "0")}.jsonl`;
}

/** A long reason is cut rather than a line lost. */
function fitting(event: LogEvent): LogEvent {
  const { reason } = event;
  return typeof reason === "string" && reason.length > 1000
    ? { ...event, reason: reason.slice(0, 1000) }
    : event;
}
