// How many descriptors this process holds open, and how many the system lets it have: every connection and every open file is one.

import { readdirSync, readFileSync } from "node:fs";

export type Descriptors = { readonly open: number; readonly limit: number };

/** Null where the system does not say. */
export function descriptors(): Descriptors | null {
  const limit = descriptorLimit();
  if (limit === null) return null;
  try {
    // The list of them is read through one more.
    return { open: readdirSync("/proc/self/fd").length - 1, limit };
  } catch (error) {
    // Not even this one could be had.
    const code = (error as NodeJS.ErrnoException).code;
    return code === "EMFILE" || code === "ENFILE" ? { open: limit, limit } : null;
  }
}

let known: number | null | undefined;

/** Read once, while there is a descriptor left to read it with. */
export function descriptorLimit(): number | null {
  known ??= readLimit();
  return known;
}

function readLimit(): number | null {
  try {
    const match = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8"));
    return match === null || match[1] === "unlimited" ? null : Number(match[1]);
  } catch {
    return null;
  }
}
