// Sends a signal for reading something again, and only to a program that catches it.

import { readFile } from "node:fs/promises";
import { constants } from "node:os";
import type { ProcessHost } from "../../process/ports.ts";
import { hasProc, isLiving } from "./proc.ts";

export const remind: ProcessHost["remind"] = async (identity, signal) => {
  if (!(await isLiving(identity))) return "gone";
  // Elsewhere nothing tells who catches what.
  if ((await hasProc()) && !(await catches(identity.pid, constants.signals[signal]))) return "not-caught";
  try {
    process.kill(identity.pid, signal);
    return "sent";
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return "gone";
    throw error;
  }
};

/** proc(5): SigCgt is the mask of caught signals, bit 0 for signal 1. */
async function catches(pid: number, number: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, "latin1").catch(() => "");
  const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> BigInt(number - 1)) & 1n) === 1n;
}
