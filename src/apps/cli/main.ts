// The program `upkeep`: hands the words of the command line to the table.

import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { runProgram } from "./program.ts";
import { TABLE } from "./table.ts";

const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as {
  version: string;
};

// A reader that closes early (head, less) is no failure of ours.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

process.exitCode = await runProgram(
  TABLE,
  process.argv.slice(2),
  {
    stdout: process.stdout,
    stderr: process.stderr,
    stdin: process.stdin,
    env: process.env,
    home: homedir(),
  },
  version,
);
