// A kind of machine in one word, for tables, rules and filters.

import type { PlatformFacts } from "../message/common.ts";

/** `linux-x64-glibc`. */
export function platformWord({ os, arch, libc }: PlatformFacts): string {
  return [os, arch, ...(libc === undefined ? [] : [libc])].join("-");
}
