// Structured log: one JSON object a line, bounded, never with a secret.

import { formatInstant } from "../../core/instant.ts";
import type { Clock } from "../../core/clock.ts";
import type { Facts } from "../../core/errors.ts";

/** From the least urgent on. `debug` is for finding out why something does not happen. */
export const LEVELS = ["debug", "info", "warn", "error"] as const;
export type Level = (typeof LEVELS)[number];
export type Log = (level: Level, event: string, facts?: Facts) => void;

/** Longest line; a longer one loses its facts but not its event. */
const LIMIT = 8 * 1024;

/** Writes through `write`, by default to standard error. */
export function jsonLog(clock: Clock, write: (line: string) => void = toStderr): Log {
  return (level, event, facts = {}) => {
    const head = { time: formatInstant(clock.now()), level, event };
    // The head stands first, and no fact can take its place.
    const line = oneLine(JSON.stringify({ ...head, ...facts, ...head }, withoutSecrets));
    write(line.length <= LIMIT ? `${line}\n` : `${JSON.stringify({ ...head, cut: line.length })}\n`);
  };
}

/**
 * JSON escapes C0 controls and lone surrogates; what else ends a line, moves a cursor or turns text round for some reader
 * (C1 controls, U+2028, U+2029, bidirectional controls) is escaped here, so that one line of the log is one line everywhere.
 */
export function oneLine(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

const LEFT_OUT = "[left out]";
/** Words in the name of a field whose value is never written. */
const SECRET_WORDS = new Set(
  "password passphrase secret token pin totp otp share shares private credential credentials unlock wrapping".split(
    " ",
  ),
);
/** What a secret of ours looks like wherever it stands: PEM, operators' shares, enrolment and OpenID tokens, one-time code secrets, password hashes. */
const SECRET_TEXT =
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*|upkeep-share-[0-9a-f-]+|upkeep1\.[\w.~+/=-]+|eyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*|otpauth:\/\/\S*|\$argon2id\$\S*/g;

/** The second line of defence: callers name each field and give no secret; this one is for the day one of them does. */
function withoutSecrets(name: string, value: unknown): unknown {
  if (name.split(/[^A-Za-z]+|(?<=[a-z])(?=[A-Z])/).some((word) => SECRET_WORDS.has(word.toLowerCase())))
    return LEFT_OUT;
  if (typeof value !== "string") return value;
  // `code` is the code of an error; a row of digits there would be a one-time code.
  if (name === "code" && /^\d{4,}$/.test(value)) return LEFT_OUT;
  return value.replace(SECRET_TEXT, LEFT_OUT);
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

export function toStderr(line: string): void {
  process.stderr.write(line);
}
