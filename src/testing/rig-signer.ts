// One signer of a test rig: real log, real service, real dialler to every gateway of the rig; only its keys are in memory.

import { generateKeyPairSync, sign as cryptoSign, type KeyObject } from "node:crypto";
import { fromBase64, fromUtf8 } from "../core/bytes.ts";
import type { Clock } from "../core/clock.ts";
import { buildCertificate } from "../der/issue.ts";
import { commonName } from "../der/names.ts";
import { systemDisk } from "../io/system/disk.ts";
import { noLog, type Log } from "../io/system/log.ts";
import { messageBuilder } from "../io/signing/message-builder.ts";
import type { Identity } from "../io/signing/pinned-tls.ts";
import { systemRandom } from "../io/system/random.ts";
import { GatewayDialler } from "../io/signing/signer-dial.ts";
import { publicKeyOf } from "../keys/public-key.ts";
import type { Blob } from "../signing/audit/entry.ts";
import { AuditLog } from "../signing/audit/log.ts";
import { formatNoteKey, noteKeyFromSpki, type NoteKey } from "../signing/audit/note.ts";
import { replayLog } from "../signing/audit/replay.ts";
import { Budgets } from "../signing/policy/budget.ts";
import { parseConfig } from "../signing/policy/config.ts";
import { purposeKey } from "../signing/custody/custody.ts";
import type { ServiceDescription } from "../signing/wire/description.ts";
import { Ledger } from "../signing/audit/ledger.ts";
import { TokenChecker, type FetchJson } from "../signing/policy/oidc.ts";
import type { Build } from "../signing/ports.ts";
import type { CallMessage } from "../signing/wire/protocol.ts";
import { readKeptRequest } from "../signing/request/request.ts";
import { SigningService, type LoadedCertificate, type StampSettings } from "../signing/service.ts";
import { SigningSession, type Peer } from "../signing/wire/session.ts";
import { FAILURE_BUDGET } from "../signing/policy/sign-in.ts";
import { MemoryKeys } from "./memory-keys.ts";

export const UNLOCKED: Uint8Array = new Uint8Array(32).fill(7);

/** The call as a signer of protocol version 1 reads it; null for what it refuses as unknown. */
function asVersionOne(call: CallMessage): CallMessage | null {
  if (call.type === "hello") return { ...call, versions: call.versions.filter((version) => version === 1) };
  if (call.type === "table" || call.type === "preview") return null;
  if (call.type !== "sign") return call;
  const { payload } = JSON.parse(fromUtf8(fromBase64(call.envelope))) as { payload: string };
  const { operation, release } = readKeptRequest(fromBase64(payload));
  const { contentType, pageHashes } =
    operation.kind === "authenticode" ? operation : { contentType: undefined, pageHashes: undefined };
  const later = [
    contentType,
    release?.nonce,
    pageHashes !== undefined && "sha256" in pageHashes ? 1 : undefined,
  ];
  return later.every((member) => member === undefined) ? call : null;
}

export type RigGatewayEnd = { readonly address: string; readonly spki: string };
export type RigSignerOptions = {
  readonly name: string;
  /** Where its log is. */
  readonly folder: string;
  /** The key called `release`: signers that stand in for each other hold the same. */
  readonly release: KeyObject;
  readonly identity: Identity;
  /** TOML after `[service]`: users, keys, certificates. */
  readonly config: string;
  readonly clock: Clock;
  readonly gateways: () => readonly RigGatewayEnd[];
  readonly fetchJson?: FetchJson;
  readonly stamps?: () => StampSettings | undefined;
  readonly build?: (honest: Build) => Build;
  readonly pingEvery?: number;
  readonly signInWithin?: number;
  readonly say?: Log;
};

export class RigSigner {
  readonly #options: RigSignerOptions;
  readonly #logPrivate: KeyObject;
  readonly #certificates = new Map<string, LoadedCertificate>();
  readonly keys = new MemoryKeys();
  readonly logKey: NoteKey;
  readonly sessions = new Set<SigningSession>();
  /** Calls that sessions took up so far. */
  calls = 0;
  /** It behaves as one of protocol version 1: says so, and refuses the forms of requests that came later. */
  old = false;
  /** What an old one did not understand. */
  misunderstood = 0;
  session!: (peer: Peer) => SigningSession;
  running = false;
  log!: AuditLog;
  ledger!: Ledger;
  service!: SigningService;
  diallers: readonly GatewayDialler[] = [];

  private constructor(options: RigSignerOptions) {
    this.#options = options;
    const { privateKey, publicKey } = generateKeyPairSync("ed25519");
    this.#logPrivate = privateKey;
    this.logKey = noteKeyFromSpki(`${options.name}/log`, publicKeyOf(publicKey, "ed25519").spki);
    if (options.release.asymmetricKeyType === "rsa") {
      const also = ["rsa-pkcs1v15-sha384", "rsa-pkcs1v15-sha512"] as const;
      this.keys.add("release", options.release, "rsa-pkcs1v15-sha256", also);
    } else this.keys.add("release", options.release, "ecdsa-sha2-nistp256");
    this.keys.add("other", generateKeyPairSync("ed25519").privateKey, "ed25519");
  }

