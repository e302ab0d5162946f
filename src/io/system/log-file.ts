// Log lines in a file that never grows beyond its bound: set aside by size, private to its user, opened again when asked.

import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  openSync,
  renameSync,
  writeSync,
} from "node:fs";
import { SigningError } from "../../signing/errors.ts";
import type { LogFileSettings } from "../../signing/policy/log-settings.ts";
import { toStderr } from "./log.ts";

const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0);

/**
 * One writer per file: two would set aside each other's. Written at once and in order, so that the last line before a crash is there.
 * When the file cannot be written (a full disk), lines go to standard error until it can.
 */
export class LogFile {
  #settings: LogFileSettings;
  #file: number | null = null;
  #size = 0;
  #failing = false;
  /** The last line was written in part only: the next one begins on a line of its own. */
  #torn = false;

  /** Errors: `signing/log-file`. */
  constructor(settings: LogFileSettings) {
    this.#settings = settings;
    this.#open();
  }

  /** Other settings, or the same file under its name again: what a program that moves log files expects. Errors: `signing/log-file`; the old file stays in use. */
  reopen(settings: LogFileSettings = this.#settings): void {
    const [before, old] = [this.#settings, this.#file];
    this.#settings = settings;
    try {
      this.#open();
    } catch (error) {
      this.#settings = before;
      throw error;
    }
    if (old !== null) closeSync(old);
  }

  /** `line` ends with its line feed. */
  readonly write = (line: string): void => {
    const bytes = Buffer.from(this.#torn ? `\n${line}` : line, "utf8");
    if (this.#file !== null) {
      try {
        if (this.#size > 0 && this.#size + bytes.length > this.#settings["log-max-bytes"]) this.#setAside();
        const written = writeSync(this.#file, bytes);
        this.#torn = written !== bytes.length && (this.#torn || written > 0);
        if (written !== bytes.length) throw new Error("the disk is full");
        this.#size += bytes.length;
        this.#failing = false;
        return;
      } catch (error) {
        if (!this.#failing)
          toStderr(`${JSON.stringify({ level: "error", event: "log-file-failed", what: String(error) })}\n`);
        this.#failing = true;
      }
    }
    toStderr(line);
  };

  close(): void {
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }

  #open(): void {
    const path = this.#settings["log-file"];
    if (path === undefined) {
      [this.#file, this.#size] = [null, 0];
      return;
    }
    let file: number | null = null;
    try {
      // Non-blocking, so that a pipe laid at its place cannot hold the program up; what is no plain file is refused below.
      // Windows has no O_NOFOLLOW: a link is looked for instead. Its folder is the service's own.
      if (constants.O_NOFOLLOW === undefined && isLink(path)) throw new Error("it is a link");
      file = openSync(path, FLAGS | (constants.O_NONBLOCK ?? 0), 0o600);
      const stat = fstatSync(file);
      if (!stat.isFile()) throw new Error("it is no plain file");
      if ((stat.mode & 0o077) !== 0) fchmodSync(file, 0o600);
      [this.#file, this.#size] = [file, stat.size];
    } catch (cause) {
      if (file !== null) closeSync(file);
      throw new SigningError(
        "signing/log-file",
        `The log file ${path} cannot be written: ${(cause as Error).message}.`,
        { path },
        {
          cause,
          hint: "Make its folder writable for the service's user, or take log-file out of the configuration.",
        },
      );
    }
  }

  /** FILE.1 is the newest. The oldest is overwritten by its successor. */
  #setAside(): void {
    const path = this.#settings["log-file"]!;
    for (let n = this.#settings["log-keep"] - 1; n >= 1; n--) move(`${path}.${n}`, `${path}.${n + 1}`);
    move(path, `${path}.1`);
    const old = this.#file!;
    this.#open();
    closeSync(old);
  }
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
}

function move(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
