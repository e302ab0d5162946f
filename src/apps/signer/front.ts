// The deciding process of a signer: sessions, policy and audit log; it holds no signing key.

import { fromBase64 } from "../../core/bytes.ts";
import { parseCheckpointText } from "../../signing/audit/checkpoint.ts";
import { AuditLog } from "../../signing/audit/log.ts";
import { blobPath } from "../../signing/audit/files.ts";
import type { Blob } from "../../signing/audit/entry.ts";
import { noteKeyFromSpki } from "../../signing/audit/note.ts";
import { Budgets } from "../../signing/budget.ts";
import { openKey, parseSealedKey, purposeKey } from "../../signing/custody.ts";
import { resumeLedger, SnapshotWriter } from "../../signing/ledger-snapshot.ts";
import { TokenChecker } from "../../signing/oidc.ts";
import { SigningService } from "../../signing/service.ts";
import { FAILURE_BUDGET, REVIEW_EVERY, SigningSession, type Peer } from "../../signing/session.ts";
import { fromUtf8 } from "../../core/bytes.ts";
import { DAY, formatInstant, HOUR, MINUTE } from "../../core/instant.ts";
import { systemClock } from "../../io/clock.ts";
import { systemDisk } from "../../io/disk.ts";
import { fetchJson } from "../../io/fetch-json.ts";
import { leaveNothingInCoreFiles } from "../../io/hardening.ts";
import { KeyProcesses } from "../../io/key-process.ts";
import { jsonLog } from "../../io/log.ts";
import { identityOf } from "../../io/pinned-tls.ts";
import { systemRandom } from "../../io/random.ts";
import { holdFolder } from "../../io/exclusive.ts";
import { GatewayDialler } from "../../io/signer-dial.ts";
import { messageBuilder } from "../../io/message-builder.ts";
import { createPrivateKey } from "node:crypto";
import { levelled } from "./levels.ts";
import { readOrder } from "./order.ts";
import { IDENTITY_KEY, loadSettings, logOrigin, LOG_KEY, signerFolder } from "./settings.ts";

const [clock, disk, random] = [systemClock, systemDisk, systemRandom];
leaveNothingInCoreFiles();
let stop = async (): Promise<void> => {};
const order = await readOrder("front", () => void stop().finally(() => process.exit(0)));
const folder = signerFolder(order.data);
let settings = await loadSettings(disk, folder);
const say = levelled(jsonLog(clock), () => settings.config.service["log-level"]);
const { service: serviceConfig } = settings.config;

const identityFile = parseSealedKey(await disk.read(folder.key(IDENTITY_KEY), 64 * 1024));
const identityKey = openKey(fromBase64(order.identityWrapping), identityFile);
const identity = await identityOf(
  createPrivateKey({ key: Buffer.from(identityKey), format: "der", type: "pkcs8" }),
  clock,
  random,
);
identityKey.fill(0);

const letGo = await holdFolder(`${folder.root}/lock`, clock);
const keys = new KeyProcesses({
  folder: order.sockets,
  ticketKey: fromBase64(order.ticketKey),
  clock,
  replace: (key) => void process.send?.({ replace: key }),
});
keys.use([LOG_KEY, ...Object.keys(settings.config.keys)]);
const logPublicKey = await keys.ready(LOG_KEY);
const logKey = noteKeyFromSpki(logOrigin(serviceConfig.name), logPublicKey.spki);
/**
 * With this many requests in work the log begins at most one group in this time, in milliseconds: fewer and larger groups cost less CPU,
 * and nobody waits longer, for the key is what they wait for. One who signs one file after the other waits for no group.
 */
const BUSY = 16;
const GROUP_EVERY = 5;
let gathered = -Infinity;
const { log, dropped } = await AuditLog.open({
  disk,
  clock,
  folder: folder.audit,
  key: logKey,
  sign: (message) => {
    const { size } = parseCheckpointText(fromUtf8(message));
    return keys.sign(keys.issue(LOG_KEY, "ed25519", message, size), message);
  },
  gather: async () => {
    if (service.running < BUSY) return;
    const wait = gathered + GROUP_EVERY - clock.monotonic();
    if (wait > 0) await clock.sleep(Math.ceil(wait));
    gathered = clock.monotonic();
  },
});
const sealKey = fromBase64(order.sealKey);
const snapshots = {
  disk,
  folder: folder.audit,
  origin: logKey.name,
  key: purposeKey(sealKey, "ledger v1"),
};
const { ledger, replayed, refused } = await resumeLedger(snapshots, log);
if (refused !== undefined) say("warn", "snapshot-refused", { what: refused });
ledger.forget(clock.now());
const snapshot = new SnapshotWriter(snapshots, log, ledger, log.size - replayed);
/** A start reads some 100,000 entries a second: this many are not worth a snapshot. */
const SNAPSHOT_EVERY = 50_000;
const STOP_SNAPSHOT = 5000;
async function keepSnapshot(behind: number): Promise<void> {
  if (snapshot.behind < behind) return;
  try {
    await snapshot.write(() => clock.sleep(20));
  } catch (error) {
    // It only makes a start slower; a disk that cannot be written stops the log itself.
    say("warn", "snapshot-failed", { what: String((error as Error).message) });
  }
}

