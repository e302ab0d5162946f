// Authorities change hands: thieves of old keys, servers nobody knows, and lists that are older, cut or signed by the wrong role.

import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer, type Server } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { after, before, describe, it } from "node:test";
import { toBase64 } from "../../src/core/bytes.ts";
import { certificatePem } from "../../src/der/x509.ts";
import { assign } from "../../src/fleet/assign.ts";
import { createAuthority, issueDevice, issueServer, type Authority } from "../../src/identity/authority.ts";
import type { AuthorityMove } from "../../src/identity/authority-states.ts";
import {
  firstBundle,
  moveAuthority,
  parseTrustBundle,
  serialiseTrustBundle,
  withPrepared,
  type AuthorityKind,
  type TrustBundle,
} from "../../src/identity/trust-bundle.ts";
import { systemClock } from "../../src/io/system/clock.ts";
import { systemDisk } from "../../src/io/system/disk.ts";
import type { Log } from "../../src/io/system/log.ts";
import { systemRandom } from "../../src/io/system/random.ts";
import { TRUST_BUNDLE_TARGET } from "../../src/release/target-names.ts";
import { enrol } from "../../src/apps/agent/enroll.ts";
import { checkOnce, installOnce } from "../../src/apps/agent/serve.ts";
import { authorityKeys, spareAuthority } from "../../src/apps/server/authorities.ts";
import type { UpdateServer } from "../../src/apps/server/server.ts";
import { checkIn, csrOf, deviceWith, enroll, newKeys, World, type Device, type LogLine } from "./_server.ts";

const tools = { disk: systemDisk, random: systemRandom, clock: systemClock };
const refused = (code: string) => (error: { code: string; facts: { code?: string } }) =>
  error.code === "server/refused" && error.facts.code === code;
const plain = { os: "linux", arch: "x64", libc: "glibc", osVersion: null, hardware: null } as const;

/** A server whose list of authorities can be changed, and agents of the real program. */
class Fleet {
  readonly world: World;
  server!: UpdateServer;
  bundle!: TrustBundle;
  readonly folders: string[] = [];
  readonly log: LogLine[] = [];
  port = 0;

  private constructor(world: World) {
    this.world = world;
  }

  static async create(): Promise<Fleet> {
    const fleet = new Fleet(await World.create());
    await fleet.start();
    await fleet.world.withStore((store) =>
      store.transaction((r) =>
        assign(r, Date.now(), {
          group: "default",
          product: "shop",
          channel: "stable",
          hold: { reason: "paused" },
        }),
      ),
    );
    await fleet.server.refresh();
    const [server, device] = [await fleet.key("server", 0), await fleet.key("device", 0)];
    fleet.bundle = firstBundle(server.certificate, device.certificate);
    return fleet;
  }

  async start(): Promise<void> {
    this.server = await this.world.start({ listen: { host: "127.0.0.1", port: this.port } });
    this.port = this.server.address.port;
  }

  get tls(): string {
    return join(this.world.data, "server/tls");
  }

  /** The n-th authority of the kind, with its private key: what a thief has. */
  async key(kind: AuthorityKind, n: number): Promise<Authority> {
    const all = (await authorityKeys(this.tls, tools)).filter((one) => one.kind === kind);
    return all.toSorted(
      (a, b) =>
        a.certificate.subject.attributes[0]!.value.length - b.certificate.subject.attributes[0]!.value.length,
    )[n]!;
  }

  async publish(bytes: Uint8Array, role?: string): Promise<void> {
    this.world.addTarget(TRUST_BUNDLE_TARGET, bytes, role);
    await this.world.publish();
    await this.server.refresh();
  }

  async prepare(kind: AuthorityKind): Promise<string> {
    const listed = new Set(this.bundle.authorities.map(({ spkiSha256 }) => spkiSha256));
    const { certificate } = await spareAuthority(this.tls, kind, listed, tools);
    this.bundle = withPrepared(this.bundle, kind, certificate);
    await this.publish(serialiseTrustBundle(this.bundle));
    return this.bundle.authorities.at(-1)!.spkiSha256;
  }

