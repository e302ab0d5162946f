// What a program leaves behind when it ends by an error that nobody caught: where, never with what values.

import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { UpkeepError } from "../../core/errors.ts";
import { formatInstant } from "../../core/instant.ts";
import type { Log } from "./log.ts";

/** Reports that are kept; a crash loop fills no disk. */
const KEPT = 10;
const FRAMES = 20;

export type CrashReport = {
  readonly program: string;
  readonly time: string;
  readonly pid: number;
  readonly node: string;
  readonly name: string;
  readonly code: string;
  /** Only of our own errors: what the runtime quotes in its messages may be a secret. */
  readonly message: string;
  readonly frames: readonly string[];
};

/**
 * From now on an error that nobody catches becomes one line of the log, and a file in `folder` (mode 0600) if one is given; then the process
 * ends with 1 at once, and whoever watches it starts it again. What was under way is decided by journals, never by this.
 */
export function reportCrashes(given: {
  readonly program: string;
  readonly clock: Clock;
  readonly say: Log;
  readonly folder?: string;
}): void {
  const { program, clock, say, folder } = given;
  process.on("uncaughtException", (error: unknown) => {
    try {
      const report = describeCrash(error, program, formatInstant(clock.now()));
      say("error", "crash", { ...report, frames: report.frames.join(" < ") });
      if (folder !== undefined) keepReport(folder, report);
    } finally {
      process.exit(1);
    }
  });
}

/** Error name, code and places; the sentence only if it is one of ours. */
export function describeCrash(error: unknown, program: string, time: string): CrashReport {
  const known = error instanceof UpkeepError;
  const { code } = (error ?? {}) as { readonly code?: unknown };
  return {
    program,
    time,
    pid: process.pid,
    node: process.version,
    name: error instanceof Error ? error.constructor.name.slice(0, 80) : typeof error,
    code: typeof code === "string" && /^[\w/.-]{1,80}$/.test(code) ? code : "",
    message: known ? error.message.slice(0, 500) : "",
    frames: error instanceof Error ? framesOf(error) : [],
  };
}

/** Function and place of each frame, with the folders above our own source cut off. */
function framesOf({ stack = "", message }: Error): readonly string[] {
  // The message stands before the frames, and may look like some itself.
  const at = message === "" ? -1 : stack.indexOf(message);
  return stack
    .slice(at < 0 ? 0 : at + message.length)
    .split("\n")
    .filter((line) => /^ {4}at \S/.test(line))
    .slice(0, FRAMES)
    .map((line) =>
      line
        .trim()
        .slice(3)
        .replace(/(?:file:\/\/)?\/[^\s()]*\/(?=(?:src|node_modules)\/)/, "")
        .slice(0, 200),
    );
}

function keepReport(folder: string, report: CrashReport): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const name = `crash-${report.time.replaceAll(":", "")}-${report.pid}.json`;
  writeFileSync(join(folder, name), `${JSON.stringify(report, null, 1)}\n`, { mode: 0o600 });
  const old = readdirSync(folder)
    .filter((each) => /^crash-.*\.json$/.test(each))
    .toSorted();
  for (const each of old.slice(0, -KEPT)) rmSync(join(folder, each), { force: true });
}
