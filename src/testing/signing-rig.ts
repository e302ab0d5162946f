// A whole signing service in one process, on loopback: real relays, real TLS both inside and outside, keys in memory.

import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toHex } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import type { Clock } from "../core/clock.ts";
import { systemClock } from "../io/system/clock.ts";
import { systemDisk } from "../io/system/disk.ts";
import { noLog, type Log } from "../io/system/log.ts";
import { identityOf, type Identity } from "../io/signing/pinned-tls.ts";
import { systemRandom } from "../io/system/random.ts";
import { startRelay, type Relay } from "../io/signing/relay.ts";
import type { GatewayDialler } from "../io/signing/signer-dial.ts";
import { SigningClient } from "../io/signing/client.ts";
import type { AuditEntry } from "../signing/audit/entry.ts";
import type { NoteKey } from "../signing/audit/note.ts";
import { verifyLog } from "../signing/audit/verify.ts";
import type { ServiceDescription } from "../signing/wire/description.ts";
import { parseGatewayConfig } from "../signing/wire/gateway-config.ts";
import type { FetchJson } from "../signing/policy/oidc.ts";
import type { SignIn } from "../signing/wire/protocol.ts";
import type { Build } from "../signing/ports.ts";
import type { SigningService, StampSettings } from "../signing/service.ts";
import type { SigningSession } from "../signing/wire/session.ts";
import type { MemoryKeys } from "./memory-keys.ts";
import { RigSigner } from "./rig-signer.ts";

export { UNLOCKED } from "./rig-signer.ts";

export type RigOptions = {
  /** TOML after `[service]`: users, keys, certificates. `@ci` stands for the SHA-256 of the client's key. */
  readonly config: string;
  /** TOML at the end of each gateway's configuration. */
  readonly gateway?: string;
  readonly gateways?: number;
  readonly signers?: number;
  /** The key called `release`; P-256 if none is given. */
  readonly release?: KeyObject;
  readonly fetchJson?: FetchJson;
  readonly clock?: Clock;
  readonly stamps?: () => StampSettings | undefined;
  /** What the signer builds its messages with: a test puts a hostile builder here. */
  readonly build?: (honest: Build) => Build;
  /** Milliseconds between a signer's pings; a gateway gives up a signer after three and a half times as long. */
  readonly pingEvery?: number;
  /** Milliseconds that a client has to sign in. */
  readonly signInWithin?: number;
  readonly say?: Log;
};

/** One gateway of the rig; it keeps its ports over restarts. */
export class RigGateway {
  readonly identity: Identity;
  readonly #config: (ports: { readonly clients: number; readonly signers: number }) => string;
  readonly #options: RigOptions;
  ports = { clients: 0, signers: 0 };
  relay!: Relay;

  constructor(
    identity: Identity,
    config: (ports: { readonly clients: number; readonly signers: number }) => string,
    options: RigOptions,
  ) {
    this.identity = identity;
    this.#config = config;
    this.#options = options;
  }

  async start(identity = this.identity): Promise<void> {
    const { pingEvery, say = noLog } = this.#options;
    this.relay = await startRelay(parseGatewayConfig(this.#config(this.ports), "gateway.toml"), identity, {
      clock: systemClock,
      random: systemRandom,
      say,
      ...(pingEvery === undefined ? {} : { signerSilence: 3.5 * pingEvery }),
    });
    this.ports = { clients: this.relay.clients, signers: this.relay.signers };
  }

  /** As a client's description names it. */
  get described(): ServiceDescription["gateways"][number] {
    return { address: `127.0.0.1:${this.ports.clients}`, spki: this.identity.spki };
  }
}

const makeIdentity = (key = generateKeyPairSync("ed25519").privateKey): Promise<Identity> =>
  identityOf(key, systemClock, systemRandom);

export class SigningRig {
  readonly folder: string;
  readonly clientKey: KeyObject;
  readonly gateways: RigGateway[] = [];
  readonly signers: RigSigner[] = [];
  readonly #options: RigOptions;
  readonly #clients: SigningClient[] = [];
  clientIdentity!: Identity;

  private constructor(folder: string, options: RigOptions) {
    this.folder = folder;
    this.#options = options;
    this.clientKey = generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
  }

