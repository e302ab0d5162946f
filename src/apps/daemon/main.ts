// A command of `upkeep` as a Windows service: what it writes goes to a bounded file, what the manager asks becomes its signals.

import { mkdirSync } from "node:fs";
import { UpkeepError } from "../../core/errors.ts";
import { LogFile } from "../../io/system/log-file.ts";
import { jsonLog, type Log } from "../../io/system/log.ts";
import { windowsServiceManager } from "../../io/windows/service-manager.ts";
import { hostService } from "../../process/service-host.ts";
import type { Context } from "../framework/context.ts";

const LOG = { "log-max-bytes": 16 * 1024 * 1024, "log-keep": 8 } as const;

type Given = {
  readonly name: string;
  readonly folder: string;
  readonly words: readonly string[];
  readonly context: Context;
};

/**
 * Runs `words` until the manager wants it stopped, then ends this process; returns to nobody.
 * Errors, when it was not the manager who started it: `process/no-services`, `process/service-refused`; nothing was touched then.
 */
export async function runAsService(given: Given): Promise<never> {
  let say: Log = () => {};
  const exit = await hostService({
    name: given.name,
    manager: await windowsServiceManager(),
    clock: given.context.clock,
    trouble: (error) => say("error", "service-report-failed", { what: error.message }),
    program: {
      run: async (ready) => {
        try {
          const stream = streamsToFile(`${given.folder}\\service.log`);
          say = jsonLog(given.context.clock, stream.write);
          // The folder of sockets lies where only the service may look, not where everybody's temporary files are.
          process.env["RUNTIME_DIRECTORY"] = `${given.folder}\\run`;
          mkdirSync(process.env["RUNTIME_DIRECTORY"], { recursive: true });
          say("info", "service-started", { service: given.name, pid: process.pid });
          const terminal = { ...given.context.terminal, stdout: stream, stderr: stream, ready };
          const code = await given.context.run(given.words, terminal);
          say(code === 0 ? "info" : "error", "service-ended", { exit: code });
          return code;
        } catch (error) {
          say("error", "service-failed", {
            what: error instanceof UpkeepError ? error.message : "unforeseen",
          });
          return 1;
        }
      },
      stop: () => void process.emit("SIGTERM"),
      reload: () => void process.emit("SIGHUP"),
    },
  });
  process.exit(exit);
}

/** A service has no streams of its own: whatever writes to them writes there. Errors: `signing/log-file`. */
function streamsToFile(path: string): { readonly write: (text: string) => boolean } {
  const file = new LogFile({ ...LOG, "log-file": path });
  const write = (text: string): boolean => {
    file.write(text.endsWith("\n") ? text : `${text}\n`);
    return true;
  };
  for (const name of ["stdout", "stderr"] as const) {
    // What LogFile itself says when it cannot write would come back here.
    let inside = false;
    process[name].write = (text: string | Uint8Array) => {
      if (inside) return true;
      inside = true;
      try {
        return write(typeof text === "string" ? text : Buffer.from(text).toString("utf8"));
      } finally {
        inside = false;
      }
    };
  }
  return { write };
}
