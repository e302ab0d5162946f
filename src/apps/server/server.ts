// The update server: one process, one data folder; the static plane, the dynamic plane and the admin plane wired together.

import type { Clock } from "../../core/clock.ts";
import { makePrivateDirectory, readOrNull, type Disk } from "../../core/disk.ts";
import type { DsseSigner } from "../../core/dsse.ts";
import { UpkeepError, type Facts } from "../../core/errors.ts";
import { formatInstant, MINUTE, SECOND, type Instant } from "../../core/instant.ts";
import type { Random } from "../../core/random.ts";
import { certificatePem } from "../../der/x509.ts";
import { boundedCounts } from "../../fleet/alarms.ts";
import { claimAuthorities } from "../../fleet/authorities.ts";
import { renewalTime, spkiDigest } from "../../identity/authority.ts";
import { holdExclusive } from "../../io/database/sqlite.ts";
import { HTTP_LIMITS, startHttpServer, type HttpLimits, type HttpServer } from "../../io/http/server.ts";
import { descriptorLimit, descriptors } from "../../io/system/descriptors.ts";
import { refuseExposed } from "../../io/system/exposure.ts";
import type { Log } from "../../io/system/log.ts";
import { staticFiles } from "../../io/http/static-files.ts";
import { TransferBudget, type TransferLimits } from "../../io/http/transfer-budget.ts";
import { WakeHub } from "../../io/http/wake-hub.ts";
import { AlertDesk } from "./alert-desk.ts";
import { alarmFeed } from "./alarm-feed.ts";
import { adminPlane } from "./admin-plane.ts";
import { serverApi, type ApiQuotas } from "./api.ts";
import { makeServerCertificate, type AuthorityTools, type ServerCertificate } from "./authorities.ts";
import { countDevices, watchDead } from "./count-devices.ts";
import { devicePlane } from "./device-plane.ts";
import { Entitlements } from "./entitlements.ts";
import { ExpiryWatch } from "./expiry-watch.ts";
import { connectionsWithin, shortOf } from "./capacity.ts";
import { FleetView } from "./fleet-view.ts";
import { licenseApi, readWebhookSecret } from "./license-api.ts";
import { Metrics } from "./metrics.ts";
import { RepositoryWatch, type Refreshed } from "./repository-watch.ts";
import { PostOffice } from "./post-office.ts";
import { countRollouts, RolloutWatch } from "./rollout-watch.ts";
import { openRecords } from "./store-check.ts";
import { openTrust, type Trust } from "./trust.ts";

export type Listen = { readonly host: string; readonly port: number };

export type UpdateServerOptions = {
  /** The operator's data folder, absolute. */
  readonly data: string;
  /** The address of a database that other servers may share; null: a file in the data folder. */
  readonly store?: string | null;
  /** Where the password for that address is looked up (see io/postgres-password.ts). */
  readonly env?: { readonly [name: string]: string | undefined };
  readonly listen: Listen;
  /** Where health and metrics are; a loopback address or a socket's path. Null: nowhere. */
  readonly admin: Listen | { readonly path: string } | null;
  /** Host names and addresses that devices reach this server by. */
  readonly names: readonly string[];
  readonly director: DsseSigner;
  /** The online key that signs leases; null: this server leases nothing. */
  readonly leases?: DsseSigner | null;
  /** Signs messages to devices; without it they get bare numbers. */
  readonly messenger?: DsseSigner | null;
  readonly version: string;
  readonly log: Log;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly random: Random;
  /** Renews the online roles of the repository when it is time; called about every minute. */
  readonly renewOnline?: (now: Instant) => Promise<void>;
  readonly limits?: Partial<HttpLimits> & { readonly listeners?: number; readonly heartbeat?: number };
  readonly quotas?: Partial<ApiQuotas>;
  readonly transfers?: Partial<TransferLimits>;
  /** Milliseconds that devices may follow their channels while they reach no server. */
  readonly follow?: number;
  /** The records are new although authorities are there, and a person says that it shall be so. */
  readonly beginEmpty?: boolean;
  /** Milliseconds between two looks for devices that are silent and for alarms that people want to hear of. */
  readonly watch?: number;
  /** Milliseconds between two looks at the folder and the store. */
  readonly tick?: number;
};

