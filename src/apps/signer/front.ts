// The deciding process of a signer: sessions, policy and audit log; it holds no signing key.
//
// It comes up in five phases, and each needs what the one before it made: what it is (order, configuration, identity), its keys,
// its turn at the log, the records in it, and the service that answers.

import { createPrivateKey } from "node:crypto";
import { fromBase64, toUtf8 } from "../../core/bytes.ts";
import { writeAtomic } from "../../core/disk.ts";
import { HOUR, MINUTE, SECOND } from "../../core/instant.ts";
import { isJsonObject, type Json } from "../../core/json.ts";
import { proxiesFrom } from "../../io/connection/proxies.ts";
import { fetchJson } from "../../io/http/fetch-json.ts";
import { KeyProcesses } from "../../io/keys/key-process.ts";
import { messageBuilder } from "../../io/signing/message-builder.ts";
import { identityOf } from "../../io/signing/pinned-tls.ts";
import { systemClock as clock } from "../../io/system/clock.ts";
import { listenForControl } from "../../io/system/control-socket.ts";
import { reportCrashes } from "../../io/system/crash.ts";
import { systemDisk as disk } from "../../io/system/disk.ts";
import { holdFolder } from "../../io/system/exclusive-lock.ts";
import { leaveNothingInCoreFiles } from "../../io/system/hardening.ts";
import { jsonLog, type Log } from "../../io/system/log.ts";
import { systemRandom as random } from "../../io/system/random.ts";
import { Cadence } from "../../signing/audit/cadence.ts";
import { noteKeyFromSpki } from "../../signing/audit/note.ts";
import { openKey, parseSealedKey } from "../../signing/custody/custody.ts";
import { SigningError } from "../../signing/errors.ts";
import { notAccepted, wholeHash } from "../../signing/policy/admins.ts";
import { Budgets } from "../../signing/policy/budget.ts";
import { TokenChecker } from "../../signing/policy/oidc.ts";
import { FAILURE_BUDGET } from "../../signing/policy/sign-in.ts";
import { SigningService, stampSettings } from "../../signing/service.ts";
import { REVIEW_EVERY, SigningSession, type Peer } from "../../signing/wire/session.ts";
import { adminDesk, answerAdmin } from "./admin-requests.ts";
import { Configuration, type Listener } from "./front-configuration.ts";
import { Dialling } from "./front-dialling.ts";
import { openRecords, SNAPSHOT_EVERY, STOP_SNAPSHOT, type Records } from "./front-records.ts";
import { levelled } from "./levels.ts";
import { rememberHome, type LogHome } from "./log-home.ts";
import { readOrder, type FrontOrder } from "./order.ts";
import { IDENTITY_KEY, LOG_KEY, logOrigin, signerFolder, type SignerFolder } from "./settings.ts";
import { takeTurn, type Standing } from "./turn.ts";

const KEYS_PATIENCE = 5 * SECOND;
/** EX_TEMPFAIL: the keeper starts another one, which waits for its turn. */
const STORE_LOST = 75;
/** So many requests in work, and so many messages at a key, are many (`signing/audit/cadence.ts`). */
const [BUSY, FED] = [16, 8];

/** What the phases hand on. */
type Front = {
  readonly order: FrontOrder;
  readonly folder: SignerFolder;
  readonly configuration: Configuration;
  readonly say: Log;
  readonly proxies: ReturnType<typeof proxiesFrom>;
};

