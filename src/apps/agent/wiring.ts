// Joins the agent to this machine: disk, clock, processes, network, identity.

import type { Disk } from "../../core/disk.ts";
import { usedCpuMs } from "../../io/system/surroundings.ts";
import { bandwidthAt, CpuPace, pacedDisk, type Budget } from "../../manners/budget.ts";
import { RateLimit } from "../../mirror/rate.ts";
import { openAgent, type Agent } from "../../agent/agent.ts";
import type { LogLine, Repository, World } from "../../agent/ports.ts";
import { openMailbox } from "../../agent/mailbox.ts";
import { openMessageKeys } from "../../agent/message-keys.ts";
import { placeIn, refuseClear, type Settings } from "../../agent/settings.ts";
import { sha256Hex } from "../../core/digest.ts";
import type { Facts } from "../../core/errors.ts";
import { ownProgram } from "../framework/own-program.ts";
import { agentRepository, type SourceWord } from "../../io/device/agent-repository.ts";
import { broughtSource } from "../../io/source/bundle.ts";
import { climbingSource } from "../../io/device/recovering-source.ts";
import { placeName, type Place } from "../../io/connection/failure.ts";
import type { Proxies } from "../../io/connection/proxies.ts";
import { systemClock } from "../../io/system/clock.ts";
import type { StoredIdentity } from "../../io/device/device-identity.ts";
import { diskSource } from "../../io/source/disk.ts";
import { systemTrees } from "../../io/system/data-trees.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { httpSource } from "../../io/source/http.ts";
import { systemHandlers } from "../../io/system/handlers.ts";
import type { Log } from "../../io/system/log.ts";
import { thisPlatform } from "../../io/system/platform.ts";
import { boundLog, logHead, logSize, logTail, rotateLog } from "../../io/system/output-file.ts";
import { systemSockets } from "../../io/system/held-sockets.ts";
import { hasLittleToDo, spaceAt } from "../../io/system/burden.ts";
import { systemPorts } from "../../io/system/listeners.ts";
import { systemProbes } from "../../io/system/probes.ts";
import { systemProcesses } from "../../io/system/process.ts";
import { systemPublisherVerifier } from "../../io/device/publisher-verifier.ts";
import { systemRandom } from "../../io/system/random.ts";
import { systemSurroundings } from "../../io/system/surroundings.ts";
import { storeLock } from "../../io/system/store-lock.ts";
import { zipReader } from "../../io/archive/unpack-zip.ts";
import { below, type Source } from "../../mirror/source.ts";
import {
  mirrorAt,
  openRepository,
  type Mirror,
  type Repository as TufClient,
} from "../../repository/client/client.ts";
import { diskStore } from "../../repository/client/store.ts";
import { openConnection } from "./connection.ts";
import { readFolder, type Hurdle } from "./hurdle.ts";
import { addressOf } from "./enroll.ts";
import { dialInTurn } from "./servers-in-turn.ts";
import { openServerClient } from "../../io/device/server-client.ts";
import { proxiesOf } from "./proxies.ts";
import { licenseKeeper } from "./licenses.ts";
import { openDeviceTrust } from "./trust.ts";

export type WiringOptions = {
  readonly folder: string;
  readonly log: Log;
  /** For an agent that is one signed file; a checkout has no image of its own. */
  readonly selfCheck?: () => Promise<void>;
  /** Tests stop the process at named points. */
  readonly atPoint?: (name: string) => Promise<void>;
  readonly environment?: Readonly<Record<string, string | undefined>>;
};

export type Wired = {
  readonly agent: Agent;
  /** A copy of the repository on this machine, judged by the same root and the same history as the server's. Errors: `mirror/*`, `disk/*`. */
  readonly broughtTo: (path: string) => Promise<Repository>;
  /** Why nothing is updated, and whether that is over; null if nothing is in the way. */
  readonly hurdle: Hurdle | null;
  readonly close: () => void;
};

