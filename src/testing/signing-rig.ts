// A whole signing service in one process, on loopback: real relay, real TLS both inside and outside, keys in memory.

import { generateKeyPairSync, sign as cryptoSign, type KeyObject } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBase64, toHex } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import type { Clock } from "../core/clock.ts";
import { startRelay, type Relay } from "../io/relay.ts";
import { systemClock } from "../io/clock.ts";
import { systemDisk } from "../io/disk.ts";
import { noLog } from "../io/log.ts";
import { messageBuilder } from "../io/message-builder.ts";
import { identityOf, type Identity } from "../io/pinned-tls.ts";
import { systemRandom } from "../io/random.ts";
import { GatewayDialler } from "../io/signer-dial.ts";
import { SigningClient } from "../io/signing-client.ts";
import { publicKeyOf, type PublicKey } from "../keys/public-key.ts";
import type { Scheme } from "../keys/scheme.ts";
import { localSigner, type Signer } from "../keys/signer.ts";
import { buildCertificate } from "../der/issue.ts";
import { commonName } from "../der/names.ts";
import { AuditLog } from "../signing/audit/log.ts";
import type { Blob } from "../signing/audit/entry.ts";
import { formatNoteKey, noteKeyFromSpki, type NoteKey } from "../signing/audit/note.ts";
import { replayLog } from "../signing/audit/replay.ts";
import { Budgets } from "../signing/budget.ts";
import { parseConfig } from "../signing/config.ts";
import { purposeKey } from "../signing/custody.ts";
import type { ServiceDescription } from "../signing/description.ts";
import { SigningError } from "../signing/errors.ts";
import { parseGatewayConfig } from "../signing/gateway-config.ts";
import { Ledger } from "../signing/ledger.ts";
import { TokenChecker, type FetchJson } from "../signing/oidc.ts";
import type { Build, KeyRing } from "../signing/ports.ts";
import type { SignIn } from "../signing/protocol.ts";
import { SigningService, type LoadedCertificate, type StampSettings } from "../signing/service.ts";
import { FAILURE_BUDGET, SigningSession, type Peer } from "../signing/session.ts";
import { checkTicket, issueTicket, type Ticket } from "../signing/ticket.ts";

/** Keys in this process, behind the same tickets as the real ones. */
export class MemoryKeys implements KeyRing {
  readonly #keys = new Map<string, Signer>();
  readonly #macKey = systemRandom.bytes(32);
  readonly #used = new Map<number, number>();
  readonly replaced: string[] = [];
  /** Signatures really made. */
  made = 0;
  /** Called before a key is used: a test makes a key slow, stuck or broken here. */
  before: (key: string) => Promise<void> = async () => {};

  add(name: string, key: KeyObject, scheme: Scheme): PublicKey {
    const signer = localSigner(key, scheme);
    this.#keys.set(name, signer);
    return signer.publicKey;
  }

  signer(name: string): Signer {
    return this.#keys.get(name)!;
  }

  publicKey(key: string): PublicKey | null {
    return this.#keys.get(key)?.publicKey ?? null;
  }

  issue(key: string, scheme: Scheme, message: Uint8Array, intent: number): Ticket {
    return issueTicket(this.#macKey, { key, scheme, message, intent, now: systemClock.now() });
  }

  async sign(ticket: Ticket, message: Uint8Array): Promise<Uint8Array> {
    const signer = this.#keys.get(ticket.key);
    if (signer === undefined) throw new SigningError("signing/key-unavailable", "There is no such key.");
    await this.before(ticket.key);
    checkTicket(this.#macKey, ticket, {
      key: ticket.key,
      schemes: [signer.publicKey.scheme],
      message,
      now: systemClock.now(),
      used: this.#used,
    });
    this.made++;
    return signer.sign(message, ticket.scheme);
  }

  replace(key: string): void {
    this.replaced.push(key);
  }
}

export type RigOptions = {
  /** TOML after `[service]`: users, keys, certificates. `@ci` stands for the SHA-256 of the client's key. */
  readonly config: string;
  readonly gateway?: string;
  readonly fetchJson?: FetchJson;
  readonly clock?: Clock;
  readonly stamps?: () => StampSettings | undefined;
  /** What the signer builds its messages with: a test puts a hostile builder here. */
  readonly build?: (honest: Build) => Build;
};

export const UNLOCKED: Uint8Array = new Uint8Array(32).fill(7);

export class SigningRig {
  readonly folder: string;
  readonly keys = new MemoryKeys();
  readonly gatewayKey: KeyObject;
  readonly signerKey: KeyObject;
  readonly clientKey: KeyObject;
  readonly #options: RigOptions;
  readonly #clients: SigningClient[] = [];
  #logKey!: NoteKey;
  #logPrivate!: KeyObject;
  log!: AuditLog;
  ledger!: Ledger;
  service!: SigningService;
  relay!: Relay;
  dialler!: GatewayDialler;
  signerIdentity!: Identity;
  gatewayIdentity!: Identity;
  clientIdentity!: Identity;
  readonly sessions = new Set<SigningSession>();
  ports = { clients: 0, signers: 0 };

  private constructor(folder: string, options: RigOptions) {
    this.folder = folder;
    this.#options = options;
    const pair = (): KeyObject => generateKeyPairSync("ed25519").privateKey;
    [this.gatewayKey, this.signerKey, this.clientKey] = [
      pair(),
      pair(),
      generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey,
    ];
  }

