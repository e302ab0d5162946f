// Real processes: started in groups of their own, found again by pid, start time and token, ended with everything they started.

import { spawn, type ChildProcess } from "node:child_process";
import { open, readdir, readFile, rename } from "node:fs/promises";
import { request } from "node:http";
import { uptime } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { sha256Hex } from "../../core/digest.ts";
import { toUtf8 } from "../../core/bytes.ts";
import { ProcessError } from "../../process/errors.ts";
import type {
  CommandAnswer,
  Exit,
  HttpAnswer,
  ProcessHost,
  ProcessIdentity,
  Probes,
  SpawnSpec,
} from "../../process/ports.ts";

const POLL_MS = 100;
const KEPT_OUTPUT = 4096;

export const systemProcesses: ProcessHost = {
  boot: bootId,
  spawn: async (spec) => {
    const log = await open(spec.log, "a", 0o640);
    let child: ChildProcess;
    let exited: Promise<Exit>;
    try {
      child = spawn(spec.program, spec.args, {
        cwd: spec.cwd,
        env: spec.env,
        detached: true,
        stdio: ["ignore", log.fd, log.fd],
      });
      // Before anything is awaited: a program that ends at once ends while the log is closed below.
      exited = new Promise((resolve) => {
        child.once("exit", (code, signal) => resolve({ code, signal }));
      });
      await new Promise<void>((resolve, reject) => {
        child.once("spawn", resolve);
        child.once("error", reject);
      });
    } catch (cause) {
      throw new ProcessError(
        "process/cannot-start",
        `${spec.program} cannot be started (${(cause as NodeJS.ErrnoException).code ?? "unknown"}).`,
        { program: spec.program },
        { cause },
      );
    } finally {
      await log.close();
    }
    // A component does not keep its agent from ending: the next one takes it over.
    child.unref();
    const pid = child.pid!;
    const startTime = (await processFacts(pid))?.startTime ?? "ended";
    const identity = { pid, startTime, boot: await bootId(), token: spec.token };
    return { identity, exited, stop: (graceMs) => stop(identity, graceMs) };
  },
  find: async ({ pid, startTime, boot, token }) => {
    if (boot !== (await bootId())) return null;
    let found = pid;
    let since = startTime;
    if (found === undefined || since === undefined) {
      const carriers = await carriersOf(token);
      const oldest = carriers.sort((a, b) => Number(a.startTime) - Number(b.startTime))[0];
      if (oldest === undefined) return null;
      [found, since] = [oldest.pid, oldest.startTime];
    }
    const identity: ProcessIdentity = { pid: found, startTime: since, boot, token };
    if (!(await alive(identity))) {
      // The leader is gone; what it started may still be there and must not go on unseen.
      for (const { pid } of await carriersOf(token)) signalTo(pid, "SIGKILL");
      return null;
    }
    return { identity, exited: gone(identity), stop: (graceMs) => stop(identity, graceMs) };
  },
};

/** An adopted process is no child of ours: its end is noticed, its exit code is not. */
async function gone(identity: ProcessIdentity): Promise<Exit> {
  while (await alive(identity)) await delay(POLL_MS, undefined, { ref: false });
  return { code: null, signal: null };
}

async function stop(identity: ProcessIdentity, graceMs: number): Promise<void> {
  const { pid, token } = identity;
  if (await alive(identity)) signalTo(-pid, "SIGTERM");
  for (let waited = 0; waited < graceMs; waited += 40) {
    if (!(await alive(identity)) && (await carriersOf(token)).length === 0) return;
    await delay(40);
  }
  // Whoever is left of the group, and whoever left the group but carries the token.
  for (let round = 0; round < 250; round++) {
    const left = await carriersOf(token);
    const leader = await alive(identity);
    if (!leader && left.length === 0) return;
    if (leader) signalTo(-pid, "SIGKILL");
    for (const { pid } of left) signalTo(pid, "SIGKILL");
    await delay(20);
  }
  throw new ProcessError(
    "process/will-not-stop",
    `The process ${pid} cannot be ended, not even by SIGKILL.`,
    { pid },
  );
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ESRCH" && code !== "EPERM") throw error;
  }
}

