// The running agent: holds the folder's lock, lives its loop, and answers the commands of its owner on this machine.

import type { Agent } from "../../agent/agent.ts";
import type { CheckResult } from "../../agent/check-result.ts";
import type { Wish } from "../../agent/check.ts";
import { runAgent } from "../../agent/loop.ts";
import { fromBase64 } from "../../core/bytes.ts";
import type { Json } from "../../core/json.ts";
import { makeDirectories } from "../../core/disk.ts";
import { checkSchema, nameSchema, z } from "../../core/schema.ts";
import { lockAgent } from "../../io/device/agent-lock.ts";
import { systemClock } from "../../io/system/clock.ts";
import { listenForControl } from "../../io/system/control-socket.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { base64Schema } from "../../message/common.ts";
import { SEALED_LENGTH } from "../../message/sealed-length.ts";
import type { Hurdle } from "./hurdle.ts";
import { isMannersRequest, mannersRequests, obeyManners, type MannersRequest } from "./manners-requests.ts";
import { licenseRequests, obeyLicense, serveLicenses, type LicenseRequest } from "./licenses.ts";
import { wireAgent, type Wired, type WiringOptions } from "./wiring.ts";

const requestSchema = z.discriminatedUnion("do", [
  z.strictObject({
    do: z.literal("check"),
    retrySkipped: z.exactOptional(z.boolean()),
    now: z.exactOptional(z.boolean()),
  }),
  z.strictObject({
    do: z.literal("install"),
    from: z.string().check(z.minLength(1), z.maxLength(2048)),
    products: z.nullable(z.array(nameSchema).check(z.maxLength(64))),
    channel: nameSchema,
  }),
  z.strictObject({ do: z.literal("status") }),
  z.strictObject({ do: z.literal("deliver"), message: base64Schema(SEALED_LENGTH) }),
  z.strictObject({ do: z.literal("verify") }),
  z.strictObject({ do: z.literal("roll-back"), product: nameSchema }),
  ...mannersRequests,
  z.strictObject({ do: z.literal("uninstall"), product: nameSchema, purge: z.boolean() }),
  z.strictObject({ do: z.literal("take-back"), product: nameSchema }),
  ...licenseRequests,
]);

/** How often it is looked whether what kept the device from updating was mended. */
const LOOK_EVERY = 5000;

/**
 * Runs until `signal` aborts. While something keeps the device from updating, what is installed runs, and the agent begins anew once it was
 * mended. Errors: `agent/locked`, `agent/not-enrolled`, and what the start of the agent throws.
 */
export async function serveAgent(options: WiringOptions, signal: AbortSignal): Promise<void> {
  const { folder } = options;
  await makeDirectories(systemDisk, folder, 0o750);
  const unlock = await lockAgent(folder, systemClock, "run");
  try {
    while (!signal.aborted) await serveOnce(options, signal);
  } finally {
    await unlock();
  }
}

/** Until `signal` aborts, or the hurdle is over. */
async function serveOnce(options: WiringOptions, signal: AbortSignal): Promise<void> {
  const { folder, log } = options;
  const wired = await wireAgent(options);
  const { agent, close, hurdle } = wired;
  const control = await listenForControl(folder, (request) => obey(wired, request));
  const mended = new AbortController();
  const licenses = await serveLicenses(agent, folder, AbortSignal.any([signal, mended.signal]));
  log("info", "agent/started", { folder, pid: process.pid });
  if (hurdle !== null) {
    const { code, message } = hurdle.error;
    log("error", "agent/grounded", { code, message, hint: hurdle.error.hint ?? null });
    void watchHurdle(hurdle, mended, signal).catch((error: unknown) => {
      log("error", "agent/grounded", { message: String(error) });
    });
  }
  try {
    await runAgent(agent, signal, mended.signal);
  } finally {
    await control.close();
    await licenses.close();
    close();
    log("info", mended.signal.aborted ? "agent/mended" : "agent/stopped", {});
  }
}

async function watchHurdle(hurdle: Hurdle, mended: AbortController, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await systemClock.sleep(LOOK_EVERY, signal).catch(() => undefined);
    if (!signal.aborted && (await hurdle.isOver())) return mended.abort(new Error("it was mended"));
  }
}