  static async start(options: RigOptions): Promise<SigningRig> {
    const rig = new SigningRig(await mkdtemp(join(tmpdir(), "upkeep-signing-")), options);
    const identity = (key: KeyObject): Promise<Identity> => identityOf(key, systemClock, systemRandom);
    [rig.gatewayIdentity, rig.signerIdentity, rig.clientIdentity] = await Promise.all([
      identity(rig.gatewayKey),
      identity(rig.signerKey),
      identity(rig.clientKey),
    ]);
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    rig.#logPrivate = privateKey;
    rig.#logKey = noteKeyFromSpki("test/log", publicKeyOf(publicKey, "ed25519").spki);
    rig.keys.add(
      "release",
      generateKeyPairSync("ec", { namedCurve: "prime256v1" }).privateKey,
      "ecdsa-sha2-nistp256",
    );
    rig.keys.add("other", generateKeyPairSync("ed25519").privateKey, "ed25519");
    await rig.startRelay();
    await rig.startSigner();
    return rig;
  }

  get logKey(): NoteKey {
    return this.#logKey;
  }

  async startRelay(): Promise<void> {
    const { clients, signers } = this.ports;
    const text = `version = 1
[listen]
clients = "127.0.0.1:${clients}"
signers = "127.0.0.1:${signers}"
[signers.signer-1]
spki = "${this.signerIdentity.spki}"
${this.#options.gateway ?? ""}`;
    this.relay = await startRelay(parseGatewayConfig(text, "gateway.toml"), this.gatewayIdentity, {
      clock: systemClock,
      random: systemRandom,
      say: noLog,
    });
    this.ports = { clients: this.relay.clients, signers: this.relay.signers };
  }

  settings(config = this.#options.config) {
    const text = `version = 1
[service]
name = "signer-1"
connections = 4
key-timeout-seconds = 2
gateways = [{ address = "127.0.0.1:${this.ports.signers}", spki = "${this.gatewayIdentity.spki}" }]
${config.replaceAll("@ci", this.clientIdentity.spki)}`;
    return { ...parseConfig(text, "signer.toml"), certificates: this.#certificates };
  }

  #certificates = new Map<string, LoadedCertificate>();

  /** Opens the log again and dials, as a start of the program does. */
  async startSigner(): Promise<void> {
    const clock = this.#options.clock ?? systemClock;
    const random = systemRandom;
    const signer = this.keys.signer("release");
    if (this.#certificates.size === 0) {
      const certificate = await buildCertificate({
        serial: Uint8Array.of(1),
        issuer: { signer },
        subject: commonName("Acme Test"),
        spki: signer.publicKey.spki,
        notBefore: systemClock.now() - 86_400_000,
        notAfter: systemClock.now() + 86_400_000 * 30,
      });
      this.#certificates = new Map([["release", { pem: "", chain: [certificate] }]]);
    }
    const folder = `${this.folder}/audit`;
    const opened = await AuditLog.open({
      disk: systemDisk,
      clock,
      folder,
      key: this.#logKey,
      sign: async (message) => new Uint8Array(cryptoSign(null, message, this.#logPrivate)),
    });
    this.log = opened.log;
    this.ledger = new Ledger();
    await replayLog(systemDisk, folder, this.log.size, (entry) => this.ledger.apply(entry));
    const readBlob = async (blob: Blob): Promise<Uint8Array> => fromBase64(blob.inline ?? "");
    this.service = new SigningService(
      {
        clock,
        log: this.log,
        ledger: this.ledger,
        keys: this.keys,
        readBlob,
        say: noLog,
        build: (this.#options.build ?? ((honest) => honest))(
          messageBuilder({
            // Between rounds over failing authorities nobody has to wait.
            clock: { ...clock, sleep: async () => {} },
            random,
            settings: this.#options.stamps ?? (() => undefined),
          }),
        ),
      },
      this.settings(),
    );
    await this.service.record({
      kind: "start",
      signer: "signer-1",
      version: "1",
      config: "0".repeat(64),
      dropped: opened.dropped,
    });
    await this.service.recover();
    const failures = new Budgets(FAILURE_BUDGET);
    const tokens = new TokenChecker(
      this.#options.fetchJson ?? (() => Promise.reject(new Error("no network"))),
    );
    const { service, log, ledger, keys } = this;
    this.dialler = new GatewayDialler(
      { address: `127.0.0.1:${this.ports.signers}`, spki: this.gatewayIdentity.spki },
      {
        clock,
        random,
        say: noLog,
        identity: this.signerIdentity,
        name: "signer-1",
        idle: 4,
        most: 64,
        session: (peer: Peer) => {
          const session = new SigningSession(
            {
              clock,
              random,
              service,
              log,
              ledger,
              keys,
              tokens,
              logKey: this.#logKey,
              sealKey: purposeKey(UNLOCKED, "config v1"),
              say: noLog,
              failures,
            },
            peer,
          );
          this.sessions.add(session);
          return session;
        },
      },
    );
  }

  /** As a kill does: connections break, nothing is said, the log stays as it is on disk. */
  async stopSigner(): Promise<void> {
    await this.dialler.stop();
    await this.log.close();
  }

  description(change: Partial<ServiceDescription> = {}): ServiceDescription {
    return {
      version: 1,
      gateways: [{ address: `127.0.0.1:${this.ports.clients}`, spki: this.gatewayIdentity.spki }],
      signers: [{ name: "signer-1", spki: this.signerIdentity.spki, log: formatNoteKey(this.#logKey) }],
      ...change,
    };
  }

  client(
    given: {
      readonly identity?: Identity;
      readonly service?: ServiceDescription;
      readonly signIn?: () => Promise<SignIn>;
      readonly patience?: number;
    } = {},
  ): SigningClient {
    const client = new SigningClient(
      { clock: systemClock, random: systemRandom },
      {
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
    await this.stopSigner().catch(() => {});
    await this.relay.close();
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
