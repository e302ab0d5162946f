// `agent log`: what happened on this device, and whether the log of it is as it was written.

import { statOrNull } from "../../core/disk.ts";
import type { Json } from "../../core/json.ts";
import { readLog, verifyLog } from "../../history/event-log.ts";
import type { LogRecord } from "../../history/record.ts";
import type { Call, Result } from "../framework/command.ts";
import { usage } from "../framework/errors.ts";
import { printable } from "./output.ts";

const DEFAULT_LINES = 100;
const MOST_LINES = 100_000;
const LOOK_EVERY = 300;

export async function agentLog(call: Call): Promise<Result> {
  const folder = `${call.context.data}/log`;
  const word = call.argumentOr(0);
  if (word === "verify") return verify(call, folder);
  if (word !== undefined) {
    const name = word.slice(0, 60);
    throw usage(
      `agent log takes no "${name}".`,
      `What happened to it: upkeep agent log --product ${name}. What it wrote: upkeep agent output ${name}.`,
    );
  }
  const most = call.whole("lines", 0, MOST_LINES) ?? DEFAULT_LINES;
  const product = call.text("product");
  const wanted = ({ product: of }: LogRecord): boolean => product === undefined || of === product;
  if (call.flag("follow")) return follow(call, folder, wanted, most);
  const { records, broken } = await readLog(call.context.disk, folder);
  if (broken !== null)
    call.context.note(`The log is not as it was written: ${broken}. \`upkeep agent log verify\` checks it.`);
  const shown = lastOf(records.filter(wanted), most);
  return {
    text: shown.length === 0 ? "Nothing is in the log." : shown.map(sentence).join("\n"),
    json: { records: shown as unknown as Json, broken },
  };
}

function lastOf(records: readonly LogRecord[], most: number): readonly LogRecord[] {
  return most === 0 ? [] : records.slice(-most);
}

async function verify(call: Call, folder: string): Promise<Result> {
  const { records, first, last, open } = await verifyLog(call.context.disk, folder);
  const anew = records.some(({ event }) => event === "log-lost");
  const more = [
    ...(first.seq === 0 ? [] : [`Lines before ${first.seq + 1} were removed when they were old.`]),
    ...(anew ? ["It began again after damage: see its first line."] : []),
    ...(open.length === 0 ? [] : [`Attempts that have not ended: ${open.join(", ")}.`]),
  ];
  const range =
    records.length === 0
      ? "It has no lines yet."
      : `Lines ${first.seq + 1} to ${last.seq} follow each other.`;
  return {
    text: ["The log is as it was written.", range, ...more].join(" "),
    json: {
      whole: true,
      records: records.length,
      first: records.length === 0 ? 0 : first.seq + 1,
      last: last.seq,
      head: last.sha256,
      open,
    },
  };
}

/** Reads again when the log has grown, and shows what is new by its number. */
async function follow(
  call: Call,
  folder: string,
  wanted: (record: LogRecord) => boolean,
  most: number,
): Promise<Result> {
  const { disk, terminal, json, signal, clock } = call.context;
  let shown: number | null = null;
  let stamp = "";
  while (!signal.aborted) {
    const now = (await statOrNull(disk, `${folder}/head.json`))?.stamp ?? "";
    if (now === stamp && shown !== null) {
      await clock.sleep(LOOK_EVERY, signal).catch(() => undefined);
      continue;
    }
    stamp = now;
    const { records, last } = await readLog(disk, folder);
    // A log that began anew has small numbers again.
    const after: number | null = shown !== null && last.seq < shown ? 0 : shown;
    const all = records.filter(wanted);
    const found = after === null ? lastOf(all, most) : all.filter(({ seq }) => seq > after);
    for (const record of found)
      terminal.stdout.write(`${json ? JSON.stringify(record) : sentence(record)}\n`);
    shown = last.seq;
  }
  return { streamed: true };
}

/** One line for people. */
function sentence(record: LogRecord): string {
  const { at, product, attempt } = record;
  const about = [at, product ?? "-", says(record)].join("  ");
  return printable(attempt === undefined ? about : `${about}  [${attempt.slice(0, 8)}]`);
}

function says(record: LogRecord): string {
  const { event, from, to, end, code, reason, what } = record;
  const way = `${from ?? "nothing"} -> ${to ?? "nothing"}`;
  const why = [typeof code === "string" ? ` (${code})` : "", typeof reason === "string" ? `: ${reason}` : ""];
  switch (event) {
    case "begin":
      return `${what ?? "update"} ${way} begins`;
    case "end":
      return `${way} ${end ?? "ended"}${why.join("")}`;
    case "going-back":
      return `goes back${why.join("")}`;
    case "put-off":
      return "is put off: only this machine is in the way";
    case "asked":
      return `the owner asked for: ${what ?? ""}`;
    default:
      return `${event}${why.join("")}`;
  }
}