async function main(): Promise<void> {
  leaveNothingInCoreFiles();
  // Lines go through the keeper; when it is gone, nobody reads them, and that is no reason to end in the middle of a stop.
  process.stderr.on("error", () => {});
  let stop = async (): Promise<void> => {};
  const end = (): void => void stop().finally(() => process.exit(0));
  const order = await readOrder("front", end);
  const folder = signerFolder(order.data);
  const configuration = await Configuration.read(disk, folder);
  const say = levelled(jsonLog(clock), () => configuration.settings.config.service["log-level"]);
  reportCrashes({ program: "signer front", clock, say, folder: `${folder.root}/crashes` });
  const front: Front = { order, folder, configuration, say, proxies: proxiesFrom(process.env) };

  const identity = await openIdentity(front);
  const letGo = await holdFolder(`${folder.root}/lock`, clock).catch((error: unknown) => {
    if (error instanceof SigningError) return endRefused(error);
    throw error;
  });
  const control = await openControl(front);
  const { keys, logKey } = await openKeys(front);
  let service: SigningService | null = null;
  const cadence = new Cadence(clock, {
    busy: () => service !== null && service.running >= BUSY,
    fed: () => service !== null && service.keysFed(FED),
  });
  const home = await takeLog(front, control.stand);
  // While this one waited, the configuration may have changed.
  await configuration.readAgain();
  const records = await openRecords({
    home,
    clock,
    logKey,
    keys,
    order,
    gather: () => cadence.next(),
    say,
  });
  await demandAccepted(front, records);
  service = await openService(front, { home, keys, records });
  await Promise.race([
    // A session is offered the keys that are there when it begins. A token may take long, or never come: the others sign meanwhile.
    Promise.all(Object.keys(configuration.settings.config.keys).map((name) => keys.ready(name))),
    clock.sleep(KEYS_PATIENCE),
  ]);
  const serving = await serve(front, { service, keys, records, logKey, identity, control });
  let stopping: Promise<void> | null = null;
  stop = () =>
    (stopping ??= (async () => {
      await control.close();
      await serving.stop();
      await service.record({ kind: "stop" });
      await records.log.close();
      await records.keepSnapshot(STOP_SNAPSHOT);
      await home.close();
      keys.close();
      letGo();
      say("info", "stopped", { entries: records.log.size });
    })());
  process.on("SIGTERM", end);
  process.on("SIGINT", () => {});
  process.send?.({ ready: true, log: logKey.name, entries: records.log.size });
}

async function openIdentity({ order, folder }: Front) {
  const file = parseSealedKey(await disk.read(folder.key(IDENTITY_KEY), 64 * 1024));
  const key = openKey(fromBase64(order.identityWrapping), file);
  const identity = await identityOf(
    createPrivateKey({ key: Buffer.from(key), format: "der", type: "pkcs8" }),
    clock,
    random,
  );
  key.fill(0);
  return identity;
}

type Control = {
  /** What `signer status` is told. */
  readonly stand: (state: Standing | { readonly state: "signing" }) => void;
  /** Who answers everything but the question for the state, from now on. */
  readonly answer: (ask: (request: Json) => Promise<Json>) => void;
  readonly close: () => Promise<void>;
};

/** In the folder of sockets, not of data: a copy of the data folder is files only. Where that is stands in the data folder. */
async function openControl({ order, folder, configuration }: Front): Promise<Control> {
  let state: Standing | { readonly state: "signing" } = { state: "starting" };
  let answer = async (_request: Json): Promise<Json> => {
    throw new SigningError(
      "signing/busy",
      `This signer does not write the log now${state.state === "waiting" ? `: ${state.holder} does` : ""}.`,
      {},
      { hint: 'Ask where the one that signs runs; "upkeep signer status" tells of this one.' },
    );
  };
  const { store, service } = configuration.started.config;
  const socket = await listenForControl(order.sockets, async (request) => {
    if (!isJsonObject(request) || request["ask"] !== "status") return answer(request);
    return { ...state, signer: service.name, ...(store === undefined ? {} : { store: store.url }) };
  });
  await writeAtomic(disk, folder.control, toUtf8(`${order.sockets}\n`), 0o600);
  return {
    stand: (now) => {
      state = now;
    },
    answer: (ask) => {
      answer = ask;
    },
    close: () => socket.close(),
  };
}

async function openKeys({ order, configuration }: Front) {
  const { config } = configuration.settings;
  const keys = new KeyProcesses({
    folder: order.sockets,
    ticketKey: fromBase64(order.ticketKey),
    clock,
    replace: (key) => void process.send?.({ replace: key }),
  });
  keys.use([LOG_KEY, ...Object.keys(config.keys)]);
  const { spki } = await keys.ready(LOG_KEY);
  return { keys, logKey: noteKeyFromSpki(logOrigin(config.service.name), spki) };
}

