// A vendor of licenses and its devices in one process: real documents, real records, a clock and a network that a test moves by hand.

import { generateKeyPairSync } from "node:crypto";
import { toBase64, toHex, toUtf8 } from "../core/bytes.ts";
import { UpkeepError } from "../core/errors.ts";
import { DAY, formatInstant, parseInstant, type Instant } from "../core/instant.ts";
import type { Random } from "../core/random.ts";
import { LicenseKeeper, type ProductStatus } from "../agent/license-keeper.ts";
import { AgentError } from "../agent/errors.ts";
import type { LicensingServer, LogLine } from "../agent/ports.ts";
import { activate, claimDigest, newChallenge, newClaim } from "../fleet/licenses/activate.ts";
import { takeLicense } from "../fleet/licenses/books.ts";
import { newId, type Mint } from "../fleet/licenses/mint.ts";
import { renewLease } from "../fleet/licenses/renew.ts";
import { takeReceipt, takeUsage } from "../fleet/licenses/usage.ts";
import type { Device } from "../fleet/records.ts";
import type { FleetStore, StoreRecords } from "../fleet/store.ts";
import { openFleetStore } from "../io/fleet-store/store.ts";
import { systemRandom } from "../io/system/random.ts";
import { localSigner, type Signer } from "../keys/signer.ts";
import { openActivation, openReceipt, openUsage } from "../license/device-documents.ts";
import { LicenseError } from "../license/errors.ts";
import { signLicense, type License } from "../license/license.ts";
import { REVOCATIONS_TARGET, signRevocations } from "../license/revocations.ts";
import { readAsked, type LicenseAnswered } from "../message/licenses.ts";
import { TRUSTED_KEYS_TARGET } from "../release/target-names.ts";
import { serialiseTrustedKeys, type Grant, type TrustedKeys } from "../release/trusted-keys.ts";
import { MemoryDisk } from "./memory-disk.ts";
import { RepositorySimulator } from "./repository-simulator.ts";

const signer = (): Signer => localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");

export const START = parseInstant("2026-11-21T04:00:00Z");

/** A license as a test thinks of it: everything has a value, and what matters is named. */
export type Sale = Partial<Omit<License, "seats" | "lease" | "policy">> & {
  readonly seats?: Partial<License["seats"]>;
  readonly lease?: Partial<License["lease"]>;
  readonly policy?: Partial<License["policy"]>;
};

export class LicenseWorld {
  now: Instant = START;
  readonly random: Random = systemRandom;
  readonly issuers = [signer(), signer(), signer()];
  leaseKeys = [signer()];
  readonly store: FleetStore;
  readonly repository: RepositorySimulator;
  readonly files = new Map<string, Uint8Array>();
  #devices = 0;

  private constructor(store: FleetStore, repository: RepositorySimulator) {
    this.store = store;
    this.repository = repository;
  }

  static async open(place: string, env: Readonly<Record<string, string>> = {}): Promise<LicenseWorld> {
    const repository = await RepositorySimulator.create({ now: START });
    const world = new LicenseWorld(await openFleetStore(place, env), repository);
    await world.publishKeys();
    return world;
  }

  get mint(): Mint {
    return { signer: this.leaseKeys.at(-1)!, random: this.random };
  }

  /** What trust/keys.json grants now: two of three issuers, and every lease key. */
  get trusted(): TrustedKeys {
    const all = [...this.issuers, ...this.leaseKeys].map(({ publicKey }) => publicKey);
    const grant = (kind: Grant["kind"], keys: readonly Signer[], threshold: number): Grant => ({
      kind,
      products: "*",
      keyids: keys.map(({ publicKey }) => publicKey.keyid),
      threshold,
    });
    return {
      keys: new Map(all.map((key) => [key.keyid, key])),
      grants: [grant("license", this.issuers, 2), grant("lease", this.leaseKeys, 1)],
    };
  }

  async publishKeys(): Promise<void> {
    await this.#publish(TRUSTED_KEYS_TARGET, serialiseTrustedKeys(this.trusted));
  }

  /** Revokes in the repository alone, as for devices that no server reaches. */
  async publishRevocation(license: string, at: Instant): Promise<void> {
    const list = { version: 1, revoked: [{ license, effectiveAt: formatInstant(at), reason: "not paid" }] };
    await this.#publish(REVOCATIONS_TARGET, await signRevocations(list, this.issuers.slice(0, 2)));
  }

