// A server with a real repository folder and real sockets on loopback, and devices that enrol with it, for whole-program tests.

import { createPrivateKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fromBase64, fromUtf8, toBase64, toHex } from "../../src/core/bytes.ts";
import { sha256Hex } from "../../src/core/digest.ts";
import { DAY, formatInstant } from "../../src/core/instant.ts";
import { buildCsr } from "../../src/der/csr.ts";
import { buildName } from "../../src/der/names.ts";
import { toPem } from "../../src/der/pem.ts";
import { addToken } from "../../src/fleet/enrol.ts";
import type { FleetStore } from "../../src/fleet/store.ts";
import { formatToken, newToken, parseToken } from "../../src/identity/token.ts";
import { systemClock } from "../../src/io/system/clock.ts";
import { systemDisk } from "../../src/io/system/disk.ts";
import { openFleetStore } from "../../src/io/fleet-store/store.ts";
import type { Log } from "../../src/io/system/log.ts";
import { systemRandom } from "../../src/io/system/random.ts";
import { openServerClient, type ServerClient } from "../../src/io/device/server-client.ts";
import { findAuthority, type ClientIdentity, type ServerIdentity } from "../../src/io/device/tls.ts";
import { localSigner, type Signer } from "../../src/keys/signer.ts";
import { enrolmentProof } from "../../src/message/enroll.ts";
import { signChannel } from "../../src/release/channel.ts";
import { channelTarget, releaseTarget, TRUSTED_KEYS_TARGET } from "../../src/release/target-names.ts";
import { serialiseTrustedKeys, type Grant } from "../../src/release/trusted-keys.ts";
import { parseTargetName } from "../../src/repository/names.ts";
import { RepositorySimulator } from "../../src/testing/repository-simulator.ts";
import {
  startUpdateServer,
  type UpdateServer,
  type UpdateServerOptions,
} from "../../src/apps/server/server.ts";

export type LogLine = { readonly level: string; readonly event: string } & Readonly<Record<string, unknown>>;

const signer = (): Signer => localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");

/** An operator's data folder with a repository in it. */
export class World {
  readonly data = mkdtempSync(join(tmpdir(), "upkeep-server-"));
  readonly director = signer();
  readonly publisher = signer();
  readonly lines: LogLine[] = [];
  readonly log: Log = (level, event, facts) => void this.lines.push({ level, event, ...facts });
  readonly #repository: RepositorySimulator;

  private constructor(repository: RepositorySimulator) {
    this.#repository = repository;
  }

  static async create(): Promise<World> {
    const world = new World(await RepositorySimulator.create({ now: Date.now() }));
    const keys = new Map(
      [world.director, world.publisher].map(({ publicKey }) => [publicKey.keyid, publicKey]),
    );
    const grant = (kind: "assignment" | "channel" | "release", by: Signer): Grant => ({
      kind,
      products: "*",
      keyids: [by.publicKey.keyid],
      threshold: 1,
    });
    const trusted = {
      keys,
      grants: [
        grant("assignment", world.director),
        grant("channel", world.publisher),
        grant("release", world.publisher),
      ],
    };
    world.#repository.addTarget(TRUSTED_KEYS_TARGET, serialiseTrustedKeys(trusted));
    await world.promote("shop", "stable", "1.0.0");
    return world;
  }

  /** Publishes a release and points a channel to it. The manifest's content is of no concern to a server. */
  async promote(
    product: string,
    channel: string,
    version: string,
  ): Promise<{ version: string; manifestSha256: string }> {
    const manifest = Buffer.from(`{"stands for the manifest of":"${product} ${version}"}`);
    const release = { version, target: releaseTarget(product, version), sha256: sha256Hex(manifest) };
    const pointer = {
      product,
      channel,
      ...release,
      updated: formatInstant(Date.now()),
      steps: [],
      recalled: [],
    };
    this.#repository.addTarget(release.target, manifest);
    this.#repository.addTarget(channelTarget(product, channel), await signChannel(pointer, [this.publisher]));
    await this.publish();
    return { version, manifestSha256: release.sha256 };
  }

