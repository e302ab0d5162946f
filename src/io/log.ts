// Structured log: one JSON object a line, bounded, never with a secret.

import { formatInstant } from "../core/instant.ts";
import type { Clock } from "../core/clock.ts";
import type { Facts } from "../core/errors.ts";

export type Level = "info" | "warn" | "error";
export type Log = (level: Level, event: string, facts?: Facts) => void;

/** Longest line; a longer one loses its facts but not its event. */
const LIMIT = 8 * 1024;

/** Writes through `write`, by default to standard error. */
export function jsonLog(clock: Clock, write: (line: string) => void = toStderr): Log {
  return (level, event, facts = {}) => {
    const head = { time: formatInstant(clock.now()), level, event };
    const line = JSON.stringify({ ...head, ...facts });
    write(line.length <= LIMIT ? `${line}\n` : `${JSON.stringify({ ...head, cut: line.length })}\n`);
  };
}

export const noLog: Log = () => {};

function toStderr(line: string): void {
  process.stderr.write(line);
}