export type UpdateServer = {
  readonly address: Listen;
  readonly admin: HttpServer["address"] | null;
  /** SHA-256 of the active server authority's key, as enrolment tokens pin it. */
  readonly caSpkiSha256: string;
  readonly caPem: string;
  /** Looks at the folder and the store now instead of at the next tick. */
  refresh(): Promise<void>;
  stop(): Promise<void>;
};

const LISTENERS = 8_000;
const TICK = 500;
const FLUSH_EVERY = 2 * SECOND;
const SLOW_TICK = 30 * SECOND;
/** Longest wait for one step of a stop. */
const STEP_OF_STOP = 5 * SECOND;

/** Errors: `fleet/store-*`, `key/*`, `disk/*` (`disk/exposed` where others could write), and the system's when an address is taken. */
export async function startUpdateServer(options: UpdateServerOptions): Promise<UpdateServer> {
  const { data, clock, disk, random } = options;
  const folder = `${data}/server`;
  await makePrivateDirectory(disk, folder);
  await refuseExposed(folder, ["upkeep.sqlite", "tls", "tuf"]);
  const held = holdExclusive(`${folder}/lock`);
  try {
    return await startLocked(options, folder, () => held.release(), { disk, random, clock });
  } catch (error) {
    held.release();
    throw error;
  }
}