  async move(move: AuthorityMove, spkiSha256: string): Promise<void> {
    this.bundle = moveAuthority(this.bundle, move, spkiSha256);
    await this.publish(serialiseTrustBundle(this.bundle));
  }

  active(kind: AuthorityKind): string {
    return this.bundle.authorities.find((one) => one.kind === kind && one.state === "active")!.spkiSha256;
  }

  /** The whole way from one authority to the next. */
  async replace(kind: AuthorityKind): Promise<void> {
    const old = this.active(kind);
    await this.move("activate", await this.prepare(kind));
    await this.move("taint", old);
    await this.move("revoke", old);
  }

  async enrolAgent(token?: string): Promise<string> {
    const folder = mkdtempSync(join(tmpdir(), "upkeep-device-"));
    this.folders.push(folder);
    await enrol({
      disk: systemDisk,
      folder,
      servers: [{ host: "127.0.0.1", port: this.port }],
      token: token ?? (await this.world.token(this.server)),
      name: "device",
      platform: plain,
      now: () => Date.now(),
      signal: AbortSignal.timeout(20_000),
    });
    return folder;
  }

  check(folder: string) {
    const log: Log = (level, event, facts) => void this.log.push({ level, event, ...facts });
    return checkOnce({ folder, log });
  }

  async remove(): Promise<void> {
    await this.server.stop();
    this.world.remove();
    for (const folder of this.folders) rmSync(folder, { recursive: true, force: true });
  }
}

const seqOf = (folder: string): number =>
  parseTrustBundle(readFileSync(join(folder, "identity/bundle.json"))).seq;
const issuerOf = (folder: string): string => {
  const pem = readFileSync(join(folder, "identity/device.pem"), "utf8");
  return new X509Certificate(pem.slice(pem.indexOf("-----BEGIN CERTIFICATE"))).issuer;
};

/** A web server that answers everything with the repository's files, and notes what it was shown. */
async function impostor(
  authority: Authority,
  port: number,
  serve: (path: string) => Uint8Array | null,
): Promise<{ readonly server: Server; readonly seen: string[] }> {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const spki = new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
  const leaf = await issueServer(authority, {
    names: ["127.0.0.1"],
    spki,
    now: Date.now(),
    random: systemRandom,
  });
  const seen: string[] = [];
  const server = createServer(
    {
      key: privateKey.export({ type: "pkcs8", format: "pem" }),
      cert: certificatePem(leaf) + certificatePem(authority.certificate),
      requestCert: true,
      rejectUnauthorized: false,
    },
    (request, response) => {
      const shown =
        (request.socket as TLSSocket).getPeerX509Certificate() === undefined ? "" : " certificate";
      seen.push(`${request.method!} ${request.url!}${shown}`);
      const file = serve(request.url!);
      response.writeHead(file === null ? 404 : 200).end(file);
    },
  );
  server.on("secureConnection", (socket: TLSSocket) => {
    if (socket.getPeerX509Certificate() !== undefined) seen.push("certificate at the handshake");
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return { server, seen };
}

const closed = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });

