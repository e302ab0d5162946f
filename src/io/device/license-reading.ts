// What this machine says about time, for licenses: the wall clock, and how long this start has run, sleep included.

import { readFile } from "node:fs/promises";
import { uptime } from "node:os";
import type { Reading } from "../../license/known-time.ts";
import { bootId } from "../system/proc.ts";

export async function licenseReading(): Promise<Reading> {
  return { wall: Date.now(), boot: await bootId(), uptime: Math.floor((await uptimeSeconds()) * 1000) };
}

/** Linux counts sleep there; elsewhere the system's own word is as good as it gets. */
async function uptimeSeconds(): Promise<number> {
  try {
    const seconds = Number((await readFile("/proc/uptime", "latin1")).split(" ")[0]);
    return Number.isFinite(seconds) ? seconds : uptime();
  } catch {
    return uptime();
  }
}
