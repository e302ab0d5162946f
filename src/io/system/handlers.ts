// Runs a handler for one step: a request in, an answer out, a time limit, and nothing of it left behind.

import { spawn, type ChildProcess } from "node:child_process";
import { open } from "node:fs/promises";
import { ANSWER_LIMIT } from "../../process/handler-protocol.ts";
import type { HandlerAnswer, HandlerHost } from "../../process/ports.ts";
import { carriersOf, hasProc } from "./proc.ts";
import { signalTo } from "./process.ts";

const KEPT_ERRORS = 4096;
/** What was written before the end is read in this time, even if somebody else still holds the pipe. */
const PIPE_GRACE_MS = 1000;

export const systemHandlers: HandlerHost = {
  run: async (spec, input, timeoutMs) => {
    const log = await open(spec.log, "a", 0o640).catch(() => null);
    try {
      const answer = await exchange(spec, input, timeoutMs, (part) => {
        // A log that cannot take it costs the line and not the step.
        void log?.write(part).catch(() => undefined);
      });
      await endRest(spec.token);
      return answer;
    } finally {
      await log?.close().catch(() => undefined);
    }
  },
};

function exchange(
  spec: Parameters<HandlerHost["run"]>[0],
  input: Uint8Array,
  timeoutMs: number,
  write: (part: Buffer) => void,
): Promise<HandlerAnswer> {
  return new Promise((resolve) => {
    let child: ChildProcess;
    try {
      child = spawn(spec.program, spec.args, {
        cwd: spec.cwd,
        env: spec.env,
        detached: true,
        stdio: ["pipe", "pipe", "pipe"],
      });
    } catch (error) {
      resolve({ kind: "not-started", what: (error as Error).message });
      return;
    }
    const parts: Buffer[] = [];
    let [length, errors] = [0, ""];
    child.stdout!.on("data", (part: Buffer) => {
      length += part.length;
      // One byte too many shows that it is too long.
      if (length <= ANSWER_LIMIT + part.length) parts.push(part);
    });
    child.stderr!.on("data", (part: Buffer) => {
      errors = (errors + part.toString("utf8")).slice(-KEPT_ERRORS);
      write(part);
    });
    // A handler that does not read its request says what is wrong by its exit code.
    child.stdin!.on("error", () => {});
    child.stdin!.end(input);
    const killAll = (): void => {
      if (child.pid !== undefined) signalTo(-child.pid, "SIGKILL");
    };
    const timer = setTimeout(() => {
      resolve({ kind: "timeout", errors });
      killAll();
    }, timeoutMs);
    child.on("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      resolve({ kind: "not-started", what: error.code ?? error.message });
    });
    // Its end counts, and not that of something that it left behind with the pipe in its hands.
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      killAll();
      const done = (): void => {
        const output = length > ANSWER_LIMIT ? Buffer.alloc(0) : Buffer.concat(parts);
        resolve({ kind: "exit", exit: { code, signal }, output, errors });
      };
      const late = setTimeout(done, PIPE_GRACE_MS);
      child.once("close", () => {
        clearTimeout(late);
        done();
      });
    });
  });
}

/** Whoever left the group but carries the token. */
async function endRest(token: string): Promise<void> {
  if (!(await hasProc())) return;
  for (const { pid } of await carriersOf(token)) signalTo(pid, "SIGKILL");
}