describe("after the authorities of devices were replaced", { timeout: 60_000 }, () => {
  let fleet: Fleet;
  before(async () => {
    fleet = await Fleet.create();
  });
  after(() => fleet.remove());

  const stolen = async (by: Authority, device: Device): Promise<Device> => {
    const keys = newKeys();
    const spki = keys.tls.publicKey.spki;
    const forged = await issueDevice(by, { device: device.id, spki, now: Date.now(), random: systemRandom });
    return deviceWith(device.server, device.id, keys, [toBase64(forged.der)]);
  };

  it("a thief with the old authority's key gets nowhere, before its revocation and after", async () => {
    const device = await enroll(fleet.server, await fleet.world.token(fleet.server));
    const old = await fleet.key("device", 0);
    const thief = await stolen(old, device);
    const csr = toBase64(await csrOf(newKeys().tls));
    await assert.rejects(checkIn(thief), refused("http/unknown-device"), "the record names the key");
    await fleet.replace("device");
    await assert.rejects(checkIn(thief), refused("http/authority-revoked"));
    await assert.rejects(thief.client.call("renew", { csr }), refused("http/unknown-device"));
    const again = await stolen(old, device);
    await assert.rejects(checkIn(again), refused("http/authority-revoked"));
    for (const one of [device, thief, again]) one.client.close();
  });

  it("live connections of a revoked authority end, and their device renews by its own key alone", async () => {
    const device = await enroll(fleet.server, await fleet.world.token(fleet.server));
    const wakes = device.client.wakes(null);
    const ended = wakes.next().then(
      ({ done }) => done,
      () => true,
    );
    // The stream stands once its head has been answered.
    await new Promise((resolve) => setTimeout(resolve, 200));
    await fleet.replace("device");
    assert.equal(await ended, true);
    assert.ok(
      fleet.world.lines.some(
        ({ event, closed }) => event === "server/authorities-changed" && Number(closed) > 0,
      ),
    );
    await assert.rejects(checkIn(device), refused("http/authority-revoked"));
    const keys = { ...newKeys(), report: device.keys.report };
    const { certificates } = await device.client.call("renew", { csr: toBase64(await csrOf(keys.tls)) });
    const renewed = deviceWith(device.server, device.id, keys, certificates);
    await checkIn(renewed);
    for (const one of [device, renewed]) one.client.close();
  });

  it("a restarted server remembers what was revoked, even when its repository cannot be read", async () => {
    const device = await enroll(fleet.server, await fleet.world.token(fleet.server));
    await fleet.replace("device");
    await fleet.server.stop();
    const timestamp = readFileSync(join(fleet.world.data, "repository/metadata/timestamp.json"));
    fleet.world.write("metadata/timestamp.json", "{}");
    rmSync(join(fleet.world.data, "server/tuf"), { recursive: true, force: true });
    await fleet.start();
    await assert.rejects(checkIn(device), refused("http/authority-revoked"));
    fleet.world.write("metadata/timestamp.json", timestamp);
    await fleet.server.refresh();
    device.client.close();
  });
});

