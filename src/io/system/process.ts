// Real processes: started in groups of their own, found again by pid, start time and token, ended with everything they started.

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { ProcessError } from "../../process/errors.ts";
import type { Exit, ProcessHost, ProcessIdentity, SpawnSpec } from "../../process/ports.ts";
import { bootId, carriersOf, hasProc, isLiving, processFacts, sameBoot } from "./proc.ts";
import { lookAtProgram } from "./program-look.ts";
import { remind } from "./remind.ts";

const POLL_MS = 100;
/** How long what an earlier agent left has to end where it cannot be taken over. */
const STRAY_GRACE_MS = 2000;

export const systemProcesses: ProcessHost = {
  boot: bootId,
  remind,
  look: lookAtProgram,
  findsAgain: hasProc,
  spawn: async (spec) => {
    // execvp hands what the kernel does not know (ENOEXEC) to /bin/sh: it must not come to that.
    const unfit = await lookAtProgram(spec);
    if (unfit !== null)
      throw new ProcessError(
        unfit.code,
        unfit.reason,
        { program: spec.program },
        unfit.hint === undefined ? {} : { hint: unfit.hint },
      );
    const log = await open(spec.log, "a", 0o640);
    let child: ChildProcess;
    let exited: Promise<Exit>;
    try {
      const [program, args] = await endingWithUs(spec);
      child = spawn(program, args, {
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
    if (!sameBoot(boot, await bootId())) return null;
    if (!(await hasProc())) return endStray(pid, boot, token);
    let found = pid;
    let since = startTime;
    if (found === undefined || since === undefined) {
      const carriers = await carriersOf(token);
      const oldest = carriers.sort((a, b) => Number(a.startTime) - Number(b.startTime))[0];
      if (oldest === undefined) return null;
      [found, since] = [oldest.pid, oldest.startTime];
    }
    const identity: ProcessIdentity = { pid: found, startTime: since, boot, token };
    if (!(await isLiving(identity))) {
      // The leader is gone; what it started may still be there and must not go on unseen.
      for (const { pid } of await carriersOf(token)) signalTo(pid, "SIGKILL");
      return null;
    }
    return { identity, exited: gone(identity), stop: (graceMs) => stop(identity, graceMs) };
  },
};

const SETPRIV = ["/usr/bin/setpriv", "/bin/setpriv"];

/**
 * Where the next agent could not find it again, a program ends with this one: the kernel kills it then (PR_SET_PDEATHSIG of prctl(2)),
 * if the system has the tool that asks for it. By exec, so that its number stays the same.
 */
async function endingWithUs({ program, args }: SpawnSpec): Promise<readonly [string, readonly string[]]> {
  const setpriv = process.platform === "linux" ? SETPRIV.find((path) => existsSync(path)) : undefined;
  if (setpriv === undefined || (await hasProc())) return [program, args];
  return [setpriv, ["--pdeathsig", "SIGKILL", "--", program, ...args]];
}

/** What an agent that was killed left behind where nothing tells processes apart: ended, so that there are never two of it. */
async function endStray(pid: number | undefined, boot: string, token: string): Promise<null> {
  if (pid !== undefined && pid > 1) await stop({ pid, startTime: "unknown", boot, token }, STRAY_GRACE_MS);
  return null;
}

/** An adopted process is no child of ours: its end is noticed, its exit code is not. */
async function gone(identity: ProcessIdentity): Promise<Exit> {
  while (await isLiving(identity)) await delay(POLL_MS, undefined, { ref: false });
  return { code: null, signal: null };
}

async function stop(identity: ProcessIdentity, graceMs: number): Promise<void> {
  const { pid, token } = identity;
  if (await isLiving(identity)) signalTo(-pid, "SIGTERM");
  for (let waited = 0; waited < graceMs; waited += 40) {
    if (!(await isLiving(identity)) && (await carriersOf(token)).length === 0) return;
    await delay(40);
  }
  // Whoever is left of the group, and whoever left the group but carries the token.
  for (let round = 0; round < 250; round++) {
    const left = await carriersOf(token);
    const leader = await isLiving(identity);
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

/** One that is gone, or is not ours, is no error. */
export function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ESRCH" && code !== "EPERM") throw error;
  }
}
