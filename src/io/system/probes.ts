// How a component is asked whether it is well: over HTTP on the loopback address, or by a program of its slot.

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { ProcessError } from "../../process/errors.ts";
import type { CommandAnswer, HttpAnswer, ProcessIdentity, Probes, SpawnSpec } from "../../process/ports.ts";
import { acceptedBy, strangerAt } from "./listeners.ts";
import { lookAtProgram } from "./program-look.ts";
import { signalTo } from "./process.ts";
import { confined, prepareUser, type User } from "./run-as.ts";

const KEPT_OUTPUT = 4096;
const BETWEEN_TRIES = 20;

export const systemProbes: Probes = {
  http: async (port, path, timeoutMs, by) => {
    const answer = await httpProbe(port, path, timeoutMs);
    // Silence is silence, whoever listens.
    if (answer.kind !== "status") return answer;
    const stranger =
      by === null ? "nobody of this component, which does not run" : await strangerAt(port, by);
    return stranger === null ? answer : { kind: "stranger", what: `on port ${port} is that of ${stranger}` };
  },
  httpOf: async (port, path, timeoutMs, by) => {
    for (const end = performance.now() + timeoutMs; ;) {
      const left = end - performance.now();
      if (left <= 0) return { kind: "timeout", what: "was answered by the version before only" };
      const socket = await connection(port, left, by);
      if (socket === "stranger") await delay(BETWEEN_TRIES);
      else if (typeof socket === "string") return { kind: socket, what: WHAT[socket] };
      else return httpProbe(port, path, Math.max(1, end - performance.now()), socket);
    }
  },
  command: async (spec, timeoutMs) => {
    const unfit = await lookAtProgram(spec);
    if (unfit === null) return probeAs(spec, timeoutMs);
    if (unfit.code === "process/cannot-start") return { kind: "not-started", what: unfit.reason };
    // As a shell would say it: not there, or not to be started.
    const code = existsSync(spec.program) ? 126 : 127;
    return { kind: "exit", exit: { code, signal: null }, output: unfit.reason };
  },
};

const WHAT = {
  refused: "refused the connection",
  timeout: "did not accept the connection in time",
} as const;

/** A connection that a process of the component has accepted, as far as the system says who did. */
function connection(
  port: number,
  timeoutMs: number,
  by: ProcessIdentity,
): Promise<Socket | "stranger" | keyof typeof WHAT> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    const state = { over: false };
    const done = (answer: Socket | "stranger" | keyof typeof WHAT): void => {
      state.over = true;
      clearTimeout(timer);
      if (answer !== socket) socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => done("timeout"), timeoutMs);
    socket.once("error", () => done("refused"));
    socket.once("connect", () => {
      const look = async (): Promise<void> => {
        while (!state.over) {
          const accepted = await acceptedBy(port, socket.localPort ?? 0, by);
          if (state.over) return;
          if (accepted === "not-yet") await delay(5);
          else return done(accepted === "other" ? "stranger" : socket);
        }
      };
      void look();
    });
  });
}

function httpProbe(port: number, path: string, timeoutMs: number, over?: Socket): Promise<HttpAnswer> {
  return new Promise((resolve) => {
    const call = request(
      // A connection of its own each time: a kept one would say nothing about accepting new ones.
      {
        host: "127.0.0.1",
        port,
        path,
        method: "GET",
        agent: false,
        headers: { connection: "close" },
        ...(over === undefined ? {} : { createConnection: () => over }),
      },
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

/** As the user that the component runs as: its probe is a program of the same release. */
async function probeAs(spec: Omit<SpawnSpec, "log" | "token">, timeoutMs: number): Promise<CommandAnswer> {
  if (spec.as === undefined) return commandProbe(spec, [spec.program, spec.args], null, timeoutMs);
  try {
    const user = await prepareUser(spec.as);
    return await commandProbe(spec, confined(spec.as, [spec.program, spec.args]), user, timeoutMs);
  } catch (error) {
    if (error instanceof ProcessError) return { kind: "not-started", what: error.message };
    throw error;
  }
}

function commandProbe(
  spec: Omit<SpawnSpec, "log" | "token">,
  [program, args]: readonly [string, readonly string[]],
  user: User | null,
  timeoutMs: number,
): Promise<CommandAnswer> {
  return new Promise((resolve) => {
    let output = "";
    let child: ChildProcess;
    try {
      child = spawn(program, args, {
        ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
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