  static async create(options: RigSignerOptions): Promise<RigSigner> {
    const made = new RigSigner(options);
    await made.#certify();
    return made;
  }

  get name(): string {
    return this.#options.name;
  }

  get folder(): string {
    return this.#options.folder;
  }

  get identity(): Identity {
    return this.#options.identity;
  }

  /** As a service description names it. */
  get described(): ServiceDescription["signers"][number] {
    return { name: this.name, spki: this.identity.spki, log: formatNoteKey(this.logKey) };
  }

  settings(config = this.#options.config) {
    const gateways = this.#options
      .gateways()
      .map(({ address, spki }) => `{ address = "${address}", spki = "${spki}" }`);
    const text = `version = 1
[service]
name = "${this.name}"
connections = 4
key-timeout-seconds = 2
gateways = [${gateways.join(", ")}]
${config}`;
    return { ...parseConfig(text, "signer.toml"), certificates: this.#certificates };
  }

  /** Each signer has a certificate of its own for the shared key. */
  async #certify(): Promise<void> {
    const signer = this.keys.signer("release");
    const now = Date.now();
    const certificate = await buildCertificate({
      serial: systemRandom.bytes(8).with(0, 1),
      issuer: { signer },
      subject: commonName("Acme Test"),
      spki: signer.publicKey.spki,
      notBefore: now - 86_400_000,
      notAfter: now + 86_400_000 * 30,
    });
    this.#certificates.set("release", { pem: "", chain: [certificate] });
  }

  /** Opens the log again and dials, as a start of the program does. */
  async start(): Promise<void> {
    const { clock, folder, name } = this.#options;
    const random = systemRandom;
    const opened = await AuditLog.open({
      disk: systemDisk,
      clock,
      folder: `${folder}/audit`,
      key: this.logKey,
      sign: async (message) => new Uint8Array(cryptoSign(null, message, this.#logPrivate)),
    });
    this.log = opened.log;
    this.ledger = new Ledger();
    await replayLog(systemDisk, `${folder}/audit`, this.log.size, (entry) => this.ledger.apply(entry));
    const readBlob = async (blob: Blob): Promise<Uint8Array> => fromBase64(blob.inline ?? "");
    this.service = new SigningService(
      {
        clock,
        log: this.log,
        ledger: this.ledger,
        keys: this.keys,
        readBlob,
        say: this.#options.say ?? noLog,
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
    const { dropped } = opened;
    await this.service.record({
      kind: "start",
      signer: name,
      version: "1",
      config: "0".repeat(64),
      dropped,
    });
    await this.service.recover();
    this.session = this.#sessionMaker();
    this.diallers = this.settings().config.service.gateways.map(
      (gateway) =>
        new GatewayDialler(gateway, {
          clock,
          random,
          say: this.#options.say ?? noLog,
          identity: this.identity,
          name,
          idle: 4,
          most: 64,
          session: this.session,
          ...(this.#options.signInWithin === undefined ? {} : { signInWithin: this.#options.signInWithin }),
          ...(this.#options.pingEvery === undefined ? {} : { pingEvery: this.#options.pingEvery }),
        }),
    );
    this.running = true;
  }

  #sessionMaker(): (peer: Peer) => SigningSession {
    const failures = new Budgets(FAILURE_BUDGET);
    const fetchJson = this.#options.fetchJson ?? (() => Promise.reject(new Error("no network")));
    const ports = {
      clock: this.#options.clock,
      random: systemRandom,
      service: this.service,
      log: this.log,
      ledger: this.ledger,
      keys: this.keys,
      tokens: new TokenChecker(fetchJson),
      logKey: this.logKey,
      sealKey: purposeKey(UNLOCKED, "config v1"),
      say: this.#options.say ?? noLog,
      failures,
    };
    return (peer) => {
      const session = new SigningSession(ports, peer);
      const handle = session.handle.bind(session);
      session.handle = (call) => {
        this.calls++;
        if (!this.old) return handle(call);
        const known = asVersionOne(call);
        if (known !== null) return handle(known);
        this.misunderstood++;
        return Promise.resolve({
          seq: call.seq,
          ok: false,
          code: "schema/invalid",
          message: "Unrecognized key",
        });
      };
      this.sessions.add(session);
      return session;
    };
  }

  /** As a kill does: connections break, nothing is said, the log stays as it is on disk. */
  async stop(): Promise<void> {
    if (!this.running) return;
    this.running = false;
    await Promise.all(this.diallers.map((dialler) => dialler.stop()));
    await this.log.close();
  }
}