/**
 * The caller holds the folder's lock. What is installed here is run whatever lies in the way of updating it; with nothing installed, that is
 * an error. Errors: `agent/not-enrolled`, `agent/damaged-identity`, `agent/bad-settings`, `disk/*`.
 */
export async function wireAgent(options: WiringOptions): Promise<Wired> {
  const { folder } = options;
  const { settings, identity, hurdle } = await readFolder(systemDisk, folder);
  const world = worldOf(options, settings.budget);
  return identity === null
    ? wireAlone(folder, settings, world, hurdle!)
    : wireConnected(options, settings, identity, world, hurdle);
}

function worldOf(
  { folder, log, selfCheck, environment, atPoint }: WiringOptions,
  budget: Budget = {},
): World {
  return {
    program: ownProgram(),
    disk: systemDisk,
    background: backgroundDisk(budget),
    clock: systemClock,
    random: systemRandom,
    processes: systemProcesses,
    probes: systemProbes,
    handlers: systemHandlers,
    localPorts: systemPorts,
    surroundings: systemSurroundings,
    sockets: systemSockets,
    logs: { rotate: rotateLog, bound: boundLog, head: logHead, tail: logTail, size: logSize },
    zip: zipReader,
    trees: systemTrees(),
    platform: thisPlatform(),
    verifyPublisher: systemPublisherVerifier,
    isIdle: async () => hasLittleToDo(),
    space: spaceAt,
    selfCheck: selfCheck ?? null,
    // Where components find what they may use; the same for all of them.
    environment: { ...(environment ?? process.env), UPKEEP_LICENSES: `${folder}/licenses` },
    log: ({ level, event, ...facts }: LogLine) => log(level, `agent/${event}`, facts as Facts),
    atPoint: atPoint ?? (async () => {}),
  };
}

function backgroundDisk({ cpuShare }: Budget): Disk {
  if (cpuShare === undefined) return systemDisk;
  return pacedDisk(systemDisk, new CpuPace(systemClock, usedCpuMs, cpuShare));
}

async function wireConnected(
  { folder, log }: WiringOptions,
  settings: Settings,
  identity: StoredIdentity,
  world: World,
  hurdle: Hurdle | null,
): Promise<Wired> {
  const { server, record } = identity;
  const proxies = proxiesOf(settings, world.environment);
  const places = placesOf(record, settings);
  const trust = await openDeviceTrust(systemDisk, `${folder}/identity`, server, () => {
    connection.reconnect();
    for (const source of sources) source.renew();
    log("info", "agent/authorities-changed", { believed: trust.server.pins });
  });
  const dial = dialInTurn(
    places,
    (to, client) => openServerClient(to, client, proxies),
    (to) => log("info", "agent/server-changed", { server: placeName(to) }),
  );
  const connection = openConnection(
    `${folder}/identity`,
    identity,
    () => trust,
    world,
    dial,
    () => {
      for (const source of sources) source.renew();
    },
  );
  const sources = places.map((place) =>
    climbingSource(
      addressOf(place),
      () => trust.server,
      (climbing) =>
        climbing
          ? log("warn", "agent/server-unknown", {
              reason:
                "The server shows a certificate of an authority that is not known here. Signed metadata is read from it all the same, to see whether the authorities were replaced; nothing else is asked for, and nothing is sent.",
            })
          : log("info", "agent/server-known", {}),
      proxies,
      () => connection.client,
    ),
  );
  const store = diskStore(systemDisk, `${folder}/tuf`, storeLock(`${folder}/tuf/lock`, systemClock));
  const brought: (() => void)[] = [];
  const copies = settingsMirrors(settings, proxies);
  const { budget = {} } = settings;
  const zone = settings.policy?.zone ?? systemSurroundings.zone();
  // One for all downloads of this agent.
  const rate = new RateLimit(systemClock, () => bandwidthAt(budget, systemClock.now(), zone));
  const client = (mirrors: readonly Mirror[]): TufClient =>
    openRepository({
      mirrors,
      store,
      clock: systemClock,
      random: systemRandom,
      trustedRoot: identity.root,
      rate,
    });
  const origins = sources.map((source) => mirrorAt(below(source, "repository")));
  const mirrors = [...origins, ...copies.map((copy) => mirrorAt(copy.source))];
  const own = new Set(origins.map((origin) => origin.targets.name));
  const wordFor: SourceWord = (name) => (name === null || own.has(name) ? "origin" : "mirror");
  const self = { device: record.device, key: identity.reportKey };
  const keys = await openMessageKeys(world, `${folder}/identity`, self);
  const mailbox = await openMailbox({
    world,
    folder,
    device: record.device,
    fleet: sha256Hex(identity.root),
    keys,
    provenTime: async () => (await store.loadKnownTime())?.time ?? null,
  });
  const licenses = licenseKeeper(folder, world, self, identity.root, store);
  await licenses.open();
  const agent = await openAgent({
    world,
    folder,
    licenses,
    identity: self,
    mail: { mailbox, keys },
    timestampVersion: async () => (await store.loadKnownTime())?.versions.timestamp ?? null,
    repository: agentRepository(client(mirrors), store, world.background, wordFor),
    server: connection,
    trust,
    settings,
    pid: process.pid,
    ...(hurdle === null ? {} : { grounded: hurdle.error }),
  });
  return {
    agent,
    hurdle,
    broughtTo: async (path) => {
      if (/^https?:\/\//i.test(path)) {
        const { source, close } = mirrorOf(path, settings, proxies);
        brought.push(close);
        return agentRepository(client([mirrorAt(source)]), store, systemDisk, () => "mirror");
      }
      const copy = mirrorAt(await broughtSource(systemDisk, path));
      return agentRepository(client([copy]), store, systemDisk, () => "bundle");
    },
    close: () => {
      for (const copy of copies) copy.close();
      connection.close();
      for (const source of sources) source.close();
      for (const close of brought) close();
    },
  };
}

