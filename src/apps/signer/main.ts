// The keeper of a signer: unlocks once, starts the deciding process and one process a key, replaces what dies.

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { moduleBeside } from "../../core/module-beside.ts";
import { toBase64 } from "../../core/bytes.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { proxyVariables } from "../../io/connection/proxies.ts";
import { bareEnvironment, leaveNothingInCoreFiles } from "../../io/system/hardening.ts";
import { socketPath } from "../../io/keys/key-process.ts";
import { partArguments } from "../../io/system/own-part.ts";
import { systemRandom } from "../../io/system/random.ts";
import { findNoNewPrivileges, findSandbox, type Sandbox } from "../../io/system/sandbox.ts";
import { holdFolder } from "../../io/system/exclusive-lock.ts";
import { relayLines } from "../../io/system/child-output.ts";
import { LogFile } from "../../io/system/log-file.ts";
import { reportCrashes } from "../../io/system/crash.ts";
import { jsonLog, type Log } from "../../io/system/log.ts";
import { systemClock } from "../../io/system/clock.ts";
import { refuseExposed } from "../../io/system/exposure.ts";
import { needsNetwork, type KeyConfig, type SignerConfig } from "../../signing/policy/config.ts";
import {
  parseUnlock,
  purposeKey,
  unlockSecret,
  wrappingKey,
  type Unlock,
} from "../../signing/custody/custody.ts";
import { wholeHash } from "../../signing/policy/admins.ts";
import { SigningError, type SigningErrorCode } from "../../signing/errors.ts";
import type { Share } from "../../signing/custody/shamir.ts";
import { levelled } from "./levels.ts";
import { orderText, type FrontOrder, type KeyOrder } from "./order.ts";
import {
  IDENTITY_KEY,
  loadSettings,
  logOrigin,
  LOG_KEY,
  signerFolder,
  type SignerFolder,
} from "./settings.ts";

export type Unlocking = { readonly passphrase?: Uint8Array; readonly shares?: readonly Share[] };

const LOG_KEY_CONFIG: KeyConfig = { custody: "file", scheme: "ed25519", "also-schemes": [], parallel: 1 };
const STOP_GRACE = 10_000;
/** There a signal ends a process at once: children are asked through their pipes instead. */
const WINDOWS = process.platform === "win32";
type FrontMessage = {
  readonly ready?: boolean;
  readonly entries?: number;
  readonly replace?: string;
  readonly keys?: readonly string[];
  readonly config?: string;
  readonly refused?: string;
  readonly hint?: string;
  readonly code?: SigningErrorCode;
  /** Somebody else writes the log; this signer takes over when that one is gone. */
  readonly waiting?: Waiting;
};
export type Waiting = { readonly holder: string; readonly since: string };
type SandboxMode = SignerConfig["service"]["sandbox"];

export type SignerRun = {
  readonly data: string;
  /** Asked once it is certain that no other signer runs in this folder. */
  readonly unlock: (unlock: Unlock) => Promise<Unlocking>;
  readonly signal: AbortSignal;
  readonly ready: (facts: { readonly entries: number }) => void;
  /** Another signer writes the log; `ready` comes when it is gone. */
  readonly waiting: (who: Waiting) => void;
};

/**
 * Runs until `signal` aborts. Errors before it is ready: `signing/busy`, `signing/bad-config`, `signing/locked`, `signing/not-found`,
 * `disk/exposed`, `signing/no-sandbox`, `signing/log-file`, `signing/not-accepted`, `signing/store-unavailable`, `signing/store-refused`, `signing/refused`.
 * The unlock secret stays in this process, which talks to nobody but its own children.
 */
export async function runSigner(given: SignerRun): Promise<void> {
  const folder = signerFolder(given.data);
  // Where there is no signer, nothing is written.
  await loadSettings(systemDisk, folder);
  await refuseExposed(folder.root, ["signer.toml", "unlock.json", "keys", "certificates", "audit"]);
  // Without patience: a predecessor that is ending holds this until its last child is gone, and one that was killed holds it no more.
  const letGo = await holdFolder(folder.running, systemClock, 0);
  try {
    await keep(given, folder);
  } finally {
    letGo();
  }
}

