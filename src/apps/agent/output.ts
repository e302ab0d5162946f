// `agent output`: what installed components write, of this run and of the one before.

import { layoutOf } from "../../slot/layout.ts";
import { AgentError } from "../../agent/errors.ts";
import { statOrNull, type Disk, type FileStat } from "../../core/disk.ts";
import { nameSchema, z } from "../../core/schema.ts";
import type { Call, Result } from "../framework/command.ts";
import { usage } from "../framework/errors.ts";

const DEFAULT_LINES = 100;
const MOST_LINES = 100_000;
/** No more of a file is looked through for its last lines. */
const MOST_BYTES = 8 * 1024 * 1024;
const LOOK_EVERY = 300;
const PART = 64 * 1024;

type Run = { readonly product: string; readonly run: "before" | "now"; readonly lines: readonly string[] };

export async function agentOutput(call: Call): Promise<Result> {
  const lines = call.whole("lines", 0, MOST_LINES) ?? DEFAULT_LINES;
  const products = await chosen(call);
  if (call.flag("follow")) {
    if (products.length !== 1) throw usage("--follow goes with one component; name it.");
    return follow(call, products[0]!, lines);
  }
  const runs: Run[] = [];
  for (const product of products) runs.push(...(await runsOf(call, product, lines)));
  return { text: textOf(runs, products.length > 1), json: { runs } };
}

/** Goes on when the file is emptied, or put aside for the next run; ends with the program's signal. */
async function follow(call: Call, product: string, lines: number): Promise<Result> {
  const { disk, terminal, json, signal, clock } = call.context;
  const { log } = layoutOf(folderOf(call, product));
  const write = (line: string): void => {
    terminal.stdout.write(`${json ? JSON.stringify({ product, line }) : printable(line)}\n`);
  };
  const first = await statOrNull(disk, log);
  // What is shown of before ends where what is followed begins: nothing twice, nothing lost.
  let [at, inode] = [first?.size ?? 0, inodeOf(first)];
  for (const run of await runsOf(call, product, lines, at)) run.lines.forEach(write);
  let decoder = new TextDecoder();
  let begun = "";
  while (!signal.aborted) {
    const stat = await statOrNull(disk, log);
    if (stat !== null && (inodeOf(stat) !== inode || stat.size < at)) {
      [at, inode, begun] = [0, inodeOf(stat), ""];
      decoder = new TextDecoder();
    }
    if (stat === null || stat.size === at) {
      await clock.sleep(LOOK_EVERY, signal).catch(() => undefined);
      continue;
    }
    const file = await disk.open(log, "read");
    const bytes = await file.read(at, Math.min(PART, stat.size - at)).finally(() => file.close());
    at += bytes.length;
    const found = `${begun}${decoder.decode(bytes, { stream: true })}`.split("\n");
    begun = found.pop() ?? "";
    found.forEach(write);
  }
  return { streamed: true };
}

function inodeOf(stat: FileStat | null): string {
  return stat === null ? "" : stat.stamp.split(":").slice(0, 2).join(":");
}

function folderOf(call: Call, product: string): string {
  return `${call.context.data}/components/${product}`;
}

async function chosen(call: Call): Promise<readonly string[]> {
  const { disk, data } = call.context;
  const named = call.argumentOr(0);
  const folder = `${data}/components`;
  const all = (await statOrNull(disk, folder)) === null ? [] : await disk.list(folder);
  const installed = all.filter((name) => z.safeParse(nameSchema, name).success);
  if (named === undefined) {
    if (installed.length > 0) return installed;
    throw new AgentError("agent/not-installed", `Nothing is installed below ${data}.`, { folder: data });
  }
  if (installed.includes(named)) return [named];
  throw new AgentError(
    "agent/not-installed",
    `${named.slice(0, 80)} is not installed on this device.`,
    { product: named.slice(0, 80) },
    { hint: installed.length === 0 ? "Nothing is." : `Installed: ${installed.join(", ")}.` },
  );
}

async function runsOf(call: Call, product: string, lines: number, upTo?: number): Promise<Run[]> {
  const { disk } = call.context;
  const { log } = layoutOf(folderOf(call, product));
  const before = await lastLines(disk, `${log}.1`, lines);
  const now = await lastLines(disk, log, lines, upTo);
  return [
    ...(before.length === 0 ? [] : [{ product, run: "before" as const, lines: before }]),
    { product, run: "now", lines: now },
  ];
}

async function lastLines(
  disk: Disk,
  path: string,
  count: number,
  upTo = Number.MAX_SAFE_INTEGER,
): Promise<readonly string[]> {
  const stat = await statOrNull(disk, path);
  if (stat === null || stat.kind !== "file" || count === 0) return [];
  const end = Math.min(stat.size, upTo);
  const at = Math.max(0, end - MOST_BYTES);
  const file = await disk.open(path, "read");
  try {
    const lines = new TextDecoder().decode(await file.read(at, end - at)).split("\n");
    if (lines.at(-1) === "") lines.pop();
    return lines.slice(-count);
  } finally {
    await file.close();
  }
}

function textOf(runs: readonly Run[], several: boolean): string {
  const twice = several || runs.length > 1;
  const blocks = runs.map(({ product, run, lines }) => {
    const heading = twice ? [`== ${product}, ${run === "now" ? "this run" : "the run before"} ==`] : [];
    const body = lines.length === 0 ? ["(nothing was written)"] : lines.map(printable);
    return [...heading, ...body].join("\n");
  });
  return blocks.join("\n");
}

/** What a program writes may be made to move a terminal's cursor or colour its text. */
export function printable(line: string): string {
  return line.replaceAll(/[^\P{Cc}\t]|[\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, "·");
}
