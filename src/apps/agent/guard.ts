// `agent guard`: a command during which no update of a component is activated; the lock is a file, so it needs no agent and outlives one.

import { spawn } from "node:child_process";
import { Locks } from "../../agent/locks.ts";
import { AgentError } from "../../agent/errors.ts";
import { statOrNull } from "../../core/disk.ts";
import { SECOND } from "../../core/instant.ts";
import { nameSchema, z } from "../../core/schema.ts";
import { processFacts } from "../../io/system/proc.ts";
import { layoutOf } from "../../slot/layout.ts";
import type { Call, Result } from "../framework/command.ts";
import { usage } from "../framework/errors.ts";

/** Seconds. Renewed at a third of it. */
const LEASE = 60;

export async function agentGuard(call: Call): Promise<Result> {
  const { disk, data, signal } = call.context;
  const product = call.argument(0);
  if (!z.safeParse(nameSchema, product).success)
    throw usage(`"${product.slice(0, 80)}" is not the name of a product.`);
  const [program, ...args] = call.argumentsFrom(1);
  if (program === undefined) throw usage("Which command? Give it after --.");
  const folder = `${data}/components/${product}`;
  if ((await statOrNull(disk, folder)) === null)
    throw new AgentError("agent/not-installed", `${product} is not installed on this device.`, { product });
  const locks = new Locks(disk, layoutOf(folder).locks);
  const holder = call.text("holder") ?? `guard-${process.pid}`;
  const facts = await processFacts(process.pid);
  const lock = {
    lease: LEASE,
    why: (call.text("why") ?? program).replaceAll(/\p{Cc}/gu, " ").slice(0, 200),
    ...(facts === null ? {} : { process: { pid: process.pid, startTime: facts.startTime } }),
  };
  // Taken before the command begins: what it does is guarded from its first instruction on.
  await locks.take(holder, lock);
  const renewal = setInterval(
    () => void locks.take(holder, lock).catch(() => undefined),
    (LEASE * SECOND) / 3,
  );
  try {
    const exit = await runToEnd(program, args, signal);
    return { streamed: true, exit };
  } finally {
    clearInterval(renewal);
    await locks.release(holder);
  }
}

/** 128 and the signal's number for a command that a signal ended, as shells have it; 127 for one that is not there. */
function runToEnd(program: string, args: readonly string[], signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: "inherit" });
    const stop = (): void => void child.kill("SIGTERM");
    signal.addEventListener("abort", stop, { once: true });
    child.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "EACCES")
        return resolve(error.code === "ENOENT" ? 127 : 126);
      reject(error);
    });
    child.once("exit", (code, ended) => resolve(code ?? 128 + (SIGNALS[ended ?? ""] ?? 0)));
  });
}

const SIGNALS: { readonly [name: string]: number } = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGKILL: 9,
  SIGTERM: 15,
};