/** Nothing of a log that is not there or not ours is guessed at: the keeper is told why, and this process ends. */
async function takeLog(
  { order, folder, configuration, say }: Front,
  stand: Control["stand"],
): Promise<LogHome> {
  try {
    return await takeTurn({
      disk,
      clock,
      folder,
      settings: configuration.started,
      patient: order.patient,
      say,
      stand: (standing) => {
        stand(standing);
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

async function demandAccepted({ configuration, say }: Front, { admins }: Records): Promise<void> {
  const config = wholeHash(configuration.settings);
  if (admins.allows(config)) return;
  say("error", "config-not-accepted", { config });
  await endRefused(notAccepted(config, admins.names));
}

async function openService(
  { folder, configuration, say, proxies }: Front,
  { home, keys, records }: { readonly home: LogHome; readonly keys: KeyProcesses; readonly records: Records },
): Promise<SigningService> {
  const { log, ledger, dropped, replayed, readBlob } = records;
  const { settings } = configuration;
  ledger.forget(clock.now());
  const build = messageBuilder({
    clock,
    random,
    settings: () => stampSettings(configuration.settings),
    proxies,
  });
  const service = new SigningService({ clock, log, ledger, keys, readBlob, say, build }, settings);
  tellKeys(configuration);
  const { name } = settings.config.service;
  await service.record({ kind: "start", signer: name, version: "1", config: settings.sha256, dropped });
  await rememberHome(disk, folder, home);
  const abandoned = await service.recover();
  say("info", "started", {
    signer: name,
    entries: log.size,
    replayed,
    dropped,
    abandoned,
    ...(home.store === null ? {} : { store: home.store }),
  });
  return service;
}

/** The keeper starts processes of keys for this configuration, and for no other that lies there meanwhile. */
function tellKeys({ settings }: Configuration): void {
  process.send?.({ keys: Object.keys(settings.config.keys), config: wholeHash(settings) });
}

async function serve(
  { order, folder, configuration, say, proxies }: Front,
  given: {
    readonly service: SigningService;
    readonly keys: KeyProcesses;
    readonly records: Records;
    readonly logKey: ReturnType<typeof noteKeyFromSpki>;
    readonly identity: Awaited<ReturnType<typeof openIdentity>>;
    readonly control: Control;
  },
): Promise<{ stop(): Promise<void> }> {
  const { service, keys, logKey, identity, control } = given;
  const { log, ledger, admins, keepSnapshot } = given.records;
  const desk = adminDesk({
    disk,
    clock,
    random,
    folder,
    ledger: admins,
    key: fromBase64(order.adminKey),
    signer: configuration.settings.config.service.name,
    record: async (body) => (await log.seal(body)).entry,
  });
  const tokens = new TokenChecker(fetchJson(proxies));
  const failures = new Budgets(FAILURE_BUDGET);
  const sealKey = fromBase64(order.sealKey);
  const session = (peer: Peer): SigningSession =>
    new SigningSession(
      { clock, random, service, log, ledger, keys, tokens, logKey, sealKey, say, failures },
      peer,
    );
  const dialling = new Dialling(configuration.settings, { clock, random, say, identity, proxies, session });
  const listener: Listener = {
    allows: (hash) => admins.allows(hash),
    use: async (next, before) => {
      await service.reconfigure(next, "reloaded");
      const what = ({ config }: typeof next): string => JSON.stringify([config.service, config.keys]);
      if (what(next) !== what(before)) {
        keys.use([LOG_KEY, ...Object.keys(next.config.keys)]);
        dialling.redial(next);
      }
      tellKeys(configuration);
      await dialling.review();
    },
    unasked: (hash) => desk.unasked(hash),
  };
  const warn = (): void => configuration.warnOfCertificates(clock, say);
  const reload = (): void => void configuration.reload(listener, say).then(warn);

  await configuration.noteFiles();
  const timers = [
    setInterval(async () => {
      if (await configuration.look(listener, say)) warn();
      await dialling.review();
    }, REVIEW_EVERY),
    setInterval(() => {
      ledger.forget(clock.now());
      warn();
    }, HOUR),
    setInterval(() => void keepSnapshot(SNAPSHOT_EVERY), MINUTE),
  ];
  void keepSnapshot(SNAPSHOT_EVERY);
  warn();
  process.on("SIGHUP", reload);
  // Where there are no such signals the keeper says it.
  process.on("message", (message: unknown) => {
    if (isJsonObject(message as Json) && (message as { reload?: unknown }).reload === true) reload();
  });
  control.answer(async (request) => {
    const inForce = (): string => wholeHash(configuration.settings);
    const answer = await answerAdmin(desk, admins, { disk, folder, inForce }, request);
    if (isJsonObject(request) && request["ask"] === "accept") {
      await configuration.noteFiles();
      await configuration.reload(listener, say);
    }
    return answer;
  });
  control.stand({ state: "signing" });
  return {
    stop: async () => {
      for (const timer of timers) clearInterval(timer);
      await dialling.stop();
    },
  };
}

async function endRefused({ code, message, hint = "" }: SigningError): Promise<never> {
  await new Promise<void>((sent) =>
    process.send?.({ refused: message, hint, code }, undefined, {}, () => sent()),
  );
  process.exit(3);
}

void main();
