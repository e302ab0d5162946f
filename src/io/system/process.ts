// Real processes: started in groups of their own, found again by pid, start time and token, ended with everything they started.

import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { ProcessError } from "../../process/errors.ts";
import type {
  Exit,
  InheritedSocket,
  ProcessHost,
  ProcessIdentity,
  RunningProcess,
  SpawnSpec,
} from "../../process/ports.ts";
import { bootId, carriersOf, hasProc, isLiving, processFacts, sameBoot } from "./proc.ts";
import { lookAtProgram } from "./program-look.ts";
import { confined, prepareUser } from "./run-as.ts";
import { hearReadiness, type Heard } from "./readiness.ts";
import { remind } from "./remind.ts";

const POLL_MS = 100;
/** How long the end of a program is looked for often. */
const OFTEN_MS = 2000;
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
    let heard: Heard | null = null;
    let exited: Promise<Exit>;
    try {
      const user = spec.as === undefined ? null : await prepareUser(spec.as);
      const inner = await endingWithUs(spec);
      const [program, args] = withOwnNumber(spec, spec.as === undefined ? inner : confined(spec.as, inner));
      const sockets = spec.sockets ?? [];
      if (spec.ready !== undefined) heard = await hearReadiness(spec.ready);
      child = spawn(program, args, {
        cwd: spec.cwd,
        env: { ...spec.env, ...socketVariables(sockets), ...heard?.env },
        detached: true,
        ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
        stdio: ["ignore", log.fd, log.fd, ...sockets.map(({ descriptor }) => descriptor)],
      });
      // Before anything is awaited: a program that ends at once ends while the log is closed below.
      exited = new Promise((resolve) => {
        child.once("exit", (code, signal) => resolve({ code, signal }));
      });
      await new Promise<void>((resolve, reject) => {
        child.once("spawn", resolve);
        child.once("error", reject);
      });
      heard?.listenTo(child.pid!);
    } catch (cause) {
      heard?.listenTo(null);
      if (cause instanceof ProcessError) throw cause;
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
    return running(identity, exited);
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
    return running(identity, gone(identity));
  },
};

function running(identity: ProcessIdentity, exited: Promise<Exit>): RunningProcess {
  return {
    identity,
    exited,
    stop: (graceMs) => stop(identity, graceMs),
    await: async (graceMs) => {
      if (await isOver(identity, graceMs / 2)) return;
      await stop(identity, graceMs / 2);
    },
  };
}

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

/** sd_listen_fds(3): how many there are, and their names. */
function socketVariables(sockets: readonly InheritedSocket[]): Readonly<Record<string, string>> {
  if (sockets.length === 0) return {};
  return { LISTEN_FDS: String(sockets.length), LISTEN_FDNAMES: sockets.map(({ name }) => name).join(":") };
}

const SHELL = "/bin/sh";
const OWN_NUMBER = 'LISTEN_PID=$$; export LISTEN_PID; exec "$0" "$@"';

/**
 * LISTEN_PID is the number of the very process that runs the program, which nobody knows before it exists: a shell sets it and becomes the
 * program, under the same number. Nothing of the release is read as a command. Without a shell the variable is left out.
 */
function withOwnNumber(
  { sockets = [] }: SpawnSpec,
  [program, args]: readonly [string, readonly string[]],
): readonly [string, readonly string[]] {
  if (sockets.length === 0 || !existsSync(SHELL)) return [program, args];
  return [SHELL, ["-c", OWN_NUMBER, program, ...args]];
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
  if (await isOver(identity, graceMs)) return;
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

/** Waits until nothing of it is left; false if that takes longer. */
async function isOver(identity: ProcessIdentity, graceMs: number): Promise<boolean> {
  // Looked at often at first, for most programs end at once; one that drains for an hour is not asked about every moment.
  for (let waited = 0, pause = 40; waited < graceMs; waited += pause) {
    if (!(await isLiving(identity)) && (await carriersOf(identity.token)).length === 0) return true;
    if (waited >= OFTEN_MS) pause = 500;
    await delay(Math.min(pause, graceMs - waited));
  }
  return false;
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
