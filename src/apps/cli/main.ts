// The program `upkeep`: hands the words of the command line to the table.

import { readFileSync } from "node:fs";
import { systemDisk } from "../../io/system/disk.ts";
import { homeFolder, takeEnvironment } from "../../io/system/environment.ts";
import { runProgram } from "../framework/program.ts";
import { loadSettings } from "../framework/settings-file.ts";
import { TABLE } from "./table.ts";

const { version } = JSON.parse(readFileSync(new URL("../../../package.json", import.meta.url), "utf8")) as {
  version: string;
};

// A reader that closes early (head, less) is no failure of ours.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

const world = {
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: process.stdin,
  env: takeEnvironment(),
  home: homeFolder(),
};
process.exitCode = await runProgram(TABLE, process.argv.slice(2), world, version, "upkeep", () =>
  loadSettings(TABLE, world, systemDisk),
);
