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

/** What strangers can cause: at most this many lines of one event in this time. */
const CALM = { lines: 20, ms: 10_000 };

/**
 * For events that a stranger can cause at will: lines beyond a bound are counted, and the next line that is written tells how many were left out.
 */
export function calm(log: Log): Log {
  const counts = new Map<string, { from: number; lines: number; left: number }>();
  return (level, event, facts = {}) => {
    const now = performance.now();
    let count = counts.get(event);
    if (count === undefined || now - count.from > CALM.ms) {
      const left = count?.left ?? 0;
      count = { from: now, lines: 0, left: 0 };
      counts.set(event, count);
      if (left > 0) log(level, event, { leftOut: left });
    }
    if (count.lines >= CALM.lines) {
      count.left++;
      return;
    }
    count.lines++;
    log(level, event, facts);
  };
}

export const noLog: Log = () => {};

function toStderr(line: string): void {
  process.stderr.write(line);
}
