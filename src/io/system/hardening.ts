// What a process that holds secrets does to itself before it holds any.

import { writeFileSync } from "node:fs";

/**
 * Linux: a core file of this process and of its children holds no memory. Elsewhere the service unit's limits do it, where there are such.
 * False if nothing was done here: not Linux, or /proc is not mounted.
 */
export function leaveNothingInCoreFiles(): boolean {
  try {
    writeFileSync("/proc/self/coredump_filter", "0");
    return true;
  } catch {
    return false;
  }
}

/** The environment of a child: nothing that could hold a secret or change what it loads. */
export function bareEnvironment(): { readonly [name: string]: string } {
  const kept: { [name: string]: string } = {};
  for (const name of ["PATH", "LANG", "TZ", "SOFTHSM2_CONF", "NODE_COMPILE_CACHE"]) {
    const value = process.env[name];
    if (value !== undefined) kept[name] = value;
  }
  return kept;
}