/** What may be asked over the socket is what the owner may do anyway: check, look, read back, go back. */
export async function obey({ agent, broughtTo }: Wired, request: Json): Promise<Json> {
  const asked = checkSchema(requestSchema, request, "request to the agent");
  switch (asked.do) {
    case "check":
      return (await (asked.retrySkipped === true
        ? agent.retrySkipped()
        : agent.check("operator", asked.now === true))) as unknown as Json;
    case "install":
      return (await agent.install(await broughtTo(asked.from), asked)) as unknown as Json;
    case "status":
      return (await agent.status()) as unknown as Json;
    case "deliver":
      return ((await agent.post?.deliver(fromBase64(asked.message), false)) ?? null) as unknown as Json;
    case "verify":
      return (await agent.verify()) as unknown as Json;
    case "roll-back":
      return (await agent.rollBack(asked.product)) as unknown as Json;
    case "uninstall":
      return (await agent.uninstall(asked.product, asked.purge)) as unknown as Json;
    case "take-back":
      return (await agent.takeBack(asked.product)) as unknown as Json;
    default:
      return isMannersRequest(asked) ? obeyManners(agent, asked) : obeyLicense(agent, asked);
  }
}

/** One check without a running agent: the same path under the same lock. Components keep running when it is over. */
export async function checkOnce(
  options: WiringOptions,
  signal?: AbortSignal,
  retrySkipped = false,
  now = false,
): Promise<CheckResult> {
  return withAgent(options, signal, (agent) =>
    retrySkipped ? agent.retrySkipped() : agent.check("operator", now),
  );
}

/** The same with a copy of the repository at `from` instead of the server. */
export async function installOnce(
  options: WiringOptions,
  from: string,
  wish: Wish,
  signal?: AbortSignal,
): Promise<CheckResult> {
  return withAgent(options, signal, async (agent, broughtTo) => agent.install(await broughtTo(from), wish));
}

export async function rollBackOnce(
  options: WiringOptions,
  product: string,
  signal?: AbortSignal,
): Promise<Awaited<ReturnType<Agent["rollBack"]>>> {
  return withAgent(options, signal, (agent) => agent.rollBack(product));
}

/** Uninstalls without a running agent: no other component is started or stopped for it. */
export async function uninstallOnce(
  options: WiringOptions,
  product: string,
  purge: boolean,
  signal?: AbortSignal,
): Promise<Awaited<ReturnType<Agent["uninstall"]>>> {
  return withOpened(options, (agent) => {
    signal?.addEventListener("abort", () => agent.interrupt(), { once: true });
    return agent.uninstall(product, purge);
  });
}

export async function takeBackOnce(
  options: WiringOptions,
  product: string,
  signal?: AbortSignal,
): Promise<CheckResult> {
  return withAgent(options, signal, (agent) => agent.takeBack(product));
}

/** Reads back what is installed without a running agent: nothing is started, stopped or repaired by it. */
export async function verifyOnce(options: WiringOptions): Promise<Awaited<ReturnType<Agent["verify"]>>> {
  return withOpened(options, (agent) => agent.verify());
}

/** Without a running agent, and without starting what is installed. */
async function withOpened<T>(options: WiringOptions, action: (agent: Agent) => Promise<T>): Promise<T> {
  return withWired(options, async ({ agent }) => {
    await agent.openAll();
    try {
      return await action(agent);
    } finally {
      await agent.leave();
    }
  });
}

/** What the owner says about manners, without a running agent: nothing is started or stopped by it. */
export async function mannersOnce(options: WiringOptions, request: MannersRequest): Promise<Json> {
  return withWired(options, async ({ agent }) => {
    await agent.openAll();
    for (const component of agent.components) await component.noticeRunning();
    return obeyManners(agent, request);
  });
}

/** What an owner wants of licenses, without a running agent: nothing is started or stopped by it. */
export async function licenseOnce(options: WiringOptions, asked: LicenseRequest): Promise<Json> {
  return withWired(options, async ({ agent }) => {
    try {
      return await obeyLicense(agent, asked);
    } finally {
      await agent.leave();
    }
  });
}

async function withAgent<T>(
  options: WiringOptions,
  signal: AbortSignal | undefined,
  action: (agent: Agent, broughtTo: Wired["broughtTo"]) => Promise<T>,
): Promise<T> {
  return withWired(options, async ({ agent, broughtTo }) => {
    const interrupt = (): void => agent.interrupt();
    signal?.addEventListener("abort", interrupt, { once: true });
    if (signal?.aborted === true) interrupt();
    try {
      await agent.start();
      return await action(agent, broughtTo);
    } finally {
      signal?.removeEventListener("abort", interrupt);
      await agent.leave();
    }
  });
}

/** Under the folder's lock. Errors: `agent/locked`, those of `wireAgent` and of the action. */
async function withWired<T>(options: WiringOptions, action: (wired: Wired) => Promise<T>): Promise<T> {
  const { folder } = options;
  await makeDirectories(systemDisk, folder, 0o750);
  const unlock = await lockAgent(folder, systemClock, "command");
  try {
    const wired = await wireAgent(options);
    try {
      return await action(wired);
    } finally {
      wired.close();
    }
  } finally {
    await unlock();
  }
}