  /** Lists a target in a role; `publish` makes it count. */
  addTarget(name: string, bytes: Uint8Array, role = "targets"): void {
    if (role !== "targets" && !this.#repository.delegated.has(role))
      this.#repository.delegate("targets", role, { paths: ["*", "*/*"] });
    this.#repository.addTarget(name, bytes, role);
  }

  dropTarget(name: string): void {
    this.#repository.targets.targets.delete(parseTargetName(name));
  }

  /** New versions of the online roles, written in safe order. */
  async publish(): Promise<void> {
    const { targets, snapshot, timestamp } = this.#repository;
    targets.version += 1;
    snapshot.version += 1;
    timestamp.version += 1;
    timestamp.expires = Date.now() + DAY;
    await this.#repository.publish();
    const files = [...this.#repository.source.files].sort(([a], [b]) => rank(a) - rank(b));
    for (const [path, bytes] of files) this.write(path, bytes);
  }

  /** Puts a file into the repository folder, atomically. */
  write(path: string, bytes: Uint8Array | string): void {
    const file = join(this.data, "repository", path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(`${file}.tmp`, bytes);
    renameSync(`${file}.tmp`, file);
  }

  start(options: Partial<UpdateServerOptions> = {}): Promise<UpdateServer> {
    return startUpdateServer({
      data: this.data,
      listen: { host: "127.0.0.1", port: 0 },
      admin: null,
      names: ["127.0.0.1", "localhost"],
      director: this.director,
      version: "0.0.0",
      log: this.log,
      clock: systemClock,
      disk: systemDisk,
      random: systemRandom,
      tick: 50,
      ...options,
    });
  }

  /** As another process would: a second connection to the same database. */
  async withStore<T>(work: (store: FleetStore) => Promise<T>): Promise<T> {
    const store = await openFleetStore(join(this.data, "server/upkeep.sqlite"));
    try {
      return await work(store);
    } finally {
      await store.close();
    }
  }

  /** The text of a new enrolment token. */
  async token(server: Pick<UpdateServer, "caSpkiSha256">, group = "default", life = DAY): Promise<string> {
    const pins = {
      caSpkiSha256: server.caSpkiSha256,
      rootSha256: sha256Hex(this.#repository.rootBytes(1)),
    };
    const token = newToken(systemRandom, pins);
    await this.withStore((store) =>
      store.transaction((records) => addToken(records, Date.now(), { ...token, group, life })),
    );
    return formatToken(token);
  }

  remove(): void {
    rmSync(this.data, { recursive: true, force: true });
  }
}

/** Timestamp last, snapshot before it, everything else before both. */
function rank(path: string): number {
  if (path.endsWith("timestamp.json")) return 2;
  return path.endsWith("snapshot.json") ? 1 : 0;
}

export type Keys = { readonly tls: Signer; readonly tlsPem: string; readonly report: Signer };

export function newKeys(): Keys {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const tlsPem = String(privateKey.export({ type: "pkcs8", format: "pem" }));
  return { tls: localSigner(createPrivateKey(tlsPem), "ecdsa-sha2-nistp256"), tlsPem, report: signer() };
}

export const csrOf = (tls: Signer): Promise<Uint8Array> =>
  buildCsr({ subject: buildName([["CN", "a wish of the device"]]), signer: tls });

/** An enrolled device with its connection. */
export type Device = {
  readonly id: string;
  readonly keys: Keys;
  readonly identity: ClientIdentity;
  readonly server: ServerIdentity;
  readonly client: ServerClient;
};

export async function serverIdentity(
  server: Pick<UpdateServer, "address">,
  text: string,
): Promise<ServerIdentity> {
  const { caSpkiSha256 } = parseToken(text);
  const place = { host: "127.0.0.1", port: server.address.port };
  return { ...place, authorities: [await findAuthority(place, caSpkiSha256)], pins: [caSpkiSha256] };
}

export async function enroll(
  server: Pick<UpdateServer, "address">,
  text: string,
  keys: Keys = newKeys(),
  who: { readonly arch?: "x64" | "arm64"; readonly name?: string } = {},
): Promise<Device> {
  const identity = await serverIdentity(server, text);
  const stranger = openServerClient(identity);
  const csr = await csrOf(keys.tls);
  const { id, secret } = parseToken(text);
  try {
    const answer = await stranger.call("enroll", {
      token: { id, secret },
      csr: toBase64(csr),
      reportKey: toHex(keys.report.publicKey.spki.subarray(-32)),
      reportKeyProof: toBase64(await keys.report.sign(enrolmentProof(csr))),
      platform: { os: "linux", arch: who.arch ?? "x64", libc: "glibc" },
      name: who.name ?? "test device",
    });
    return deviceWith(identity, answer.device, keys, answer.certificates);
  } finally {
    stranger.close();
  }
}

export function deviceWith(
  server: ServerIdentity,
  id: string,
  keys: Keys,
  certificates: readonly string[],
): Device {
  const pem = certificates.map((der) => toPem("CERTIFICATE", fromBase64(der))).join("");
  const identity = { key: keys.tlsPem, certificates: pem };
  return { id, keys, identity, server, client: openServerClient(server, identity) };
}

export const nonce = (): string => randomBytes(32).toString("base64url");

/** A check-in of a device that says what it likes about itself. */
export function checkIn(device: Device, running: string | null = null) {
  return device.client.call("checkIn", {
    nonce: nonce(),
    platform: { os: "linux", arch: "x64", libc: "glibc" },
    components: running === null ? [] : [{ product: "shop", version: running }],
  });
}

/** What the answer assigns, read without checking: for tests that are about something else. */
export function assigned(answer: { readonly assignment: string }): { components: unknown[]; nonce: string } {
  const { payload } = JSON.parse(fromUtf8(fromBase64(answer.assignment))) as { payload: string };
  return JSON.parse(fromUtf8(fromBase64(payload))) as { components: unknown[]; nonce: string };
}

/** Waits until something holds; fails after two seconds. */
export async function eventually(
  what: string,
  test: () => boolean | Promise<boolean>,
  ms = 2000,
): Promise<void> {
  for (const end = Date.now() + ms; ;) {
    if (await test()) return;
    if (Date.now() > end) throw new Error(`it did not come to this: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
