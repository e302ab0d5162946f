// Patches between real consecutive releases: size, CPU and memory, beside bsdiff, xdelta3 and zstd --patch-from.
//
//   node bench/delta.ts FOLDER [--level N] [--only ours,bsdiff,…] [PAIR…]
//
// FOLDER holds pairs of files: PAIR.old and PAIR.new. docs/bench.md says where the pairs of its table come from.
// A tool that is not installed is left out, and the table says so.

import { spawn, spawnSync } from "node:child_process";
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { sha256Hex } from "../src/core/digest.ts";
import { applyHd1, makeHd1 } from "../src/delta/hd1.ts";
import { inChild, measure, table } from "./_measure.ts";

type Cost = { readonly cpu: number; readonly rss: number };
type Row = {
  readonly tool: string;
  readonly bytes: number;
  readonly make: Cost;
  readonly apply: Cost;
};

const self = new URL(import.meta.url);
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { level: { type: "string", default: "19" }, only: { type: "string" } },
});

if (positionals[0] === "make-here") await makeHere(positionals[1]!, positionals[2]!, positionals[3]!);
else if (positionals[0] === "apply-here") await applyHere(positionals[1]!, positionals[2]!, positionals[3]!);
else await all(positionals[0]!, positionals.slice(1));

async function makeHere(old: string, target: string, patch: string): Promise<void> {
  await measure(async () => async () => {
    const bytes = makeHd1(readFileSync(old), readFileSync(target));
    writeFileSync(patch, bytes);
    return { bytes: bytes.length };
  });
}

async function applyHere(old: string, patch: string, wanted: string): Promise<void> {
  const expected = { length: statSync(wanted).size, sha256: sha256Hex(readFileSync(wanted)) };
  await measure(async () => async () => {
    let made = 0;
    for (const part of applyHd1(readFileSync(old), readFileSync(patch), expected)) made += part.length;
    return { made };
  });
}

async function all(folder: string, wanted: readonly string[]): Promise<void> {
  const names = readdirSync(folder)
    .filter((name) => name.endsWith(".old"))
    .map((name) => name.slice(0, -4))
    .filter((name) => wanted.length === 0 || wanted.includes(name));
  const scratch = mkdtempSync(join(tmpdir(), "upkeep-bench-delta-"));
  try {
    for (const name of names) {
      const [old, target] = [`${name}.old`, `${name}.new`].map((file) => realpathSync(join(folder, file)));
      const rows = await pair(old!, target!, scratch);
      const length = statSync(target!).size;
      console.log(`\n${name}: ${statSync(old!).size} -> ${length} bytes\n`);
      console.log(
        table([
          ["tool", "patch, bytes", "% of new", "make CPU s", "make MiB", "apply CPU s", "apply MiB"],
          ...rows.map((row) => [
            row.tool,
            String(row.bytes),
            ((row.bytes * 100) / length).toFixed(2),
            (row.make.cpu / 1000).toFixed(2),
            row.make.rss.toFixed(0),
            (row.apply.cpu / 1000).toFixed(2),
            row.apply.rss.toFixed(0),
          ]),
        ]),
      );
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function pair(old: string, target: string, scratch: string): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const chosen = values.only?.split(",");
  const [patch, out] = [join(scratch, "patch"), join(scratch, "out")];
  if (chosen === undefined || chosen.includes("ours")) {
    const patience = 3_600_000;
    const make = inChild(self, ["make-here", old, target, patch], patience)!;
    const apply = inChild(self, ["apply-here", old, patch, target], patience)!;
    rows.push({ tool: "hd1", bytes: make.note["bytes"]!, make, apply });
  }
  const zstd = [`--patch-from=${old}`, `-${values.level}`, "--long=31", "-q", "-f"];
  for (const [tool, makes, applies] of [
    ["bsdiff", [old, target, patch], ["bspatch", old, out, patch]],
    [
      "xdelta3",
      ["-e", "-f", "-9", "-S", "djw", "-B", "268435456", "-s", old, target, patch],
      ["xdelta3", "-d", "-f", "-B", "268435456", "-s", old, patch, out],
    ],
    [
      "zstd",
      [...zstd, target, "-o", patch],
      ["zstd", "-d", `--patch-from=${old}`, "--long=31", "-q", "-f", patch, "-o", out],
    ],
  ] as const) {
    if (chosen !== undefined && !chosen.includes(tool)) continue;
    if (spawnSync(tool, ["--version"]).error !== undefined) {
      console.log(`${tool} is not installed`);
      continue;
    }
    for (const file of [patch, out]) rmSync(file, { force: true });
    const make = await costOf(tool, makes);
    const apply = await costOf(applies[0], applies.slice(1));
    if (!readFileSync(out).equals(readFileSync(target))) throw new Error(`${tool} made another file`);
    rows.push({
      tool: tool === "zstd" ? `zstd -${values.level}` : tool,
      bytes: statSync(patch).size,
      make,
      apply,
    });
  }
  return rows;
}

/** CPU as the shell counts it for its child, memory as the system saw it last. */
function costOf(program: string, words: readonly string[]): Promise<Cost> {
  return new Promise((resolve, reject) => {
    const child = spawn("bash", ["-c", 'TIMEFORMAT="%U %S"; time "$@"', "bash", program, ...words], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (part: Buffer) => (said += part.toString()));
    let rss = 0;
    const look = setInterval(() => {
      try {
        const [inner] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8")
          .trim()
          .split(" ");
        const status = readFileSync(`/proc/${inner || child.pid}/status`, "utf8");
        rss = Math.max(rss, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
      } catch {
        // It has just ended.
      }
    }, 10);
    child.on("close", (code) => {
      clearInterval(look);
      const times = /([\d.]+) ([\d.]+)\s*$/.exec(said);
      if (code !== 0 || times === null) reject(new Error(`${program} failed: ${said}`));
      else resolve({ cpu: (Number(times[1]) + Number(times[2])) * 1000, rss });
    });
  });
}