async function startLocked(
  options: UpdateServerOptions,
  folder: string,
  unlock: () => void,
  tools: { readonly disk: Disk; readonly random: Random; readonly clock: Clock },
): Promise<UpdateServer> {
  const { data, clock, disk, director } = options;
  const metrics = new Metrics();
  const log: Log = (level, event, facts = {}) => {
    if (event === "request") {
      metrics.count("upkeep_requests_total", { class: `${String(facts["status"]).slice(0, 1)}xx` });
    }
    options.log(level, event, facts);
  };
  const shared = options.store ?? null;
  const store = await openRecords(options, folder);
  const { trust, own: first } = await openOwn(options, folder, tools).catch(async (error: unknown) => {
    await store.close();
    throw error;
  });
  let own = first;
  const view = new FleetView(store, clock);
  const watch = new RepositoryWatch(`${data}/repository`, `${folder}/tuf`, tools);
  const rollouts = new RolloutWatch({ store, view, clock, log, metrics });
  const expiry = new ExpiryWatch(`${data}/repository`, { disk, metrics, log });
  const { listeners = LISTENERS, heartbeat, ...asked } = options.limits ?? {};
  const wanted = asked.connections ?? HTTP_LIMITS.connections;
  const connections = connectionsWithin(wanted, descriptorLimit());
  // Silent connections alone must never be all that there is room for.
  const unfinished = asked.unfinished ?? Math.ceil(connections / 4);
  const limits = { ...asked, connections, unfinished };
  if (connections < wanted)
    log("warn", "server/few-descriptors", { wanted, connections, descriptors: descriptorLimit() ?? 0 });
  const hub = new WakeHub(listeners, heartbeat);
  const messenger = options.messenger ?? null;
  const office = new PostOffice({ view, messenger, ...tools });
  const files = staticFiles(`${data}/repository`);
  const transfers = new TransferBudget(options.transfers);
  const licenses = licenseApi({
    store,
    metrics,
    leases: options.leases ?? null,
    webhookSecret: async () => {
      const bytes = await readOrNull(disk, `${folder}/webhook.secret`, 1024);
      return bytes === null ? null : readWebhookSecret(bytes);
    },
    ...tools,
  });
  const entitlements = new Entitlements(
    `${data}/repository`,
    store,
    clock,
    (product, version) => watch.readRelease(product, version),
    log,
  );
  const api = serverApi({
    licenses,
    entitlements,
    store,
    view,
    trust,
    director,
    metrics,
    quotas: options.quotas,
    follow: options.follow,
    sharedAddresses: asked.sharedAddresses ?? [],
    findRelease: (product, version) => watch.findRelease(product, version),
    ...tools,
  });
  let behind = false;
  let trouble: string | null = "the repository was not read yet";
  /** Set while the repository does not trust this server's director key. */
  let untrusted: string | null = null;
  let device: HttpServer | null = null;

  /** What the repository says of this server's director: an answer that every device refuses is known here first. */
  const trustOf = ({ directors, remembered, forgotten }: Refreshed): void => {
    const { keyid } = director.publicKey;
    const before = untrusted;
    untrusted =
      directors === null || directors.includes(keyid)
        ? null
        : `the repository does not trust this server's director key ${keyid.slice(0, 16)} for assignments: devices refuse every answer. Start with the right --director, or make one with upkeep repo rotate director`;
    if (untrusted !== null && before === null)
      log("error", "server/director-not-trusted", { keyid, trusted: directors, reason: untrusted });
    if (untrusted === null && before !== null) log("info", "server/director-trusted", { keyid });
    metrics.set("upkeep_director_trusted", {}, untrusted === null ? 1 : 0);
    metrics.set("upkeep_remembered_time_seconds", {}, (remembered ?? 0) / SECOND);
    if (forgotten !== null) log("warn", "repository/time-forgotten", { ...forgotten });
  };

  const guarded = async (what: string, action: () => Promise<void>): Promise<boolean> => {
    try {
      await action();
      return true;
    } catch (error) {
      log("error", what, factsOf(error));
      return false;
    }
  };

  /** New connections see the certificate of now, and are judged by the authorities of now. */
  const present = async (): Promise<void> => {
    own = await makeServerCertificate(trust.server, options.names, tools);
    device?.setSecureContext({ key: own.key, cert: own.cert, ca: [...trust.believed] }, trust.known);
  };

  /** Follows the repository's trust bundle, whose authorities hold from this moment on. */
  const followTrust = async (): Promise<void> => {
    const bytes = await watch.trustBundle(trust.sha256);
    if (bytes === null || !(await trust.take(bytes))) return;
    await present();
    const closed = device?.closeWhere(({ authority }) => trust.isRevoked(authority)) ?? 0;
    log("info", "server/authorities-changed", { seq: trust.seq, closed });
    if (trust.missing.length > 0) log("error", "server/authority-key-missing", { missing: trust.missing });
  };

  /** What the records say now; who was cut off meanwhile loses its connections. */
  const reload = async (): Promise<void> => {
    const { cutOff } = await view.load();
    const lost = new Set(cutOff.flatMap(({ spkis }) => spkis));
    for (const { id } of cutOff) hub.revoke(id);
    if (lost.size > 0) device?.closeWhere(({ spki }) => lost.has(spki));
  };

  /** One look at everything that can have changed. `always`: also what changes by time alone. */
  const look = async (always: boolean): Promise<void> => {
    const stale = view.isStale();
    if (stale) await reload();
    if (stale || always || (await watch.hasChanged())) {
      const fresh = await guarded("repository/refresh-failed", async () => {
        const found = await watch.refresh(view.wanted()).catch((error: unknown) => {
          trouble = `the repository cannot be verified: ${sentenceOf(error)}`;
          throw error;
        });
        trouble = found === null ? "there is no repository in the data folder yet" : null;
        if (found === null) return;
        trustOf(found);
        const couldSeal = office.isOpen;
        office.follow(await watch.firstRoot(), found.messengers);
        metrics.set("upkeep_messenger_trusted", {}, office.isOpen ? 1 : 0);
        if (office.isOpen !== couldSeal)
          log("info", office.isOpen ? "server/messages-sealed" : "server/messages-bare", {});
        view.catalogue = found.catalogue;
        entitlements.forget();
        view.state = found.state;
        metrics.set("upkeep_repository_expires_seconds", {}, found.expires / SECOND);
        for (const { what, error } of found.problems)
          log("error", "repository/unusable", { what, ...factsOf(error) });
      });
      metrics.set("upkeep_repository_fresh", {}, fresh ? 1 : 0);
      if (fresh) await guarded("server/authorities-refused", followTrust);
      await guarded("repository/expiry-unknown", () => expiry.look(clock.now()));
      const steered = await view.steer(clock.now());
      const { woken } = steered;
      if (steered.behind !== behind) {
        behind = steered.behind;
        log(behind ? "warn" : "info", behind ? "fleet/behind" : "fleet/caught-up", { ...view.state });
      }
      if (woken.length > 0) log("info", "fleet/steered", { groups: woken });
    }
    // Judged after the repository was read: what was recalled meanwhile ends a rollout before anything else of it counts.
    await guarded("rollout/look-failed", async () => {
      if (!(await rollouts.look(always))) return;
      await reload();
      await view.steer(clock.now());
    });
    const told = hub.tell((listener) => view.newestWake(listener), office.isOpen);
    if (office.isOpen) {
      await view.orderWakeUps(clock.now());
      const sent = await office.deliver(hub.addressees());
      if (sent > 0) {
        metrics.count("upkeep_messages_sealed_total", {}, sent);
        log("info", "fleet/messages-sent", { messages: sent });
      }
    }
    if (told > 0) {
      metrics.count("upkeep_wakes_total", {}, told);
      log("info", "fleet/woken", { listeners: told });
    }
  };
  // One at a time: the timer and a caller of refresh() never interleave.
  let looking: Promise<unknown> = Promise.resolve();
  const lookInTurn = (always: boolean): Promise<void> => {
    const next = looking.then(() => look(always));
    looking = next.catch(() => {});
    return next;
  };

  const gauge = async (): Promise<void> => {
    metrics.set("upkeep_store_up", {}, store.reachable() ? 1 : 0);
    metrics.set("upkeep_repository_behind", {}, behind ? 1 : 0);
    // What is counted in the store stays what it was while nobody can ask; what this process knows of itself is told all the same.
    await guarded("server/count-failed", () => countDevices({ store, view, metrics, now: clock.now() }));
    await guarded("server/count-failed", countAlarms);
    countRollouts(view.rollouts(), metrics);
    metrics.set("upkeep_listeners", {}, hub.size);
    const { open, unfinished, refused } = device!.connections();
    metrics.set("upkeep_connections", {}, open);
    metrics.set("upkeep_connections_limit", {}, connections);
    metrics.set("upkeep_handshakes_unfinished", {}, unfinished);
    metrics.set("upkeep_connections_refused_total", {}, refused);
    const held = descriptors();
    if (held !== null) {
      metrics.set("process_open_fds", {}, held.open);
      metrics.set("process_max_fds", {}, held.limit);
    }
    metrics.set("upkeep_transfers", {}, files.active());
    metrics.set("upkeep_transfers_refused_total", { reason: "too-many" }, transfers.refused);
    metrics.set("upkeep_transfers_refused_total", { reason: "unread" }, transfers.cut);
    metrics.set("upkeep_certificate_expires_seconds", {}, own.certificate.notAfter / SECOND);
    for (const kind of ["server", "device"] as const)
      metrics.set("upkeep_authority_expires_seconds", { kind }, trust[kind].certificate.notAfter / SECOND);
    const { user, system } = process.cpuUsage();
    metrics.set("process_cpu_seconds_total", {}, (user + system) / 1e6);
    metrics.set("process_resident_memory_bytes", {}, process.memoryUsage.rss());
    metrics.set(
      "process_start_time_seconds",
      {},
      Math.round(clock.now() - process.uptime() * SECOND) / SECOND,
    );
  };

  const countAlarms = async (): Promise<void> => {
    const counts = await store.read((records) => records.alarmCounts());
    metrics.forget("upkeep_alarms");
    for (const { code, acknowledged, count } of boundedCounts(counts))
      metrics.set("upkeep_alarms", { code, acknowledged: String(acknowledged) }, count);
  };

  const flush = async (): Promise<void> => {
    for (const { device, addresses } of await view.flush())
      log("warn", "fleet/clone-suspected", { device, addresses });
  };

  const dead = new Set<string>();
  const alerts = new AlertDesk({ store, data, clock, disk, log, metrics });
  const stopping = new AbortController();
  const every = (ms: number, what: string, action: () => Promise<void>): Promise<void> =>
    (async () => {
      for (;;) {
        try {
          await clock.sleep(ms, stopping.signal);
        } catch {
          return;
        }
        await guarded(what, action);
      }
    })();

  let admin: HttpServer | null = null;
  try {
    if (shared !== null) await store.transaction((records) => claimAuthorities(records, trust.first));
    await view.load();
    // A server that was off for days starts with metadata that has expired.
    await guarded("server/renewal-failed", async () => options.renewOnline?.(clock.now()));
    await lookInTurn(true);
    device = await startHttpServer({
      listen: options.listen,
      tls: {
        key: own.key,
        cert: own.cert,
        ca: [...trust.believed],
        minVersion: "TLSv1.3",
        requestCert: true,
        // The static plane and enrolment need no certificate; every other call checks for itself that one was verified.
        rejectUnauthorized: false,
      },
      issuers: trust.known,
      limits,
      log,
      handle: devicePlane({
        api,
        licenses,
        entitlements,
        files,
        hub,
        view,
        office,
        clock,
        version: options.version,
        transfers,
        sharedAddresses: asked.sharedAddresses ?? [],
      }),
    });
    if (options.admin !== null) {
      const notReady = (): string | null =>
        store.trouble() ??
        trouble ??
        untrusted ??
        shortOf({ open: device!.connections().open, limit: connections }, descriptors());
      admin = await startHttpServer({
        listen: options.admin,
        limits: { connections: 100, connectionsPerAddress: 100 },
        log: options.log,
        handle: adminPlane({ metrics, gauge, notReady, feed: () => alarmFeed(store) }),
      });
    }
  } catch (error) {
    hub.stop();
    await device?.stop();
    await store.close();
    throw error;
  }

  const loops = [
    every(options.tick ?? TICK, "server/look-failed", () => lookInTurn(false)),
    every(SLOW_TICK, "server/look-failed", () => lookInTurn(true)),
    every(FLUSH_EVERY, "server/flush-failed", flush),
    every(options.watch ?? MINUTE, "server/watch-failed", async () => {
      await watchDead({ store, view, now: clock.now(), known: dead });
      await alerts.look(stopping.signal);
    }),
    every(MINUTE, "server/renewal-failed", async () => {
      await options.renewOnline?.(clock.now());
      // Also when it is not good yet: it was made while this machine's clock was ahead.
      const early = clock.now() < own.certificate.notBefore;
      if (!early && clock.now() < renewalTime(own.certificate)) return;
      await present();
      log("info", "server/certificate-renewed", { ends: formatInstant(own.certificate.notAfter) });
    }),
  ];

  let stopped: Promise<void> | null = null;
  /** A step of the stop that hangs is named and left behind: a stop ends, whatever a disk or a database does. */
  const bounded = async (step: string, action: Promise<unknown>): Promise<void> => {
    const timer = new AbortController();
    const late = clock.sleep(STEP_OF_STOP, timer.signal).then(
      () => log("error", "server/stop-step-hangs", { step }),
      () => {},
    );
    await Promise.race([action, late]);
    timer.abort();
  };
  const stop = async (): Promise<void> => {
    log("info", "server/stopping", { connections: device!.connections().open });
    stopping.abort();
    // Streams end with a hint when to come back; answers under way are finished.
    const closed = device!.stop();
    hub.stop();
    await closed;
    await admin?.stop();
    await bounded("work in turn", Promise.all([...loops, looking]));
    await bounded("flush", guarded("server/flush-failed", flush));
    await bounded("store", store.close());
    unlock();
    log("info", "server/stopped", {});
  };

  const bound = device.address as Listen;
  log("info", "server/started", { host: bound.host, port: bound.port, names: options.names });
  return {
    address: bound,
    admin: admin?.address ?? null,
    get caSpkiSha256() {
      return spkiDigest(trust.server.certificate.spki);
    },
    get caPem() {
      return certificatePem(trust.server.certificate);
    },
    refresh: () => lookInTurn(true),
    stop: () => (stopped ??= stop()),
  };
}

async function openOwn(
  { names }: UpdateServerOptions,
  folder: string,
  tools: AuthorityTools,
): Promise<{ readonly trust: Trust; readonly own: ServerCertificate }> {
  const trust = await openTrust(`${folder}/tls`, tools);
  return { trust, own: await makeServerCertificate(trust.server, names, tools) };
}

function sentenceOf(error: unknown): string {
  if (!(error instanceof UpkeepError)) return "an unforeseen error, which is in the log";
  return error.code === "repository/rollback"
    ? `${error.message} ${WOUND_BACK}`
    : error.message.slice(0, 300);
}

const WOUND_BACK =
  "If it was restored from an old backup for good: upkeep repo recover goes above what was seen (docs/operate/server.md).";

function factsOf(error: unknown): Facts {
  if (error instanceof UpkeepError) return { code: error.code, reason: error.message, facts: error.facts };
  return {
    reason: String(error).slice(0, 500),
    stack: error instanceof Error ? (error.stack ?? "").slice(0, 2000) : "",
  };
}