async function alive({ pid, startTime }: ProcessIdentity): Promise<boolean> {
  const facts = await processFacts(pid);
  return facts !== null && facts.startTime === startTime && facts.state !== "Z" && facts.state !== "X";
}

type ProcFacts = { readonly state: string; readonly startTime: string };

/** proc(5): the fields after the last parenthesis; state is the 3rd, start time the 22nd of the whole line. */
async function processFacts(pid: number): Promise<ProcFacts | null> {
  try {
    const line = await readFile(`/proc/${pid}/stat`, "latin1");
    const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0]!, startTime: fields[19]! };
  } catch {
    // Without /proc a process cannot be told from another that got its number later: it counts as gone.
    return null;
  }
}

async function carriersOf(token: string): Promise<{ pid: number; startTime: string }[]> {
  const out: { pid: number; startTime: string }[] = [];
  const needle = `UPKEEP_INSTANCE=${token}`;
  for (const name of await readdir("/proc").catch(() => [])) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const environment = await readFile(`/proc/${name}/environ`, "latin1");
      if (!environment.split("\0").includes(needle)) continue;
      const facts = await processFacts(Number(name));
      if (facts !== null && facts.state !== "Z" && facts.state !== "X")
        out.push({ pid: Number(name), startTime: facts.startTime });
    } catch {
      // Gone meanwhile, or not ours to look at; then it does not carry our token.
    }
  }
  return out;
}

let boot: string | null = null;

/** Linux names each boot; elsewhere the time of the boot, to the minute, stands for it. */
async function bootId(): Promise<string> {
  if (boot !== null) return boot;
  try {
    boot = (await readFile("/proc/sys/kernel/random/boot_id", "latin1")).trim().replaceAll("-", "");
  } catch {
    boot = sha256Hex(toUtf8(String(Math.round((Date.now() / 1000 - uptime()) / 60)))).slice(0, 32);
  }
  return boot;
}

export const systemProbes: Probes = {
  http: (port, path, timeoutMs) => httpProbe(port, path, timeoutMs),
  command: (spec, timeoutMs) => commandProbe(spec, timeoutMs),
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

/** The log of the run before is kept as `<path>.1`, one only. */
export async function rotateLog(path: string): Promise<void> {
  await rename(path, `${path}.1`).catch((error: NodeJS.ErrnoException) => {
    // Nothing was written yet, or nothing can be: neither keeps a component from starting.
    if (error.code !== "ENOENT" && error.code !== "EROFS" && error.code !== "ENOSPC") throw error;
  });
}

/** Keeps a log file within its bound although its writer holds it open: the tail is copied aside (`<path>.2`), then the file is emptied. */
export async function boundLog(path: string, limit: number): Promise<void> {
  const log = await open(path, "r+").catch(() => null);
  if (log === null) return;
  try {
    const { size } = await log.stat();
    if (size <= limit) return;
    const tail = Buffer.alloc(Math.min(size, limit >> 1));
    await log.read(tail, 0, tail.length, size - tail.length);
    const beside = await open(`${path}.2`, "w", 0o640);
    try {
      await beside.write(tail);
    } finally {
      await beside.close();
    }
    // The writer appends (O_APPEND), so it goes on at the new end.
    await log.truncate(0);
  } finally {
    await log.close();
  }
}

/** The last bytes of a log, for reports. */
export async function logTail(path: string, limit: number): Promise<string> {
  const log = await open(path, "r").catch(() => null);
  if (log === null) return "";
  try {
    const { size } = await log.stat();
    const tail = Buffer.alloc(Math.min(size, limit));
    await log.read(tail, 0, tail.length, size - tail.length);
    return tail.toString("utf8");
  } finally {
    await log.close();
  }
}
