// The agent as a part of another program: the same folder, lock, checks and reports as `upkeep agent run` has.

import { hostname } from "node:os";
import type { CheckResult } from "../../agent/check-result.ts";
import { runAgent } from "../../agent/loop.ts";
import type { Status } from "../../agent/status.ts";
import type { ComponentResult } from "../../agent/update-component.ts";
import { makeDirectories } from "../../core/disk.ts";
import type { Facts } from "../../core/errors.ts";
import { lockAgent } from "../../io/device/agent-lock.ts";
import { systemClock } from "../../io/system/clock.ts";
import { listenForControl } from "../../io/system/control-socket.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { thisPlatform } from "../../io/system/platform.ts";
import { enrol } from "./enroll.ts";
import { obey } from "./serve.ts";
import { wireAgent } from "./wiring.ts";
import { proxiesFrom } from "../../io/connection/proxies.ts";

export type SystemAgentOptions = {
  /** The agent's data folder: identity, trusted metadata, components. */
  readonly folder: string;
  /** What the agent writes to its log, such as `agent/check` or `agent/check-failed`. */
  readonly onEvent?: (level: "debug" | "info" | "warn" | "error", event: string, facts: Facts) => void;
};

export interface SystemAgent {
  /** Asks the server now and does what follows from it. A failure is a member of the result. */
  check(): Promise<CheckResult>;
  status(): Promise<Status>;
  /** Back to the version before. Errors: `agent/not-installed`, `agent/nothing-to-go-back-to`. */
  rollBack(product: string): Promise<ComponentResult>;
  /** Checks by schedule and when the server says so, and keeps components running, until `signal` aborts. `upkeep agent` commands reach it. */
  run(signal: AbortSignal): Promise<void>;
  /** Lets go of the folder. Components keep running, and the next agent adopts them; after `run` they were stopped. */
  close(): Promise<void>;
}

/**
 * Opens the agent of an enrolled device and finishes what an earlier run left. One agent at a time has the folder.
 * Errors: `agent/locked`, `agent/not-enrolled`, `agent/bad-settings`, `disk/*`.
 *
 * @example
 * ```ts
 * import { openSystemAgent } from "upkeep/agent";
 *
 * const agent = await openSystemAgent({ folder: "/var/lib/upkeep-agent" });
 * const { components, failure } = await agent.check();
 * for (const { product, result } of components) console.log(product, result);
 * if (failure !== null) console.error(failure.code, failure.message);
 * await agent.close();
 * ```
 */
export async function openSystemAgent(options: SystemAgentOptions): Promise<SystemAgent> {
  const { folder, onEvent } = options;
  await makeDirectories(systemDisk, folder, 0o750);
  const unlock = await lockAgent(folder, systemClock, "run");
  try {
    const wired = await wireAgent({
      folder,
      log: (level, event, facts) => onEvent?.(level, event, facts ?? {}),
    });
    const { agent } = wired;
    let started: Promise<void> | null = null;
    const start = (): Promise<void> => (started ??= agent.start());
    return {
      check: async () => {
        await start();
        return agent.check("operator");
      },
      status: () => agent.status(),
      rollBack: async (product) => {
        await start();
        return agent.rollBack(product);
      },
      run: async (signal) => {
        const control = await listenForControl(folder, (request) => obey(wired, request));
        try {
          await runAgent(agent, signal);
        } finally {
          await control.close();
        }
      },
      close: async () => {
        await agent.leave();
        wired.close();
        await unlock();
      },
    };
  } catch (error) {
    await unlock();
    throw error;
  }
}

export type EnrollOptions = {
  /** The agent's data folder to be. */
  readonly folder: string;
  readonly server: { readonly host: string; readonly port: number };
  /** The one-time token that `upkeep token new` printed: a secret. */
  readonly token: string;
  /** For people; the host's name by default. */
  readonly name?: string;
};

/**
 * Makes this machine a device of the fleet. Errors: `agent/already-enrolled`, `identity/*`, `server/*`, `mirror/*`.
 *
 * @example
 * ```ts
 * import { enrollDevice } from "upkeep/agent";
 *
 * const { device } = await enrollDevice({
 *   folder: "/var/lib/upkeep-agent",
 *   server: { host: "updates.example.com", port: 8443 },
 *   token: process.env.UPKEEP_TOKEN ?? "",
 * });
 * console.log(device);
 * ```
 */
export function enrollDevice(options: EnrollOptions): Promise<{ readonly device: string }> {
  return enrol({
    disk: systemDisk,
    folder: options.folder,
    servers: [options.server],
    proxies: proxiesFrom(process.env),
    token: options.token,
    name: options.name ?? hostname(),
    platform: thisPlatform(),
    now: () => systemClock.now(),
    signal: AbortSignal.timeout(120_000),
  });
}
