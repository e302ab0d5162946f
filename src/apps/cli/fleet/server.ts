// What `server` does: reads its options, starts the server, waits for a signal, stops it.

import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { hostname } from "node:os";
import { UpkeepError } from "../../../core/errors.ts";
import { DAY } from "../../../core/instant.ts";
import { reportCrashes } from "../../../io/system/crash.ts";
import { HTTP_LIMITS } from "../../../io/http/server.ts";
import { endWithin } from "../../../io/system/end-within.ts";
import type { Log } from "../../../io/system/log.ts";
import { startUpdateServer, type Listen, type UpdateServerOptions } from "../../server/server.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { programLog } from "../../framework/program-log.ts";
import { keysOf } from "../key/keys.ts";
import { leaseSigner } from "../repo/lease-signer.ts";
import { isShared } from "../records/open-store.ts";
import { operatorOf } from "../repo/operator.ts";

/** Milliseconds from the signal to the end of the process, whatever hangs. */
const STOP_AT_MOST = 45_000;

export async function runServer(call: Call): Promise<Result> {
  const { context } = call;
  const { clock, disk, random } = context;
  const { log, everything } = programLog(call);
  const names = call.list("name");
  const connections = call.whole("max-connections", 1, 1_000_000) ?? HTTP_LIMITS.connections;
  const perAddress = call.whole("max-per-address", 1, 1_000_000) ?? Math.max(50, Math.ceil(connections / 4));
  const sharedAddresses = call.list("shared-address");
  for (const address of sharedAddresses)
    if (isIP(address) === 0)
      throw usage(`--shared-address takes an IP address, for example 192.0.2.1; "${address}" is none.`);
  reportCrashes({ program: "server", clock, say: everything, folder: `${context.data}/crashes` });
  // Asked for now, so that a signal during the start is not lost.
  const { signal } = context;
  const server = await startUpdateServer({
    data: context.data,
    store: isShared(call) ? context.store : null,
    env: context.terminal.env,
    listen: listenOf(call.needed("listen"), "--listen"),
    admin: adminOf(call.needed("admin")),
    names: names.length > 0 ? names : [hostname(), "localhost", "127.0.0.1", "::1"],
    director: await keysOf(call).signer(call.needed("director")),
    leases: await leaseSigner(call),
    messenger: await messengerOf(call, log),
    version: programVersion(),
    beginEmpty: call.flag("begin-empty"),
    log,
    clock,
    disk,
    random,
    limits: { connections, connectionsPerAddress: perAddress, sharedAddresses },
    follow: (call.whole("follow-days", 0, 90) ?? 7) * DAY,
    ...(call.flag("renewed-elsewhere") ? {} : { renewOnline: renewal(call, log) }),
  });
  context.terminal.ready?.();
  if (!signal.aborted) {
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  }
  endWithin(STOP_AT_MOST, () => log("error", "server/stop-forced", {}));
  await server.stop();
  return { json: { stopped: true } };
}

/** Signs snapshot and timestamp again before they expire, with the keys of this data folder. */
function renewal(call: Call, log: Log): NonNullable<UpdateServerOptions["renewOnline"]> {
  const operator = operatorOf(call);
  return async (now) => {
    try {
      const { kind } = await operator.publisher.renewOnline(now);
      if (kind !== "unchanged") log("info", "repository/renewed", { outcome: kind });
    } catch (error) {
      // Another publisher is at work and renews on its way; without a repository there is nothing to renew.
      if (error instanceof UpkeepError && ["publisher/busy", "publisher/missing"].includes(error.code))
        return;
      throw error;
    }
  };
}

/** Null in the folder of a fleet that has no such key yet: it goes on as before. */
async function messengerOf(
  call: Call,
  log: Log,
): Promise<NonNullable<UpdateServerOptions["messenger"]> | null> {
  try {
    return await keysOf(call).signer(call.needed("messenger"));
  } catch (error) {
    if (!(error instanceof UpkeepError && error.code === "key/not-found")) throw error;
    log("info", "server/no-messenger", { hint: "upkeep message init makes one" });
    return null;
  }
}

function adminOf(text: string): UpdateServerOptions["admin"] {
  if (text === "off") return null;
  if (text.startsWith("/")) return { path: text };
  const listen = listenOf(text, "--admin");
  if (!["127.0.0.1", "::1", "localhost"].includes(listen.host)) {
    throw usage(
      "The admin plane listens on a loopback address or a socket only.",
      "Put a proxy with authentication in front to reach it from elsewhere.",
    );
  }
  return listen;
}

/** `host:port` or `[v6]:port`; port 0 takes a free one. */
function listenOf(text: string, option: string): Listen {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3] ?? Number.NaN);
  if (match === null || port > 65_535) throw usage(`${option} takes host:port, for example 127.0.0.1:8443.`);
  return { host: match[1] ?? match[2]!, port };
}

function programVersion(): string {
  const text = readFileSync(new URL("../../../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
