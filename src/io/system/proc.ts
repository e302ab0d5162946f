// What /proc says of processes: whether one lives, who carries a token, who belongs to whom. Without /proc, what the kernel says to a signal.

import { readdir, readFile } from "node:fs/promises";
import { uptime } from "node:os";
import type { ProcessIdentity } from "../../process/ports.ts";

let mounted: boolean | null = null;

/** Whether processes can be told apart here for good: Linux with /proc. */
export async function hasProc(): Promise<boolean> {
  mounted ??= (await processFacts(process.pid)) !== null;
  return mounted;
}

export type ProcFacts = {
  readonly state: string;
  readonly startTime: string;
  readonly parent: number;
  readonly group: number;
};

/** proc(5): the fields after the last parenthesis; state is the 3rd, parent the 4th, group the 5th, start time the 22nd of the whole line. */
export async function processFacts(pid: number): Promise<ProcFacts | null> {
  try {
    const line = await readFile(`/proc/${pid}/stat`, "latin1");
    const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
    return {
      state: fields[0]!,
      parent: Number(fields[1]),
      group: Number(fields[2]),
      startTime: fields[19]!,
    };
  } catch {
    return null;
  }
}

export async function isLiving({ pid, startTime }: ProcessIdentity): Promise<boolean> {
  // Without /proc a process cannot be told from another that got its number later; that of a group is taken as long as one of it lives.
  if (!(await hasProc())) return groupLives(pid);
  const facts = await processFacts(pid);
  return facts !== null && facts.startTime === startTime && !isDead(facts);
}

function isDead({ state }: ProcFacts): boolean {
  return state === "Z" || state === "X";
}

function groupLives(pid: number): boolean {
  try {
    process.kill(-pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

export type Carrier = { readonly pid: number; readonly startTime: string };

/** Living processes in whose environment the token stands. */
export async function carriersOf(token: string): Promise<Carrier[]> {
  const out: Carrier[] = [];
  const needle = `UPKEEP_INSTANCE=${token}`;
  for (const pid of await allProcesses()) {
    try {
      const environment = await readFile(`/proc/${pid}/environ`, "latin1");
      if (!environment.split("\0").includes(needle)) continue;
      const facts = await processFacts(pid);
      if (facts !== null && !isDead(facts)) out.push({ pid, startTime: facts.startTime });
    } catch {
      // Gone meanwhile, or not ours to look at; then it does not carry our token.
    }
  }
  return out;
}

/** The processes of a component: its leader, its group, whatever descends from them, and what carries its token. */
export async function familyOf({ pid, token }: ProcessIdentity): Promise<ReadonlySet<number>> {
  const family = new Set([pid, ...(await carriersOf(token)).map((carrier) => carrier.pid)]);
  const facts: (readonly [number, ProcFacts])[] = [];
  for (const other of await allProcesses()) {
    const found = await processFacts(other);
    if (found !== null) facts.push([other, found]);
  }
  for (let before = 0; before !== family.size;) {
    before = family.size;
    for (const [other, { parent, group }] of facts)
      if (group === pid || family.has(parent)) family.add(other);
  }
  return family;
}

async function allProcesses(): Promise<number[]> {
  return (await readdir("/proc").catch(() => [])).filter((name) => /^\d+$/.test(name)).map(Number);
}

let boot: string | null = null;

/** Linux names each boot; elsewhere its time stands for it, in seconds. */
export async function bootId(): Promise<string> {
  if (boot !== null) return boot;
  try {
    boot = (await readFile("/proc/sys/kernel/random/boot_id", "latin1")).trim().replaceAll("-", "");
  } catch {
    boot = Math.round(Date.now() / 1000 - uptime())
      .toString(16)
      .padStart(32, "0");
  }
  return boot;
}

/** Two looks at one clock differ by its corrections. */
const SAME_BOOT_SECONDS = 120;
const BY_TIME = /^0{20}[0-9a-f]{12}$/;

export function sameBoot(a: string, b: string): boolean {
  if (a === b) return true;
  return (
    BY_TIME.test(a) &&
    BY_TIME.test(b) &&
    Math.abs(Number.parseInt(a, 16) - Number.parseInt(b, 16)) <= SAME_BOOT_SECONDS
  );
}
