// The agent as a program of its own: runs one data folder until it is told to stop. Its commands for people live in `upkeep agent`.

import { resolve } from "node:path";
import { UpkeepError } from "../../core/errors.ts";
import { systemClock } from "../../io/clock.ts";
import { jsonLog } from "../../io/log.ts";
import { serveAgent } from "./serve.ts";

const log = jsonLog(systemClock);
const folder = process.env["UPKEEP_DATA"];
const stop = new AbortController();
for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => stop.abort(new Error(name)));

if (folder === undefined || folder === "") {
  log("error", "agent/no-folder", { hint: "UPKEEP_DATA names the agent's data folder." });
  process.exitCode = 2;
} else {
  try {
    await serveAgent({ folder: resolve(folder), log }, stop.signal);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    log("error", error.code, {
      message: error.message,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
    process.exitCode = 1;
  }
}