describe("an agent", { timeout: 120_000 }, () => {
  let fleet: Fleet;
  before(async () => {
    fleet = await Fleet.create();
  });
  after(() => fleet.remove());
  const events = (): readonly string[] => fleet.log.splice(0).map(({ event }) => event);

  it("that slept through a whole rotation of both comes back by itself", async () => {
    const [near, away] = [await fleet.enrolAgent(), await fleet.enrolAgent()];
    assert.equal((await fleet.check(away)).failure, null);
    for (const kind of ["server", "device"] as const) {
      const old = fleet.active(kind);
      const next = await fleet.prepare(kind);
      assert.equal((await fleet.check(near)).failure, null, `${kind} prepared`);
      await fleet.move("activate", next);
      events();
      assert.equal((await fleet.check(near)).failure, null, `${kind} activated`);
      assert.ok(!events().includes("agent/server-unknown"), "it knew the authority before it was used");
      await fleet.move("taint", old);
      assert.equal((await fleet.check(near)).failure, null, `${kind} tainted`);
      assert.equal(events().includes("agent/certificate-renewed"), kind === "device");
      await fleet.move("revoke", old);
      assert.equal((await fleet.check(near)).failure, null, `${kind} revoked`);
    }
    assert.match(issuerOf(near), /authority 2$/);
    assert.match(issuerOf(away), /authority$/);
    assert.throws(() => seqOf(away), { code: "ENOENT" });
    events();

    assert.equal((await fleet.check(away)).failure, null);
    const told = events();
    assert.ok(
      told.includes("agent/server-unknown"),
      "it is said when metadata comes from a server not known",
    );
    assert.ok(told.includes("agent/authorities-changed") && told.includes("agent/certificate-renewed"));
    assert.match(issuerOf(away), /authority 2$/);
    assert.equal(seqOf(away), fleet.bundle.seq);
    assert.equal(statSync(join(away, "identity/bundle.json")).mode & 0o777, 0o600);
    assert.equal((await fleet.check(away)).failure, null);
    assert.ok(!events().includes("agent/server-unknown"));
  });

  it("refuses a list that is older, cut, or of another role, and believes whom it believed (bundle rollback)", async () => {
    const folder = await fleet.enrolAgent();
    assert.equal((await fleet.check(folder)).failure, null);
    const { seq } = fleet.bundle;
    assert.equal(seqOf(folder), seq);
    const good = serialiseTrustBundle(fleet.bundle);
    const older = serialiseTrustBundle({ ...fleet.bundle, seq: seq - 1 });
    for (const bytes of [older, good.subarray(0, 300)]) {
      await fleet.publish(bytes);
      assert.equal((await fleet.check(folder)).failure, null);
      assert.ok(events().includes("agent/notice"));
      assert.equal(seqOf(folder), seq);
    }
    fleet.world.dropTarget(TRUST_BUNDLE_TARGET);
    const { certificate } = await createAuthority({
      name: "of the attacker",
      signer: newKeys().tls,
      now: Date.now(),
      random: systemRandom,
    });
    await fleet.publish(
      serialiseTrustBundle(withPrepared(fleet.bundle, "server", certificate)),
      "product.evil",
    );
    assert.equal((await fleet.check(folder)).failure, null);
    assert.ok(
      fleet.log.some(({ event, code }) => event === "agent/notice" && code === "identity/bad-bundle"),
    );
    assert.equal(seqOf(folder), seq);
    assert.ok(
      fleet.world.lines.filter(({ event }) => event === "server/authorities-refused").length >= 3,
      "the server refused them as well",
    );
    await fleet.publish(good);
  });

  it("shows a server of an unknown or revoked authority neither report nor certificate (hostile server)", async () => {
    const folder = await fleet.enrolAgent();
    assert.equal((await fleet.check(folder)).failure, null);
    await fleet.server.stop();
    const stranger = await createAuthority({
      name: "Upkeep server authority 2",
      signer: newKeys().tls,
      now: Date.now(),
      random: systemRandom,
    });
    const thief = await fleet.key("server", 0);
    const files = (path: string): Uint8Array | null => {
      try {
        return readFileSync(join(fleet.world.data, path));
      } catch {
        return null;
      }
    };
    for (const authority of [stranger, thief]) {
      const { server, seen } = await impostor(authority, fleet.port, files);
      try {
        const result = await fleet.check(folder);
        assert.equal(result.failure?.code, "mirror/untrusted");
        assert.ok(seen.length > 0);
        for (const line of seen) assert.match(line, /^GET \/repository\/metadata\/[A-Za-z0-9.-]+\.json$/);
      } finally {
        await closed(server);
      }
    }
    await fleet.start();
    assert.equal((await fleet.check(folder)).failure, null);
  });

  it("is brought back from a damaged list by the repository, and believes nobody until then", async () => {
    const folder = await fleet.enrolAgent();
    assert.equal((await fleet.check(folder)).failure, null);
    const path = join(folder, "identity/bundle.json");
    const whole = readFileSync(path);
    await systemDisk.open(path, "write").then(async (file) => {
      await file.truncate(100);
      await file.close();
    });
    events();
    assert.equal((await fleet.check(folder)).failure, null);
    assert.ok(events().includes("agent/server-unknown"));
    assert.deepEqual(readFileSync(path), whole);
  });

  it("takes the list from a copy that somebody brought while the server is away", async () => {
    const folder = await fleet.enrolAgent();
    assert.equal((await fleet.check(folder)).failure, null);
    const before = seqOf(folder);
    await fleet.prepare("device");
    await fleet.server.stop();
    const log: Log = (level, event, facts) => void fleet.log.push({ level, event, ...facts });
    await installOnce({ folder, log }, join(fleet.world.data, "repository"), {
      products: null,
      channel: "stable",
    });
    assert.equal(seqOf(folder), before + 1);
    await fleet.start();
  });

  it("enrols by the authority of now, and not with a token that pins one of before", async () => {
    const before = await fleet.world.token(fleet.server);
    await fleet.replace("server");
    const late = fleet.enrolAgent(before);
    await assert.rejects(late, { code: "identity/wrong-server" });
    assert.equal((await fleet.check(await fleet.enrolAgent())).failure, null);
  });
});
