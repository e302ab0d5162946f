// Secrets from a private file or a hidden prompt; never from the command line, which every user of the machine can read.

import { fromUtf8 } from "../../core/bytes.ts";
import type { Disk } from "../../core/disk.ts";
import { CliError } from "./errors.ts";
import type { Terminal } from "./terminal.ts";
import { privateHint } from "../../io/system/platform.ts";

const LIMIT = 4096;

/** The file's first line. A file that others may read is refused. Throws `cli/no-secret`, `disk/*`. */
export async function readSecretFile(disk: Disk, path: string): Promise<string> {
  const stat = await disk.stat(path);
  if ((stat.mode & 0o077) !== 0) {
    throw new CliError(
      "cli/no-secret",
      `${path} may be read by other users, so what it holds is not a secret.`,
      { path, mode: stat.mode.toString(8) },
      { hint: privateHint(path) },
    );
  }
  const line = fromUtf8(await disk.read(path, LIMIT)).split(/\r?\n/, 1)[0] ?? "";
  if (line === "") throw new CliError("cli/no-secret", `The first line of ${path} is empty.`, { path });
  return line;
}

/** Asks on the terminal without echo. Throws `cli/interrupted` on ctrl-c. */
export function promptSecret(terminal: Terminal, question: string): Promise<string> {
  const { stdin, stderr } = terminal;
  stderr.write(question);
  stdin.setRawMode(true);
  stdin.resume();
  stdin.setEncoding("utf8");
  return new Promise((resolve, reject) => {
    let typed = "";
    const finish = (act: () => void): void => {
      stdin.off("data", take);
      stdin.setRawMode(false);
      stdin.pause();
      stderr.write("\n");
      act();
    };
    const take = (chunk: string): void => {
      for (const char of chunk) {
        if (char === "\r" || char === "\n") return finish(() => resolve(typed));
        if (char === "\u0003")
          return finish(() => reject(new CliError("cli/interrupted", "The command was interrupted.", {})));
        if (char === "\u007f" || char === "\b") typed = typed.slice(0, -1);
        else if (char >= " ") typed += char;
      }
    };
    stdin.on("data", take);
  });
}
