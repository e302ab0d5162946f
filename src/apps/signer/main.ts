// The keeper of a signer: unlocks once, starts the deciding process and one process a key, replaces what dies.

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { toBase64 } from "../../core/bytes.ts";
import { systemDisk } from "../../io/disk.ts";
import { bareEnvironment, leaveNothingInCoreFiles } from "../../io/hardening.ts";
import { socketPath } from "../../io/key-process.ts";
import { systemRandom } from "../../io/random.ts";
import type { KeyConfig } from "../../signing/config.ts";
import { parseUnlock, purposeKey, unlockSecret, wrappingKey } from "../../signing/custody.ts";
import { SigningError } from "../../signing/errors.ts";
import type { Share } from "../../signing/shamir.ts";
import type { Log } from "../../io/log.ts";
import { orderText, type FrontOrder, type KeyOrder } from "./order.ts";
import { IDENTITY_KEY, loadSettings, logOrigin, LOG_KEY, signerFolder } from "./settings.ts";

export type Unlocking = { readonly passphrase?: Uint8Array; readonly shares?: readonly Share[] };

const LOG_KEY_CONFIG: KeyConfig = { custody: "file", scheme: "ed25519", "also-schemes": [], parallel: 1 };
const STOP_GRACE = 10_000;

/**
 * Runs until `signal` aborts. Errors before it is ready: `signing/bad-config`, `signing/locked`, `signing/not-found`.
 * The unlock secret stays in this process, which talks to nobody but its own children.
 */
export async function runSigner(given: {
  readonly data: string;
  readonly unlock: Unlocking;
  readonly say: Log;
  readonly signal: AbortSignal;
  readonly ready: (facts: { readonly entries: number }) => void;
}): Promise<void> {
  leaveNothingInCoreFiles();
  const { say, signal } = given;
  const folder = signerFolder(given.data);
  let settings = await loadSettings(systemDisk, folder);
  const unlock = parseUnlock(await systemDisk.read(folder.unlock, 64 * 1024));
  const secret = await unlockSecret(unlock, given.unlock);
  given.unlock.passphrase?.fill(0);
  const sockets = await mkdtemp(join(process.env["RUNTIME_DIRECTORY"] ?? tmpdir(), "upkeep-signer-"));
  const ticketKey = toBase64(systemRandom.bytes(32));
  const children = new Map<string, ChildProcess>();
  const failures = new Map<string, number>();
  let stopping = false;

  const startKey = (name: string): void => {
    const config = name === LOG_KEY ? LOG_KEY_CONFIG : settings.config.keys[name];
    if (config === undefined || stopping) return;
    const order: KeyOrder = {
      kind: "key",
      name,
      socket: socketPath(sockets, name),
      ticketKey,
      wrapping: toBase64(wrappingKey(secret, name)),
      sealed: folder.key(name),
      config: config as unknown as KeyOrder["config"],
      ...(name === LOG_KEY ? { origin: logOrigin(settings.config.service.name) } : {}),
    };
    void rm(order.socket, { force: true }).then(() => {
      const child = start("worker.ts", order, ["pipe", "pipe", "inherit"]);
      child.stdout?.once("data", () => failures.delete(name));
      watch(name, child, () => startKey(name));
    });
  };
  const startFront = (ready: (entries: number) => void): void => {
    if (stopping) return;
    const order: FrontOrder = {
      kind: "front",
      data: given.data,
      sockets,
      ticketKey,
      sealKey: toBase64(purposeKey(secret, "config v1")),
      identityWrapping: toBase64(wrappingKey(secret, IDENTITY_KEY)),
    };
    const child = start("front.ts", order, ["pipe", "inherit", "inherit", "ipc"]);
    child.on(
      "message",
      (message: { ready?: boolean; entries?: number; replace?: string; keys?: string[] }) => {
        if (message.ready === true) {
          failures.delete("front");
          ready(message.entries ?? 0);
        }
        if (message.replace !== undefined) children.get(message.replace)?.kill("SIGKILL");
        if (message.keys !== undefined) void follow(message.keys);
      },
    );
    watch("front", child, () => startFront(() => {}));
  };
  /** After a reload: processes for keys that are new, an end for those that are gone. */
  const follow = async (names: readonly string[]): Promise<void> => {
    settings = await loadSettings(systemDisk, folder);
    for (const name of names) if (!children.has(name)) startKey(name);
    for (const [name, child] of children) {
      if (name === "front" || name === LOG_KEY || names.includes(name)) continue;
      children.delete(name);
      child.kill("SIGTERM");
    }
  };
  const watch = (name: string, child: ChildProcess, again: () => void): void => {
    children.set(name, child);
    child.once("exit", (code, killed) => {
      if (children.get(name) !== child) return;
      children.delete(name);
      if (stopping) return;
      const count = (failures.get(name) ?? 0) + 1;
      failures.set(name, count);
      say("error", "process-ended", { process: name, code: code ?? -1, signal: killed ?? "", count });
      if (name === "front" && count >= 5 && !everReady)
        return fail(new SigningError("signing/locked", "The signer could not start; see its log."));
      setTimeout(again, Math.min(5000, 50 * 2 ** Math.min(count, 7)));
    });
  };

  let everReady = false;
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<never>((_, reject) => (fail = reject));
  try {
    for (const name of [LOG_KEY, ...Object.keys(settings.config.keys)]) startKey(name);
    startFront((entries) => {
      if (!everReady) given.ready({ entries });
      everReady = true;
    });
    const reload = (): void => void children.get("front")?.kill("SIGHUP");
    process.on("SIGHUP", reload);
    await Promise.race([
      failed,
      new Promise<void>((done) => (signal.aborted ? done() : signal.addEventListener("abort", () => done()))),
    ]);
    process.off("SIGHUP", reload);
  } finally {
    stopping = true;
    await end(children.get("front"));
    await Promise.all([...children.values()].map(end));
    await rm(sockets, { recursive: true, force: true });
  }
}

function start(
  file: string,
  order: KeyOrder | FrontOrder,
  stdio: ("pipe" | "inherit" | "ipc")[],
): ChildProcess {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const child = spawn(process.execPath, ["--no-warnings", path], { stdio, env: { ...bareEnvironment() } });
  child.stdin?.on("error", () => {});
  // Standard input stays open: its end tells the child that the keeper is gone.
  child.stdin?.write(orderText(order));
  return child;
}

function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_GRACE);
    child.once("exit", () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill("SIGTERM");
  });
}
