// The log of a program that runs until it is stopped: JSON lines for programs, one readable line on a terminal, as much as was asked for.

import { jsonLog, LEVELS, oneLine, type Level, type Log } from "../../io/system/log.ts";
import type { Call, OptionSpec } from "./command.ts";

export const LOG_LEVEL: OptionSpec = {
  flags: "--log-level <level>",
  about: "the least that is logged (else info; warn with --quiet, debug with --verbose)",
  choices: LEVELS,
};

/** Writes to stderr. `least`: below that nothing is written. */
export function programLog(call: Call): { readonly log: Log; readonly everything: Log } {
  const { terminal, clock, quiet, verbose, json } = call.context;
  const { stderr } = terminal;
  const readable = stderr.isTTY === true && !json;
  const everything = jsonLog(clock, (line) => void stderr.write(readable ? readableLine(line) : line));
  const asked = call.text("log-level") as Level | undefined;
  const least = LEVELS.indexOf(asked ?? (quiet ? "warn" : verbose ? "debug" : "info"));
  return {
    everything,
    log: (level, event, facts) => {
      if (LEVELS.indexOf(level) >= least) everything(level, event, facts);
    },
  };
}

/** `04:00:00 warn  fleet/behind  root=1 timestamp=7`: what a line of JSON says, for people. */
export function readableLine(line: string): string {
  const { time, level, event, ...facts } = JSON.parse(line) as { readonly [name: string]: unknown };
  const words = Object.entries(facts).map(([name, value]) => `${name}=${wordOf(value)}`);
  const clock = String(time).slice(11, 19);
  return `${[`${clock} ${String(level).padEnd(5)} ${String(event)}`, ...words].join("  ")}\n`;
}

function wordOf(value: unknown): string {
  // What others wrote must not steer the terminal; JSON escapes it.
  if (typeof value === "string" && /^[\w./:@+-]+$/.test(value)) return value;
  return oneLine(JSON.stringify(value) ?? "");
}