const readBlob = async (blob: Blob): Promise<Uint8Array> =>
  blob.inline === undefined
    ? disk.read(blobPath(folder.audit, blob.sha256), blob.length)
    : fromBase64(blob.inline);
const service = new SigningService(
  {
    clock,
    log,
    ledger,
    keys,
    readBlob,
    say,
    build: messageBuilder({ clock, random, settings: () => settings.config.timestamp }),
  },
  settings,
);
await service.record({
  kind: "start",
  signer: serviceConfig.name,
  version: "1",
  config: settings.sha256,
  dropped,
});
const abandoned = await service.recover();
say("info", "started", { signer: serviceConfig.name, entries: log.size, replayed, dropped, abandoned });

const tokens = new TokenChecker(fetchJson);
const failures = new Budgets(FAILURE_BUDGET);
const session = (peer: Peer): SigningSession =>
  new SigningSession(
    { clock, random, service, log, ledger, keys, tokens, logKey, sealKey, say, failures },
    peer,
  );
const dial = () =>
  settings.config.service.gateways.map(
    (gateway) =>
      new GatewayDialler(gateway, {
        clock,
        random,
        say,
        identity,
        name: serviceConfig.name,
        idle: settings.config.service.connections,
        most: settings.config.service["max-sessions"],
        session,
      }),
  );
let dialler = dial();
const retired: GatewayDialler[] = [];

/** A bad file changes nothing: the old configuration stays in force and the log line says why. */
async function reload(): Promise<void> {
  try {
    const next = await loadSettings(disk, folder);
    const before = JSON.stringify([settings.config.service, settings.config.keys]);
    settings = next;
    await service.reconfigure(next, "reloaded");
    const names = [LOG_KEY, ...Object.keys(next.config.keys)];
    if (JSON.stringify([next.config.service, next.config.keys]) !== before) {
      process.send?.({ keys: names.filter((name) => name !== LOG_KEY) });
      keys.use(names);
      const old = dialler;
      dialler = dial();
      // Sessions that run keep running on the old connections; only idle ones are given up.
      for (const each of old) each.retire();
      retired.push(...old);
    }
    await Promise.all([...dialler, ...retired].map((each) => each.review()));
    say("info", "reloaded", { config: next.sha256 });
  } catch (error) {
    say("error", "reload-refused", { what: String((error as Error).message).slice(0, 2000) });
  }
}

async function fingerprintOfFiles(): Promise<string> {
  const parts: string[] = [];
  for (const path of [folder.config, ...Object.keys(settings.config.certificates).map(folder.certificate)]) {
    try {
      const { mtimeMs, size } = await disk.stat(path);
      parts.push(`${mtimeMs}:${size}`);
    } catch {
      parts.push("-");
    }
  }
  return parts.join(" ");
}

function alarms(): void {
  for (const [name, { chain }] of settings.certificates) {
    const left = (chain[0]!.notAfter - clock.now()) / DAY;
    const alarm = settings.config.certificates[name]?.["alarm-days"].some((days) => left <= days) === true;
    if (alarm)
      say("warn", "certificate-expires", {
        certificate: name,
        expires: formatInstant(chain[0]!.notAfter),
        days: Math.floor(left),
      });
  }
}

let seen = await fingerprintOfFiles();
const watch = setInterval(async () => {
  const now = await fingerprintOfFiles();
  if (now !== seen) {
    seen = now;
    await reload();
  }
  await Promise.all([...dialler, ...retired].map((each) => each.review()));
}, REVIEW_EVERY);
const daily = setInterval(() => {
  ledger.forget(clock.now());
  alarms();
}, HOUR);
const often = setInterval(() => void keepSnapshot(SNAPSHOT_EVERY), MINUTE);
void keepSnapshot(SNAPSHOT_EVERY);
alarms();
process.on("SIGHUP", () => void reload());

let stopping: Promise<void> | null = null;
stop = () =>
  (stopping ??= (async () => {
    clearInterval(watch);
    clearInterval(daily);
    clearInterval(often);
    await Promise.all([...dialler, ...retired].map((each) => each.stop()));
    await service.record({ kind: "stop" });
    await log.close();
    await keepSnapshot(STOP_SNAPSHOT);
    keys.close();
    letGo();
    say("info", "stopped", { entries: log.size });
  })());
process.on("SIGTERM", () => void stop().finally(() => process.exit(0)));
process.on("SIGINT", () => {});
process.send?.({ ready: true, log: logKey.name, entries: log.size });
