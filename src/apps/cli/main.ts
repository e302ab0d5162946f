#!/usr/bin/env node
// The program `upkeep`: hands the words of the command line to the table.

import { systemDisk } from "../../io/system/disk.ts";
import { homeFolder, takeEnvironment } from "../../io/system/environment.ts";
import { ownVersion } from "../framework/own-program.ts";
import { runProgram, type Program } from "../framework/program.ts";
import { loadSettings } from "../framework/settings-file.ts";
import { TABLE } from "./table.ts";

/** Verbs that signtool has as well; other command lines need no look at its dialect. */
const SIGNTOOL_VERBS: ReadonlySet<string> = new Set(["sign", "verify", "timestamp", "remove"]);

// A reader that closes early (head, less) is no failure of ours.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

async function main(): Promise<void> {
  const terminal = {
    stdout: process.stdout,
    stderr: process.stderr,
    stdin: process.stdin,
    env: takeEnvironment(),
    home: homeFolder(),
  };
  const disk =
    process.platform === "win32"
      ? (await import("../../io/windows/disk.ts")).withAccessLists(systemDisk)
      : systemDisk;
  const program: Program = {
    table: TABLE,
    version: ownVersion(),
    disk,
    load: () => loadSettings(TABLE, terminal, systemDisk),
    translate: async (words, env) => {
      if (!words.some((word) => SIGNTOOL_VERBS.has(word.toLowerCase()))) return words;
      const service = (env["UPKEEP_SERVICE"] ?? "") !== "" && (env["UPKEEP_CERT"] ?? "") === "";
      return (await import("./sign/signtool.ts")).fromSigntool(words, service);
    },
  };
  process.exitCode = await runProgram(program, process.argv.slice(2), terminal);
}

void main();
