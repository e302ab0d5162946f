// A log that keeps what its level asks for.

import type { Log } from "../../io/system/log.ts";

const ORDER = ["error", "warn", "info", "debug"] as const;

/** `level` is asked at each line, so that a reload changes it. */
export function levelled(log: Log, level: () => (typeof ORDER)[number]): Log {
  return (at, event, facts) => {
    if (ORDER.indexOf(at) <= ORDER.indexOf(level())) log(at, event, facts);
  };
}