  async #publish(name: string, bytes: Uint8Array): Promise<void> {
    this.files.set(name, bytes);
    this.repository.addTarget(name, bytes);
    this.repository.targets.version += 1;
    this.repository.snapshot.version += 1;
    this.repository.timestamp.version += 1;
    await this.repository.publish();
  }

  /** The targets role as devices have it. */
  targets(): Uint8Array {
    const { version } = this.repository.targets;
    const { files } = this.repository.source;
    const [, bytes] = [...files].find(([name]) => name.endsWith(`${version}.targets.json`))!;
    return bytes;
  }

  /** Time passes for everyone. */
  pass(ms: number): void {
    this.now += ms;
  }

  make(sale: Sale = {}, id = newId(this.random, "lic")): License {
    const kind = sale.kind ?? "subscription";
    return {
      id,
      rev: 1,
      product: "shop",
      kind,
      customer: "acme",
      issued: formatInstant(this.now),
      notBefore: formatInstant(this.now),
      expires: kind === "subscription" ? formatInstant(this.now + 365 * DAY) : null,
      features: { sso: true, nodes: 50 },
      fallback: { features: { nodes: 3 } },
      updates: { until: null, editions: [] },
      ...sale,
      seats: { model: "node-locked", max: 1, overagePercent: 0, overageDays: 14, ...sale.seats },
      lease: {
        ttlSeconds: 7 * 86_400,
        renewSeconds: 6 * 3600,
        graceSeconds: 30 * 86_400,
        offlineSeconds: 90 * 86_400,
        ...sale.lease,
      },
      policy: {
        onExpiry: "degrade",
        onClone: "meter",
        storage: "any",
        transfersPer30Days: 3,
        ...sale.policy,
      },
    };
  }

  sign(license: License): Promise<Uint8Array> {
    return signLicense(license, this.issuers.slice(0, 2));
  }

  async sell(
    sale: Sale = {},
  ): Promise<{ readonly license: License; readonly claim: string; readonly envelope: Uint8Array }> {
    const license = this.make(sale);
    const claim = newClaim({ random: this.random });
    const envelope = await this.take(license, claim);
    return { license, claim, envelope };
  }

  /** Takes a license into the records, a first revision or a next one. */
  async take(license: License, claim: string | null = null): Promise<Uint8Array> {
    const envelope = await this.sign(license);
    const { keys } = this.trusted;
    const issuers = { keys: this.issuers.map(({ publicKey }) => keys.get(publicKey.keyid)!), threshold: 2 };
    await this.write((records) =>
      takeLicense(
        records,
        { actor: "operator:test", now: this.now },
        envelope,
        license.product,
        issuers,
        claim === null ? null : claimDigest(claim),
      ),
    );
    return envelope;
  }

  write<T>(work: (records: StoreRecords) => Promise<T>): Promise<T> {
    return this.store.transaction(work);
  }

  async audit(): Promise<readonly string[]> {
    const rows = await this.store.read((records) => records.audit(0, 10_000));
    return rows.map(({ action }) => action);
  }

  async alarms(): Promise<readonly string[]> {
    return (await this.store.read((records) => records.alarms(100))).map(({ code }) => code);
  }

  /** An enrolled device with an agent's keeper of licenses. */
  async device(): Promise<LicenseDevice> {
    const number = ++this.#devices;
    const device = new LicenseDevice(
      this,
      `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`,
      signer(),
    );
    await this.write((records) => records.addDevice(recordOf(device, this.now)));
    await device.start();
    return device;
  }
}

function recordOf({ id, key }: LicenseDevice, now: Instant): Device {
  const raw = toHex(key.publicKey.spki.subarray(-32));
  return {
    id,
    name: `device ${id.slice(-4)}`,
    group: "default",
    status: "active",
    enrolled: now,
    token: "0".repeat(16),
    platform: { os: "linux", arch: "x64", libc: "glibc" },
    reportKey: raw,
    spki: raw,
    nextSpki: null,
    certificateEnds: now + 45 * DAY,
    lastSeen: null,
    claimed: [],
    agent: null,
    timestamp: null,
    lastSequence: 0,
    lastReport: null,
  };
}

/** What the network does with a call: it works, nobody answers, the answer gets lost, or something else answers. */
export type Network = "up" | "down" | "answer-lost" | "garbage";

export class LicenseDevice {
  readonly world: LicenseWorld;
  readonly id: string;
  readonly key: Signer;
  disk = new MemoryDisk();
  keeper!: LicenseKeeper;
  network: Network = "up";
  /** Added to the true time. */
  clockOffset = 0;
  boot = "b0".repeat(16);
  /** When this start began, by the true time. */
  bootedAt: Instant;
  address = "192.0.2.1";
  readonly lines: LogLine[] = [];
  readonly asked: unknown[] = [];

  constructor(world: LicenseWorld, id: string, key: Signer) {
    this.world = world;
    this.id = id;
    this.key = key;
    this.bootedAt = world.now;
  }