/** An agent that runs what is installed, and can speak to nobody: everything else of it fails with the hurdle's error. */
async function wireAlone(folder: string, settings: Settings, world: World, hurdle: Hurdle): Promise<Wired> {
  const { error, device } = hurdle;
  const fail = (): never => {
    throw error;
  };
  const refuse = async (): Promise<never> => fail();
  const agent = await openAgent({
    world,
    folder,
    identity: {
      device,
      key: {
        get publicKey() {
          return fail();
        },
        sign: refuse,
      },
    },
    repository: { refresh: refuse },
    server: { checkIn: refuse, sendReports: refuse, wakeUps: fail },
    trust: { bundleSha256: null, take: refuse },
    settings,
    pid: process.pid,
    grounded: error,
    unsigned: true,
  });
  return { agent, hurdle, broughtTo: refuse, close: () => {} };
}

/** The address of the enrolment first, then what came with it, then what the settings add; each once. */
export function placesOf(
  record: Pick<StoredIdentity["record"], "server" | "others">,
  settings: Pick<Settings, "servers">,
): readonly Place[] {
  const all = [
    record.server,
    ...(record.others ?? []),
    ...(settings.servers ?? []).map((text) => placeIn(text)!),
  ];
  return [...new Map(all.map((place) => [placeName(place), place])).values()];
}

/** The mirrors of `agent.toml`: folders, and web servers that anybody's certificate vouches for; content needs no trust. */
function settingsMirrors(settings: Settings, proxies: Proxies): readonly Copy[] {
  return (settings.mirrors ?? []).map((place) =>
    place.startsWith("/")
      ? { source: diskSource(systemDisk, place), close: () => {} }
      : mirrorOf(place, settings, proxies),
  );
}

type Copy = { readonly source: Source; readonly close: () => void };

/** Errors: `agent/bad-settings` for an address in the clear that the settings do not allow. */
function mirrorOf(address: string, settings: Settings, proxies: Proxies): Copy {
  refuseClear(address, settings);
  const plain = settings.untrustedHttp === true ? ({ plainHttp: "allowed" } as const) : {};
  const source = httpSource(address, { ...plain, proxies });
  return { source, close: () => source.close() };
}