async function keep(given: SignerRun, folder: SignerFolder): Promise<void> {
  const noCores = leaveNothingInCoreFiles();
  const { signal } = given;
  let settings = await loadSettings(systemDisk, folder);
  const unlock = parseUnlock(await systemDisk.read(folder.unlock, 64 * 1024));
  const unlocking = await given.unlock(unlock);
  const secret = await unlockSecret(unlock, unlocking);
  unlocking.passphrase?.fill(0);
  const logFile = new LogFile(settings.config.service);
  const say = levelled(jsonLog(systemClock, logFile.write), () => settings.config.service["log-level"]);
  reportCrashes({ program: "signer", clock: systemClock, say, folder: `${folder.root}/crashes` });
  if (!noCores)
    say("warn", "core-files", {
      what: "a crash dump of this system may hold secrets: switch them off for this program",
    });
  const confined = confinement(settings.config.service.sandbox, say);
  const sockets = await mkdtemp(join(process.env["RUNTIME_DIRECTORY"] ?? tmpdir(), "upkeep-signer-"));
  const ticketKey = toBase64(systemRandom.bytes(32));
  const children = new Map<string, ChildProcess>();
  const failures = new Map<string, number>();
  /** What each key's process was started with: another configuration means another process. */
  const started = new Map<string, string>();
  let stopping = false;
  const keyConfig = (name: string): KeyConfig | undefined =>
    name === LOG_KEY ? LOG_KEY_CONFIG : settings.config.keys[name];
  const placeOf = (name: string): string =>
    JSON.stringify([keyConfig(name), settings.config.service.sandbox]);

  const startKey = (name: string): void => {
    const config = keyConfig(name);
    if (config === undefined || stopping || children.has(name)) return;
    const inside = needsNetwork(config) ? confined.open() : confined.closed(settings.config.service.sandbox);
    if (inside === "refused")
      return say("error", "no-sandbox", { process: name, what: "its process is not started with a network" });
    started.set(name, placeOf(name));
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
    // A pipe of Windows goes with its process; there is no file to remove.
    const cleared = WINDOWS ? Promise.resolve() : rm(order.socket, { force: true });
    void cleared.then(() => {
      // A reload and the end of a wait may both have come here.
      if (stopping || children.has(name)) return;
      const child = start("worker", order, ["pipe", "pipe", "pipe"], inside, needsNetwork(config));
      relayLines(child.stderr!, name, logFile.write, say);
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
      adminKey: toBase64(purposeKey(secret, "admins v1")),
      identityWrapping: toBase64(wrappingKey(secret, IDENTITY_KEY)),
      patient: everReady,
    };
    const child = start("front", order, ["pipe", "inherit", "pipe", "ipc"], confined.open(), true);
    relayLines(child.stderr!, "front", logFile.write, say);
    child.on("message", (message: FrontMessage) => {
      if (message.ready === true) {
        failures.delete("front");
        ready(message.entries ?? 0);
      }
      if (message.waiting !== undefined) {
        failures.delete("front");
        everReady = true;
        given.waiting(message.waiting);
      }
      if (message.replace !== undefined) children.get(message.replace)?.kill("SIGKILL");
      if (message.keys !== undefined)
        follow(message.keys, message.config ?? "").catch((error: unknown) =>
          say("error", "reload-refused", { what: (error as Error).message }),
        );
      if (message.refused !== undefined && !everReady)
        fail(
          new SigningError(
            message.code ?? "signing/not-accepted",
            message.refused,
            {},
            { hint: message.hint ?? "" },
          ),
        );
    });
    watch("front", child, () => startFront(() => {}));
  };
  const reopenLog = (): void => {
    try {
      logFile.reopen(settings.config.service);
    } catch (error) {
      say("error", "log-file-refused", { what: (error as Error).message });
    }
  };
  /**
   * After a start and a reload: processes for keys that are new, an end for those that are gone, another one where its settings changed.
   * `config` is what the deciding process found accepted; if something else lies there by now, nothing of it is started.
   */
  const follow = async (names: readonly string[], config: string): Promise<void> => {
    const next = await loadSettings(systemDisk, folder);
    if (wholeHash(next) !== config) return say("warn", "config-changed-again", { config: wholeHash(next) });
    settings = next;
    reopenLog();
    for (const name of [LOG_KEY, ...names]) {
      if (!children.has(name)) startKey(name);
      else if (started.get(name) !== placeOf(name)) askToEnd(children.get(name)!);
    }
    for (const [name, child] of children) {
      if (name === "front" || name === LOG_KEY || names.includes(name)) continue;
      children.delete(name);
      askToEnd(child);
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

  let saidReady = false;
  /** It started well once, if only to wait: from then on nothing that fails is the end. */
  let everReady = false;
  let fail: (error: Error) => void = () => {};
  const failed = new Promise<never>((_, reject) => (fail = reject));
  try {
    // The log first: it says whether the configuration may take force, and before that no process of another key is started.
    startKey(LOG_KEY);
    startFront((entries) => {
      if (!saidReady) given.ready({ entries });
      saidReady = everReady = true;
    });
    const reload = (): void => {
      // First: whoever moved the file away waits for its successor.
      reopenLog();
      const front = children.get("front");
      if (WINDOWS) front?.send({ reload: true });
      else front?.kill("SIGHUP");
    };
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
    logFile.close();
  }
}

/** How children are started: `closed` without network, `open` with it; looked for once, said once. Errors: `signing/no-sandbox`. */
function confinement(
  mode: SandboxMode,
  say: Log,
): {
  readonly open: () => Sandbox | null;
  readonly closed: (mode: SandboxMode) => Sandbox | null | "refused";
} {
  const sandbox = findSandbox();
  const privileges = findNoNewPrivileges();
  if (mode === "off") say("info", "sandbox", { keys: "off", others: privileges?.how ?? "plain" });
  else if (sandbox !== null)
    say("info", "sandbox", { keys: sandbox.how, others: privileges?.how ?? "plain" });
  else if (mode === "try")
    say("warn", "no-sandbox", { what: "processes of keys run with the network of this host" });
  else {
    throw new SigningError(
      "signing/no-sandbox",
      'This system gives no process a network of its own, and [service] sandbox = "require" demands it.',
      {},
      { hint: 'Allow user namespaces, install util-linux (unshare, setpriv), or set sandbox = "try".' },
    );
  }
  return {
    open: () => privileges,
    closed: (now) => (now === "off" ? privileges : (sandbox ?? (now === "require" ? "refused" : privileges))),
  };
}

function start(
  name: "front" | "worker",
  order: KeyOrder | FrontOrder,
  stdio: ("pipe" | "inherit" | "ipc")[],
  inside: Sandbox | null,
  network: boolean,
): ChildProcess {
  const part = partArguments(`signer-${name}`, moduleBeside(`./${name}`, import.meta.url));
  const plain = [process.execPath, part] as const;
  const [program, args] = inside === null ? plain : inside.wrap(...plain);
  const child = spawn(program, args, {
    stdio,
    env: { ...bareEnvironment(), NODE_NO_WARNINGS: "1", ...(network ? proxyVariables() : {}) },
  });
  child.stdin?.on("error", () => {});
  // Standard input stays open: its end tells the child that the keeper is gone.
  child.stdin?.write(orderText(order));
  return child;
}

function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_GRACE);
    // "close" comes after the last line it wrote.
    child.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
    askToEnd(child);
  });
}

/** The end of its standard input tells a child that nobody wants it any more, as SIGTERM does. */
function askToEnd(child: ChildProcess): void {
  if (WINDOWS) child.stdin?.end();
  else child.kill("SIGTERM");
}
