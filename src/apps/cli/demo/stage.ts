// The demo's stage: runs the real programs as a user would, and ends exactly those it started.

import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { moduleBeside } from "../../../core/module-beside.ts";
import { partArguments } from "../../../io/system/own-part.ts";
import { parseJsonText, isJsonObject, type JsonObject } from "../../../core/json.ts";
import { FAILED, UpkeepError, type Traits } from "../../../core/errors.ts";

export type DemoErrorCode =
  | "demo/command-failed"
  | "demo/program-ended"
  | "demo/took-too-long"
  | "demo/not-shown";
export const DEMO_ERRORS = {
  "demo/command-failed": FAILED,
  "demo/program-ended": FAILED,
  "demo/took-too-long": FAILED,
  "demo/not-shown": FAILED,
} satisfies Traits<DemoErrorCode>;

/** The show did not go as announced; the message says where. */
export class DemoError extends UpkeepError<DemoErrorCode> {
  protected override get traits(): Traits<DemoErrorCode> {
    return DEMO_ERRORS;
  }
}

const MAIN = partArguments("cli", moduleBeside("../main", import.meta.url));
const STOP_GRACE = 8_000;

export type Program = {
  readonly name: string;
  readonly pid: number;
  /** Everything it said so far. */
  said(): string;
  readonly log: string;
};

export class Stage {
  readonly folder: string;
  readonly #running = new Map<Program, ChildProcess>();
  readonly #signal: AbortSignal;

  constructor(folder: string, signal: AbortSignal) {
    this.folder = folder;
    this.#signal = signal;
  }

  /** Runs `upkeep WORDS --json` to its end and gives back what it printed. Errors: `demo/command-failed`. */
  async command(
    data: string,
    words: readonly string[],
    env: Record<string, string> = {},
  ): Promise<JsonObject> {
    const child = spawn(process.execPath, [...MAIN, "--data", data, "--json", ...words], {
      env: this.#environment(env),
      stdio: ["ignore", "pipe", "pipe"],
      signal: this.#signal,
    });
    let [out, errors] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
    const code = await ended(child);
    if (code !== 0) {
      throw new DemoError(
        "demo/command-failed",
        `"upkeep ${words.join(" ")}" ended with ${code}: ${(errors || out).trim().slice(0, 2000)}`,
        {
          words: [...words],
          exit: code,
        },
      );
    }
    const value = parseJsonText(out);
    if (!isJsonObject(value))
      throw new DemoError("demo/command-failed", `"upkeep ${words.join(" ")}" printed no JSON object.`);
    return value;
  }

  /** Starts `upkeep WORDS` and leaves it running; what it says goes to `<name>.log`. */
  start(name: string, data: string, words: readonly string[]): Program {
    const log = `${this.folder}/${name}.log`;
    const out = openSync(log, "a", 0o600);
    // A group of its own, so that a Ctrl-C meant for the demo reaches it in order, and --keep can leave it behind.
    const child = spawn(process.execPath, [...MAIN, "--data", data, ...words], {
      env: this.#environment({}),
      stdio: ["ignore", out, out],
      detached: true,
    });
    closeSync(out);
    const program: Program = { name, pid: child.pid ?? 0, log, said: () => readFileSync(log, "utf8") };
    this.#running.set(program, child);
    return program;
  }

  /** Asks again and again until the answer is not null. Errors: `demo/took-too-long`, `demo/program-ended`. */
  async until<T>(what: string, seconds: number, ask: () => Promise<T | null> | T | null): Promise<T> {
    const end = performance.now() + seconds * 1000;
    for (;;) {
      const answer = await ask();
      if (answer !== null) return answer;
      for (const [program, child] of this.#running) {
        if (child.exitCode === null && child.signalCode === null) continue;
        throw new DemoError(
          "demo/program-ended",
          `The ${program.name} ended by itself; it said: ${program.said().slice(-1500)}`,
          {
            log: program.log,
          },
        );
      }
      if (performance.now() > end) {
        throw new DemoError("demo/took-too-long", `Waited ${seconds} s in vain for this: ${what}.`, {
          what,
          folder: this.folder,
        });
      }
      await delay(100, undefined, { signal: this.#signal });
    }
  }

  /** Ends what was started, by its own process id, gently first. */
  async stopAll(): Promise<void> {
    await Promise.all([...this.#running].toReversed().map(([, child]) => stop(child)));
    this.#running.clear();
  }

  /** Lets the programs live on without us. */
  leaveRunning(): readonly Program[] {
    const programs = [...this.#running.keys()];
    for (const child of this.#running.values()) child.unref();
    this.#running.clear();
    return programs;
  }

  #environment(more: Record<string, string>): NodeJS.ProcessEnv {
    // The demo's service is a script of this Node; a device in the field brings its own runtime or none.
    return { ...process.env, ...more, PATH: `${dirname(process.execPath)}:${process.env["PATH"] ?? ""}` };
  }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = ended(child);
  child.kill("SIGTERM");
  const slow = new AbortController();
  const last = delay(STOP_GRACE, undefined, { signal: slow.signal }).then(
    () => child.kill("SIGKILL"),
    () => false,
  );
  await gone;
  slow.abort();
  await last;
}

function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(code ?? (signal === null ? 1 : 128)));
  });
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string")
    throw new DemoError("demo/not-shown", "No free port was found.");
  return address.port;
}
