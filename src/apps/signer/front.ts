// The deciding process of a signer: sessions, policy and audit log; it holds no signing key.

import { fromBase64 } from "../../core/bytes.ts";
import { parseCheckpointText } from "../../signing/audit/checkpoint.ts";
import { AdminLedger, notAccepted, wholeHash } from "../../signing/policy/admins.ts";
import { Cadence } from "../../signing/audit/cadence.ts";
import { AuditLog } from "../../signing/audit/log.ts";
import { blobPath } from "../../signing/audit/files.ts";
import type { Blob } from "../../signing/audit/entry.ts";
import { noteKeyFromSpki } from "../../signing/audit/note.ts";
import { Budgets } from "../../signing/policy/budget.ts";
import { openKey, parseSealedKey, purposeKey } from "../../signing/custody/custody.ts";
import { resumeLedger, SnapshotWriter } from "../../signing/audit/ledger-snapshot.ts";
import { TokenChecker } from "../../signing/policy/oidc.ts";
import { SigningError } from "../../signing/errors.ts";
import { SigningService, stampSettings } from "../../signing/service.ts";
import { REVIEW_EVERY, SigningSession, type Peer } from "../../signing/wire/session.ts";
import { FAILURE_BUDGET } from "../../signing/policy/sign-in.ts";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { writeAtomic } from "../../core/disk.ts";
import { DAY, formatInstant, HOUR, MINUTE, SECOND } from "../../core/instant.ts";
import { isJsonObject, type Json } from "../../core/json.ts";
import { listenForControl } from "../../io/system/control-socket.ts";
import { systemClock } from "../../io/system/clock.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { proxiesFrom } from "../../io/connection/proxies.ts";
import { fetchJson } from "../../io/http/fetch-json.ts";
import { leaveNothingInCoreFiles } from "../../io/system/hardening.ts";
import { KeyProcesses } from "../../io/keys/key-process.ts";
import { reportCrashes } from "../../io/system/crash.ts";
import { jsonLog } from "../../io/system/log.ts";
import { identityOf } from "../../io/signing/pinned-tls.ts";
import { systemRandom } from "../../io/system/random.ts";
import { holdFolder } from "../../io/system/exclusive-lock.ts";
import { GatewayDialler } from "../../io/signing/signer-dial.ts";
import { messageBuilder } from "../../io/signing/message-builder.ts";
import { createPrivateKey } from "node:crypto";
import { adminDesk, answerAdmin } from "./admin-requests.ts";
import { levelled } from "./levels.ts";
import { rememberHome, type LogHome } from "./log-home.ts";
import { readOrder } from "./order.ts";
import {
  IDENTITY_KEY,
  loadSettings,
  logOrigin,
  LOG_KEY,
  signerFolder,
  timestampRootsPath,
} from "./settings.ts";

import { takeTurn, type Standing } from "./turn.ts";

const [clock, disk, random] = [systemClock, systemDisk, systemRandom];
const proxies = proxiesFrom(process.env);
const KEYS_PATIENCE = 5 * SECOND;
/** EX_TEMPFAIL: the keeper starts another one, which waits for its turn. */
const STORE_LOST = 75;
leaveNothingInCoreFiles();
// Lines go through the keeper; when it is gone, nobody reads them, and that is no reason to end in the middle of a stop.
process.stderr.on("error", () => {});
let stop = async (): Promise<void> => {};
const order = await readOrder("front", () => void stop().finally(() => process.exit(0)));
const folder = signerFolder(order.data);
let settings = await loadSettings(disk, folder);
const started = settings;
const say = levelled(jsonLog(clock), () => settings.config.service["log-level"]);
reportCrashes({ program: "signer front", clock, say, folder: `${folder.root}/crashes` });
const { service: serviceConfig } = settings.config;

const identityFile = parseSealedKey(await disk.read(folder.key(IDENTITY_KEY), 64 * 1024));
const identityKey = openKey(fromBase64(order.identityWrapping), identityFile);
const identity = await identityOf(
  createPrivateKey({ key: Buffer.from(identityKey), format: "der", type: "pkcs8" }),
  clock,
  random,
);
identityKey.fill(0);

