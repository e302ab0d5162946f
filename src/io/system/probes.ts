// How a component is asked whether it is well: over HTTP on the loopback address, or by a program of its slot.

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { request } from "node:http";
import type { CommandAnswer, HttpAnswer, Probes, SpawnSpec } from "../../process/ports.ts";
import { strangerAt } from "./listeners.ts";
import { lookAtProgram } from "./program-look.ts";
import { signalTo } from "./process.ts";

const KEPT_OUTPUT = 4096;

export const systemProbes: Probes = {
  http: async (port, path, timeoutMs, by) => {
    const answer = await httpProbe(port, path, timeoutMs);
    // Silence is silence, whoever listens.
    if (answer.kind !== "status") return answer;
    const stranger =
      by === null ? "nobody of this component, which does not run" : await strangerAt(port, by);
    return stranger === null ? answer : { kind: "stranger", what: `on port ${port} is that of ${stranger}` };
  },
  command: async (spec, timeoutMs) => {
    const unfit = await lookAtProgram(spec);
    if (unfit === null) return commandProbe(spec, timeoutMs);
    if (unfit.code === "process/cannot-start") return { kind: "not-started", what: unfit.reason };
    // As a shell would say it: not there, or not to be started.
    const code = existsSync(spec.program) ? 126 : 127;
    return { kind: "exit", exit: { code, signal: null }, output: unfit.reason };
  },
};

function httpProbe(port: number, path: string, timeoutMs: number): Promise<HttpAnswer> {
  return new Promise((resolve) => {
    const call = request(
      // A connection of its own each time: a kept one would say nothing about accepting new ones.
      { host: "127.0.0.1", port, path, method: "GET", agent: false, headers: { connection: "close" } },
      (answer) => {
        resolve({ kind: "status", status: answer.statusCode ?? 0 });
        answer.destroy();
      },
    );
    const timer = setTimeout(() => {
      resolve({ kind: "timeout", what: `did not answer within ${timeoutMs / 1000} s` });
      call.destroy();
    }, timeoutMs);
    call.on("error", (error: NodeJS.ErrnoException) => {
      const refused = error.code === "ECONNREFUSED";
      resolve({
        kind: refused ? "refused" : "broken",
        what: refused ? "refused the connection" : `could not be asked (${error.code ?? error.message})`,
      });
    });
    call.on("close", () => clearTimeout(timer));
    call.end();
  });
}

function commandProbe(spec: Omit<SpawnSpec, "log" | "token">, timeoutMs: number): Promise<CommandAnswer> {
  return new Promise((resolve) => {
    let output = "";
    let child: ChildProcess;
    try {
      child = spawn(spec.program, spec.args, {
        cwd: spec.cwd,
        env: spec.env,
        detached: true,
        stdio: ["ignore", "pipe", "pipe"],
      });
    } catch (error) {
      resolve({ kind: "not-started", what: (error as Error).message });
      return;
    }
    const keep = (part: Buffer): void => {
      output = (output + part.toString("utf8")).slice(-KEPT_OUTPUT);
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    const killAll = (): void => {
      if (child.pid !== undefined) signalTo(-child.pid, "SIGKILL");
    };
    const timer = setTimeout(() => {
      resolve({ kind: "timeout", output });
      killAll();
    }, timeoutMs);
    child.on("error", (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      // A program that is not there or not executable is the release's fault; all else is the machine's.
      const code = error.code ?? "unknown";
      if (code === "ENOENT" || code === "EACCES")
        resolve({ kind: "exit", exit: { code: code === "ENOENT" ? 127 : 126, signal: null }, output: code });
      else resolve({ kind: "not-started", what: code });
    });
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      resolve({ kind: "exit", exit: { code, signal }, output });
      // Nothing that a probe started stays behind.
      killAll();
    });
  });
}
