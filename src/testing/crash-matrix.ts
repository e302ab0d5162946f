// The kill matrix: one action, cut at every disk operation, every state it may leave handed to a check.

import { PowerCut, type MemoryDisk } from "./memory-disk.ts";

export type CrashCase = {
  /** The changing operation before which power was cut, and which of its crash states this is. */
  readonly point: number;
  readonly state: number;
  /** True if only the process died and the system kept every write. */
  readonly killed: boolean;
  readonly disk: MemoryDisk;
};

export type CrashMatrixOptions = {
  /** States per crash point; default 16. */
  readonly states?: number;
  /** Only every n-th crash point; default 1. */
  readonly stride?: number;
};

/**
 * Runs `action` once for its length, then once per crash point on a copy of `start`; each state left behind goes to `check`.
 * Returns how many cases were checked. An action that ends by itself before the cut is a defect of the test and throws.
 */
export async function crashMatrix(
  start: MemoryDisk,
  action: (disk: MemoryDisk) => Promise<void>,
  check: (found: CrashCase) => Promise<void>,
  options: CrashMatrixOptions = {},
): Promise<number> {
  const { states = 16, stride = 1 } = options;
  const whole = start.clone();
  await action(whole);
  const length = whole.operations;
  let cases = 0;
  for (let point = 0; point < length; point += stride) {
    const disk = start.clone();
    disk.crashAt = point;
    try {
      await action(disk);
      throw new Error(`the action ended before operation ${point} although it had ${length}`);
    } catch (error) {
      if (!isPowerCut(error)) throw error;
    }
    const left = disk.crashStates(states);
    await check({ point, state: -1, killed: true, disk: disk.clone() });
    for (const [state, survivor] of left.entries())
      await check({ point, state, killed: false, disk: survivor });
    cases += 1 + left.length;
  }
  return cases;
}

/** A power cut may arrive wrapped as the cause of another error; nothing may have been done about it. */
export function isPowerCut(error: unknown): boolean {
  for (let e = error; e !== undefined && e !== null; e = e instanceof Error ? e.cause : undefined) {
    if (e instanceof PowerCut) return true;
  }
  return false;
}