const letGo = await holdFolder(`${folder.root}/lock`, clock).catch((error: unknown) => {
  if (error instanceof SigningError) return endRefused(error);
  throw error;
});
/** What `signer status` is told. */
let state: Standing | { readonly state: "signing" } = { state: "starting" };
let answerControl = async (_request: Json): Promise<Json> => {
  throw new SigningError(
    "signing/busy",
    `This signer does not write the log now${state.state === "waiting" ? `: ${state.holder} does` : ""}.`,
    {},
    { hint: 'Ask where the one that signs runs; "upkeep signer status" tells of this one.' },
  );
};
// In the folder of sockets, not of data: a copy of the data folder is files only. Where that is stands in the data folder.
const control = await listenForControl(order.sockets, async (request) => {
  if (!isJsonObject(request) || request["ask"] !== "status") return answerControl(request);
  const { store } = started.config;
  return { ...state, signer: serviceConfig.name, ...(store === undefined ? {} : { store: store.url }) };
});
await writeAtomic(disk, folder.control, toUtf8(`${order.sockets}\n`), 0o600);
const keys = new KeyProcesses({
  folder: order.sockets,
  ticketKey: fromBase64(order.ticketKey),
  clock,
  replace: (key) => void process.send?.({ replace: key }),
});
keys.use([LOG_KEY, ...Object.keys(settings.config.keys)]);
const logPublicKey = await keys.ready(LOG_KEY);
const logKey = noteKeyFromSpki(logOrigin(serviceConfig.name), logPublicKey.spki);
/** So many requests in work, and so many messages at a key, are many (`signing/audit/cadence.ts`). */
const [BUSY, FED] = [16, 8];
const cadence: Cadence = new Cadence(clock, {
  busy: () => service.running >= BUSY,
  fed: () => service.keysFed(FED),
});
const home = await theHome();
// While this one waited, the configuration may have changed.
settings = await loadSettings(disk, folder);
const { log, dropped } = await AuditLog.open({
  disk: home.files,
  clock,
  folder: home.folder,
  key: logKey,
  sign: (message) => {
    const { size } = parseCheckpointText(fromUtf8(message));
    return keys.sign(keys.issue(LOG_KEY, "ed25519", message, size), message);
  },
  gather: () => cadence.next(),
});
const sealKey = fromBase64(order.sealKey);
const snapshots = {
  disk: home.files,
  folder: home.folder,
  origin: logKey.name,
  key: purposeKey(sealKey, "ledger v1"),
};
const adminKey = fromBase64(order.adminKey);
const admins = new AdminLedger(adminKey);
const { ledger, replayed, refused } = await resumeLedger(snapshots, log, admins);
// In step with what is durable, like the ledger, so that a snapshot never misses one.
log.follow((entry) => admins.apply(entry));
if (refused !== undefined) say("warn", "snapshot-refused", { what: refused });
if (!admins.allows(wholeHash(settings))) {
  say("error", "config-not-accepted", { config: wholeHash(settings) });
  await endRefused(notAccepted(wholeHash(settings), admins.names));
}
ledger.forget(clock.now());
const snapshot = new SnapshotWriter(snapshots, log, { ledger, admins }, log.size - replayed);
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
    ? home.files.read(blobPath(home.folder, blob.sha256), blob.length)
    : fromBase64(blob.inline);
const service = new SigningService(
  {
    clock,
    log,
    ledger,
    keys,
    readBlob,
    say,
    build: messageBuilder({ clock, random, settings: () => stampSettings(settings), proxies }),
  },
  settings,
);
const desk = adminDesk({
  disk,
  clock,
  random,
  folder,
  ledger: admins,
  key: adminKey,
  signer: serviceConfig.name,
  record: async (body) => (await log.seal(body)).entry,
});
/** The keeper starts processes of keys for this configuration, and for no other that lies there meanwhile. */
const tellKeys = (): void =>
  void process.send?.({ keys: Object.keys(settings.config.keys), config: wholeHash(settings) });
tellKeys();
await service.record({
  kind: "start",
  signer: serviceConfig.name,
  version: "1",
  config: settings.sha256,
  dropped,
});
await rememberHome(disk, folder, home);
const abandoned = await service.recover();
say("info", "started", {
  signer: serviceConfig.name,
  entries: log.size,
  replayed,
  dropped,
  abandoned,
  ...(home.store === null ? {} : { store: home.store }),
});

// A session is offered the keys that are there when it begins. A token may take long, or never come: the others sign meanwhile.
await Promise.race([
  Promise.all(Object.keys(settings.config.keys).map((name) => keys.ready(name))),
  clock.sleep(KEYS_PATIENCE),
]);
const tokens = new TokenChecker(fetchJson(proxies));
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
        proxies,
        name: serviceConfig.name,
        idle: settings.config.service.connections,
        most: settings.config.service["max-sessions"],
        session,
      }),
  );
let dialler = dial();
const retired: GatewayDialler[] = [];

let unaccepted = { config: "", said: false };

