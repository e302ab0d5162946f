// A command of `upkeep` as a Windows service: what it writes goes to a bounded file, what the manager asks becomes its signals.

import { mkdirSync } from "node:fs";
import { LogFile } from "../../io/log-file.ts";
import { jsonLog } from "../../io/log.ts";
import { windowsServiceManager } from "../../io/windows-service-manager.ts";
import { hostService } from "../../process/service-host.ts";
import type { Context, World } from "../cli/context.ts";

const LOG = { "log-max-bytes": 16 * 1024 * 1024, "log-keep": 8 } as const;

/**
 * Runs `words` until the manager wants it stopped, then ends this process; returns to nobody.
 * Errors: `process/no-services`, `process/service-refused`, `signing/log-file`.
 */
export async function runAsService(given: {
  readonly name: string;
  readonly folder: string;
  readonly words: readonly string[];
  readonly context: Context;
  /** Runs one command line of `upkeep`; given, so that the table is not known here. */
  readonly run: (words: readonly string[], world: World) => Promise<number>;
}): Promise<never> {
  const { context } = given;
  const file = new LogFile({ ...LOG, "log-file": `${given.folder}\\service.log` });
  const say = jsonLog(context.clock, file.write);
  // A service has no streams of its own. Whatever writes to them writes here.
  const stream = { write: (text: string) => (file.write(text.endsWith("\n") ? text : `${text}\n`), true) };
  for (const name of ["stdout", "stderr"] as const)
    process[name].write = (text: string | Uint8Array) =>
      stream.write(typeof text === "string" ? text : Buffer.from(text).toString("utf8"));
  // The folder of sockets and the control file lie where only the service may look, not in a folder for everybody's temporary files.
  process.env["RUNTIME_DIRECTORY"] = `${given.folder}\\run`;
  mkdirSync(process.env["RUNTIME_DIRECTORY"], { recursive: true });
  const exit = await hostService({
    name: given.name,
    manager: await windowsServiceManager(),
    clock: context.clock,
    trouble: (error) => say("error", "service-report-failed", { what: error.message }),
    program: {
      run: async (ready) => {
        say("info", "service-started", { service: given.name, pid: process.pid });
        const code = await given.run(given.words, {
          ...context.world,
          stdout: stream,
          stderr: stream,
          ready,
        });
        say(code === 0 ? "info" : "error", "service-ended", { exit: code });
        return code;
      },
      stop: () => void process.emit("SIGTERM"),
      reload: () => void process.emit("SIGHUP"),
    },
  });
  file.close();
  process.exit(exit);
}
