// Measures one piece of work in a process of its own, so that CPU time and memory are its alone.

import { spawnSync } from "node:child_process";

export type Measured = {
  /** User and system CPU of the work, milliseconds; starting the process and loading modules is not in it. */
  readonly cpu: number;
  readonly wall: number;
  /** Largest resident set of the whole process, MiB. */
  readonly rss: number;
  /** Whatever the work wants to tell. */
  readonly note: { readonly [name: string]: number };
};

/** In the child: loads what `prepare` needs, then runs the work it gives back once and prints what that cost. */
export async function measure(
  prepare: () => Promise<() => Promise<{ [name: string]: number }>>,
): Promise<void> {
  const work = await prepare();
  const cpu = process.cpuUsage();
  const from = performance.now();
  const note = await work();
  const used = process.cpuUsage(cpu);
  const result: Measured = {
    cpu: (used.user + used.system) / 1000,
    wall: performance.now() - from,
    rss: process.resourceUsage().maxRSS / 1024,
    note,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

/** In the parent: runs `file` with `args` in a child. Null if it takes longer than `patience` milliseconds. */
export function inChild(file: URL, args: readonly string[], patience = 120_000): Measured | null {
  const { stdout, stderr, status, error } = spawnSync(process.execPath, [file.pathname, ...args], {
    encoding: "utf8",
    timeout: patience,
    maxBuffer: 16 * 1024 * 1024,
  });
  if ((error as NodeJS.ErrnoException | undefined)?.code === "ETIMEDOUT") return null;
  if (status !== 0) throw new Error(`${file.pathname} ${args.join(" ")} failed: ${stderr}`);
  return JSON.parse(stdout.trim().split("\n").at(-1)!) as Measured;
}

export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(" | ")} |`;
  const [head, ...body] = rows;
  return [line(head!), `|${widths.map((w) => "-".repeat(w + 2)).join("|")}|`, ...body.map(line)].join("\n");
}