/** A bad file changes nothing, and neither does one that wants to be accepted first: the old configuration stays in force and the log line says why. */
async function reload(): Promise<void> {
  try {
    const next = await loadSettings(disk, folder);
    const hash = wholeHash(next);
    if (!admins.allows(hash)) return await leaveUnaccepted(hash);
    unaccepted = { config: "", said: false };
    const before = JSON.stringify([settings.config.service, settings.config.keys]);
    settings = next;
    await service.reconfigure(next, "reloaded");
    const names = [LOG_KEY, ...Object.keys(next.config.keys)];
    if (JSON.stringify([next.config.service, next.config.keys]) !== before) {
      keys.use(names);
      const old = dialler;
      dialler = dial();
      // Sessions that run keep running on the old connections; only idle ones are given up.
      for (const each of old) each.retire();
      retired.push(...old);
    }
    tellKeys();
    await Promise.all([...dialler, ...retired].map((each) => each.review()));
    say("info", "reloaded", { config: next.sha256 });
    if (JSON.stringify(next.config.store) !== JSON.stringify(started.config.store))
      say("warn", "store-unchanged", { what: "a changed [store] takes effect at the next start" });
  } catch (error) {
    say("error", "reload-refused", { what: String((error as Error).message).slice(0, 2000) });
  }
}

/** Said at the second look: a command writes the files and then has them accepted, and we may come in between. */
async function leaveUnaccepted(config: string): Promise<void> {
  if (unaccepted.config !== config) {
    unaccepted = { config, said: false };
    seen = "";
    return;
  }
  if (unaccepted.said) return;
  unaccepted = { config, said: true };
  say("error", "config-not-accepted", { config, what: "the configuration before it stays in force" });
  await desk.unasked(config);
}

async function fingerprintOfFiles(): Promise<string> {
  const parts: string[] = [];
  const roots = timestampRootsPath(folder, settings.config);
  const certificates = Object.keys(settings.config.certificates).map(folder.certificate);
  for (const path of [folder.config, ...certificates, ...(roots === null ? [] : [roots])]) {
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
    const config = settings.config.certificates[name];
    if (config?.disabled === false && config["alarm-days"].some((days) => left <= days))
      say("warn", "certificate-expires", {
        certificate: name,
        expires: formatInstant(chain[0]!.notAfter),
        days: Math.floor(left),
      });
  }
}

/** Nothing of a log that is not there or not ours is guessed at: the keeper is told why, and this process ends. */
async function theHome(): Promise<LogHome> {
  try {
    return await takeTurn({
      disk,
      clock,
      folder,
      settings: started,
      patient: order.patient,
      say,
      stand: (standing) => {
        state = standing;
        if (standing.state === "waiting") process.send?.({ waiting: standing });
      },
      // At once, before anybody is answered: clients find the connection cut, ask again with the same id, and the log answers them.
      lost: (error) => {
        say("error", "store-lost", { what: error.message });
        process.exit(STORE_LOST);
      },
    });
  } catch (error) {
    if (!(error instanceof SigningError)) throw error;
    say("error", "no-log", { code: error.code, what: error.message });
    return endRefused(error);
  }
}

async function endRefused({ code, message, hint = "" }: SigningError): Promise<never> {
  await new Promise<void>((sent) =>
    process.send?.({ refused: message, hint, code }, undefined, {}, () => sent()),
  );
  process.exit(3);
}

let seen = await fingerprintOfFiles();
const watch = setInterval(async () => {
  const now = await fingerprintOfFiles();
  if (now !== seen) {
    seen = now;
    await reload();
    alarms();
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
process.on("SIGHUP", () => void reload().then(alarms));
// Where there are no such signals the keeper says it.
process.on("message", (message: unknown) => {
  if (isJsonObject(message as Json) && (message as { reload?: unknown }).reload === true)
    void reload().then(alarms);
});
answerControl = async (request) => {
  const answer = await answerAdmin(
    desk,
    admins,
    { disk, folder, inForce: () => wholeHash(settings) },
    request,
  );
  if (isJsonObject(request) && request["ask"] === "accept") {
    seen = await fingerprintOfFiles();
    await reload();
  }
  return answer;
};
state = { state: "signing" };

let stopping: Promise<void> | null = null;
stop = () =>
  (stopping ??= (async () => {
    await control.close();
    clearInterval(watch);
    clearInterval(daily);
    clearInterval(often);
    await Promise.all([...dialler, ...retired].map((each) => each.stop()));
    await service.record({ kind: "stop" });
    await log.close();
    await keepSnapshot(STOP_SNAPSHOT);
    await home.close();
    keys.close();
    letGo();
    say("info", "stopped", { entries: log.size });
  })());
process.on("SIGTERM", () => void stop().finally(() => process.exit(0)));
process.on("SIGINT", () => {});
process.send?.({ ready: true, log: logKey.name, entries: log.size });