  static async start(options: RigOptions): Promise<SigningRig> {
    const rig = new SigningRig(await mkdtemp(join(tmpdir(), "upkeep-signing-")), options);
    rig.clientIdentity = await makeIdentity(rig.clientKey);
    const release = options.release ?? generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey;
    const gatewayConfig = (ports: {
      readonly clients: number;
      readonly signers: number;
    }): string => `version = 1
[listen]
clients = "127.0.0.1:${ports.clients}"
signers = "127.0.0.1:${ports.signers}"
${rig.signers.map(({ name, identity }) => `[signers.${name}]\nspki = "${identity.spki}"\n`).join("")}
${options.gateway ?? ""}`;
    for (let i = 0; i < (options.gateways ?? 1); i++)
      rig.gateways.push(new RigGateway(await makeIdentity(), gatewayConfig, options));
    for (let i = 1; i <= (options.signers ?? 1); i++) {
      rig.signers.push(
        await RigSigner.create({
          name: `signer-${i}`,
          folder: i === 1 ? rig.folder : `${rig.folder}/signer-${i}`,
          release,
          identity: await makeIdentity(),
          config: rig.#config(),
          clock: options.clock ?? systemClock,
          gateways: () =>
            rig.gateways.map(({ ports, identity }) => ({
              address: `127.0.0.1:${ports.signers}`,
              spki: identity.spki,
            })),
          ...(options.fetchJson === undefined ? {} : { fetchJson: options.fetchJson }),
          ...(options.stamps === undefined ? {} : { stamps: options.stamps }),
          ...(options.build === undefined ? {} : { build: options.build }),
          ...(options.pingEvery === undefined ? {} : { pingEvery: options.pingEvery }),
          ...(options.signInWithin === undefined ? {} : { signInWithin: options.signInWithin }),
          ...(options.say === undefined ? {} : { say: options.say }),
        }),
      );
    }
    for (const gateway of rig.gateways) await gateway.start();
    for (const signer of rig.signers) await signer.start();
    return rig;
  }

  #config(config = this.#options.config): string {
    return config.replaceAll("@ci", this.clientIdentity.spki);
  }

  // The first of each, for tests that need no more than one.
  get #gateway(): RigGateway {
    return this.gateways[0]!;
  }
  get #signer(): RigSigner {
    return this.signers[0]!;
  }
  get relay(): Relay {
    return this.#gateway.relay;
  }
  get ports(): { readonly clients: number; readonly signers: number } {
    return this.#gateway.ports;
  }
  get gatewayIdentity(): Identity {
    return this.#gateway.identity;
  }
  get keys(): MemoryKeys {
    return this.#signer.keys;
  }
  get logKey(): NoteKey {
    return this.#signer.logKey;
  }
  get service(): SigningService {
    return this.#signer.service;
  }
  get dialler(): GatewayDialler {
    return this.#signer.diallers[0]!;
  }
  get sessions(): ReadonlySet<SigningSession> {
    return this.#signer.sessions;
  }
  startRelay(): Promise<void> {
    return this.#gateway.start();
  }
  startSigner(): Promise<void> {
    return this.#signer.start();
  }
  stopSigner(): Promise<void> {
    return this.#signer.stop();
  }
  settings(config?: string) {
    return this.#signer.settings(this.#config(config));
  }

  /** The entries of a signer's log, which must be whole but for tiles that were not written yet. */
  async entries(signer = this.#signer): Promise<readonly AuditEntry[]> {
    const all: AuditEntry[] = [];
    await verifyLog(systemDisk, `${signer.folder}/audit`, signer.logKey, [], (entry) => all.push(entry));
    return all;
  }

  description(change: Partial<ServiceDescription> = {}): ServiceDescription {
    return {
      version: 1,
      gateways: this.gateways.map(({ described }) => described),
      signers: this.signers.map(({ described }) => described),
      ...change,
    };
  }

  client(
    given: {
      readonly identity?: Identity;
      readonly service?: ServiceDescription;
      readonly signIn?: (signer: string) => Promise<SignIn>;
      readonly patience?: number;
      readonly silence?: number;
      readonly signer?: string;
      readonly trouble?: (sentence: string) => void;
    } = {},
  ): SigningClient {
    const client = new SigningClient(
      { clock: systemClock, random: systemRandom },
      {
        ...given,
        service: given.service ?? this.description(),
        identity: given.identity ?? this.clientIdentity,
        signIn: given.signIn ?? (async () => ({ method: "key" })),
        patience: given.patience ?? 90_000,
      },
    );
    this.#clients.push(client);
    return client;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) await client.close();
    for (const signer of this.signers) await signer.stop().catch(() => {});
    for (const gateway of this.gateways) await gateway.relay.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** A wish for a detached signature over some bytes. */
export function wishFor(bytes: Uint8Array, name = "file.bin", id?: string) {
  const digest = sha256Hex(bytes);
  return {
    certificate: "release",
    operation: { kind: "cms", algorithm: "sha256", digest, timestamp: false } as const,
    file: { name, length: bytes.length, sha256: digest },
    ...(id === undefined ? {} : { id }),
  };
}

export const newId = (): string => toHex(systemRandom.bytes(16));

/** Waits until something is so, looking often: a test waits for a condition, never for a time. */
export async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  patience = 30_000,
): Promise<void> {
  const end = performance.now() + patience;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`${what}: not within ${patience} ms`);
    await systemClock.sleep(10);
  }
}
