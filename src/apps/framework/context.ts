// What a command may use of the world: folders, streams, secrets, progress; given to it, never reached for.

import { resolve } from "node:path";
import { systemClock } from "../../io/system/clock.ts";
import { systemRandom } from "../../io/system/random.ts";
import type { Clock } from "../../core/clock.ts";
import type { Disk } from "../../core/disk.ts";
import type { Random } from "../../core/random.ts";
import { CliError, usage } from "./errors.ts";
import { noProgress, terminalProgress, type Progress } from "./progress.ts";
import { readSecretFile, promptSecret } from "./secret.ts";
import { styler, type Style } from "./style.ts";
import type { Terminal } from "./terminal.ts";

export type Globals = {
  readonly data?: string;
  readonly store?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly color?: boolean;
  readonly verbose?: boolean;
};

export type SecretRequest = {
  /** For people: "Passphrase of the key root-1". */
  readonly what: string;
  /** Name of the environment variable that may hold it. */
  readonly env: string;
  /** Value of the option that names a file, if it was given. */
  readonly file?: string | undefined;
  /** The option's name, for the hint. */
  readonly option: string;
  /** Ask twice: for a secret that is being chosen. */
  readonly twice?: boolean;
};

export interface Context {
  readonly terminal: Terminal;
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  /** Absolute path of the operator's data folder. Throws `cli/usage` where none is named and the user has no home. */
  readonly data: string;
  /** Where the fleet's records are: a database's address, or null for the file in the data folder. */
  readonly store: string | null;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  /** Colours for stdout; the identity in pipes. */
  readonly style: Style;
  /** Letters that fit on a line of the terminal; null where results go into a pipe. */
  readonly width: number | null;
  /** A line on stderr for people; silent with --quiet and --json. */
  note(line: string): void;
  /** A bar on a terminal, nothing in pipes. */
  progress(label: string, total: number): Progress;
  /** From file, environment or hidden prompt, in this order; null when none of them is there. */
  secretOrNull(request: SecretRequest): Promise<string | null>;
  /** Throws `cli/no-secret`. */
  secret(request: SecretRequest): Promise<string>;
  /** Aborted by SIGINT and SIGTERM; asking for it installs the handlers. */
  readonly signal: AbortSignal;
  /** Has this closed when the command is over, however it ends. */
  atEnd(close: () => Promise<void>): void;
  /** Runs another command line of the same program on the given streams, and returns its exit code. */
  run(words: readonly string[], terminal: Terminal): Promise<number>;
  /** Closes what was left to the end. Never throws. */
  end(): Promise<void>;
}

function textOr(text: string | undefined): string | null {
  return text === undefined || text === "" ? null : text;
}

/** What a program gives to each of its commands. */
export type Surroundings = {
  readonly terminal: Terminal;
  readonly disk: Disk;
  readonly run: Context["run"];
};

function dataFolder({ env, home }: Terminal, globals: Globals): string | null {
  const named = globals.data ?? env["UPKEEP_DATA"];
  if (named !== undefined) return named;
  const share = env["XDG_DATA_HOME"] ?? (home === null ? null : `${home}/.local/share`);
  return share === null ? null : `${share}/upkeep`;
}

/** The context of one command under the options that every command has. */
export function createContext({ terminal, disk, run }: Surroundings, globals: Globals): Context {
  const json = globals.json === true;
  const quiet = globals.quiet === true;
  const plain = globals.color === false || (terminal.env["NO_COLOR"] ?? "") !== "";
  const lively = terminal.stderr.isTTY === true && !quiet && !json && terminal.env["CI"] === undefined;
  const folder = dataFolder(terminal, globals);
  let aborter: AbortController | undefined;
  const closers: (() => Promise<void>)[] = [];
  const secretOrNull = async (request: SecretRequest): Promise<string | null> => {
    if (request.file !== undefined) return readSecretFile(disk, resolve(request.file));
    const inherited = terminal.env[request.env];
    if (inherited !== undefined && inherited !== "") return inherited;
    if (terminal.stdin.isTTY !== true || terminal.stderr.isTTY !== true) return null;
    const first = await promptSecret(terminal, `${request.what}: `);
    if (request.twice === true && (await promptSecret(terminal, `${request.what}, once more: `)) !== first) {
      throw new CliError("cli/no-secret", "The two entries differ; nothing was done.", {});
    }
    return first;
  };
  return {
    terminal,
    clock: systemClock,
    random: systemRandom,
    disk,
    run,
    get data() {
      if (folder !== null) return resolve(folder);
      throw usage(
        "There is no folder to work in: this user has no home folder here.",
        "Name one with --data FOLDER, UPKEEP_DATA, or HOME.",
      );
    },
    store: textOr(globals.store) ?? textOr(terminal.env["UPKEEP_STORE"]),
    json,
    quiet,
    verbose: globals.verbose === true,
    width: terminal.stdout.isTTY === true ? (terminal.stdout.columns ?? 80) : null,
    style: styler(terminal.stdout.isTTY === true && !plain && !json),
    note: (line) => {
      if (!quiet && !json) terminal.stderr.write(`${line}\n`);
    },
    progress: (label, total) => (lively ? terminalProgress(terminal.stderr, label, total) : noProgress),
    secretOrNull,
    secret: async (request) => {
      const secret = await secretOrNull(request);
      if (secret !== null) return secret;
      throw new CliError(
        "cli/no-secret",
        `${request.what} is needed and was not given.`,
        { env: request.env },
        { hint: `Set ${request.env}, or give ${request.option} FILE, or run it on a terminal.` },
      );
    },
    atEnd: (close) => void closers.push(close),
    end: async () => {
      await Promise.allSettled(closers.splice(0).map((close) => close()));
    },
    get signal() {
      if (aborter === undefined) {
        aborter = new AbortController();
        const made = aborter;
        for (const name of ["SIGINT", "SIGTERM"] as const) {
          process.once(name, () =>
            made.abort(new CliError("cli/interrupted", "The command was interrupted.", { signal: name })),
          );
        }
      }
      return aborter.signal;
    },
  };
}