  /** The agent starts, with what its disk holds. */
  async start(): Promise<void> {
    this.keeper = new LicenseKeeper({
      world: {
        disk: this.disk,
        clock: {
          now: () => this.world.now + this.clockOffset,
          monotonic: () => this.world.now,
          sleep: async () => {},
        },
        random: this.world.random,
        log: (line) => void this.lines.push(line),
        program: { version: "0.1.0", features: [] },
      },
      folder: "/agent/licenses",
      identity: { device: this.id, key: this.key },
      reading: async () => ({
        wall: this.world.now + this.clockOffset,
        boot: this.boot,
        uptime: Math.max(0, this.world.now - this.bootedAt),
      }),
      trustedRoot: this.world.repository.rootBytes(1),
      chain: async () => ({ roots: [], targets: this.world.targets() }),
    });
    await this.keeper.open();
  }

  async reboot(): Promise<void> {
    this.boot = toHex(this.world.random.bytes(16));
    this.bootedAt = this.world.now;
    await this.start();
  }

  /** The same machine's disk and memory on other hardware: keys and state are the same, the run of the machine is another. */
  async copy(address = "198.51.100.7"): Promise<LicenseDevice> {
    const other = new LicenseDevice(this.world, this.id, this.key);
    other.disk = this.disk.clone();
    other.address = address;
    other.boot = toHex(this.world.random.bytes(16));
    await other.start();
    return other;
  }

  /** As the agent does it: what the repository says, then the section of the check-in, then the rest. */
  async checkIn(): Promise<void> {
    const { keeper } = this;
    if (this.network !== "down") await keeper.follow(this.releases());
    const asked = await keeper.ask();
    if (asked !== undefined) this.asked.push(asked);
    if (this.network === "down") return;
    if (this.network === "garbage") return keeper.take({ html: "<h1>Please log in</h1>" });
    const answer = asked === undefined ? undefined : await this.#answer(asked);
    if (this.network === "answer-lost") return;
    await keeper.take(answer);
    await keeper.settle(this.server(), AbortSignal.timeout(60_000));
  }

  releases() {
    return {
      document: async (target: string) => {
        const bytes = this.world.files.get(target);
        if (bytes === undefined)
          throw new AgentError("agent/wrong-release", "The repository does not list it.", { target });
        return bytes;
      },
    };
  }

  async activate(claim: string, product = "shop"): Promise<ProductStatus> {
    await this.keeper.follow(this.releases());
    const server = this.network === "down" ? undefined : this.server();
    return this.keeper.activate({ product, claim }, server, AbortSignal.timeout(60_000));
  }

  status(product = "shop"): Promise<ProductStatus> {
    return this.keeper.status(product);
  }

  async features(product = "shop"): Promise<Readonly<Record<string, true | number>>> {
    return (await this.status(product)).standing.features;
  }

  async reason(product = "shop"): Promise<string> {
    return (await this.status(product)).standing.reason;
  }

  server(): LicensingServer {
    const { world } = this;
    const by = { key: this.key.publicKey, device: this.id };
    const actor = `device:${this.id}`;
    const each = async (documents: readonly Uint8Array[], take: (bytes: Uint8Array) => Promise<unknown>) => {
      const verdicts = [];
      for (const bytes of documents) {
        try {
          await take(bytes);
          verdicts.push({ code: null, message: "" });
        } catch (error) {
          if (!(error instanceof UpkeepError)) throw error;
          verdicts.push({ code: error.code, message: error.message });
        }
      }
      return verdicts;
    };
    return {
      challenge: () => world.write((records) => newChallenge(records, world.now, this.id, world)),
      activate: async (bytes) => {
        const request = openActivation(bytes, by);
        const done = await world.write((records) =>
          activate(records, world.now, world.mint, { request, days: null, actor, address: this.address }),
        );
        if (this.network === "answer-lost")
          throw new AgentError("agent/stopping", "The answer got lost.", {});
        return { license: toUtf8(done.license), lease: toUtf8(done.lease) };
      },
      report: async ({ receipts, usage }) => ({
        receipts: await each(receipts, (bytes) =>
          world.write((records) => takeReceipt(records, world.now, openReceipt(bytes, by), { actor })),
        ),
        usage: await each(usage, (bytes) =>
          world.write((records) => takeUsage(records, world.now, openUsage(bytes, by))),
        ),
      }),
    };
  }

  async #answer(asked: unknown): Promise<readonly LicenseAnswered[]> {
    const { world } = this;
    const answers: LicenseAnswered[] = [];
    for (const one of readAsked(asked)) {
      const { activation } = one;
      try {
        const { lease, license } = await world.write((records) =>
          renewLease(records, world.now, world.mint, this, one, this.address),
        );
        answers.push({
          activation,
          lease: toBase64(toUtf8(lease)),
          ...(license === null ? {} : { license: toBase64(toUtf8(license)) }),
        });
      } catch (error) {
        if (!(error instanceof LicenseError)) throw error;
        answers.push({ activation, code: error.code, message: error.message });
      }
    }
    return answers;
  }
}
