// The list of locations on a device: what is followed, what is not, the way back, and what somebody changed on the disk.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { signEnvelope, type DocumentKind } from "../core/dsse.ts";
import { writeAtomic } from "../core/disk.ts";
import { DAY, formatInstant, SECOND } from "../core/instant.ts";
import { writeLocations, type Locations } from "../identity/locations.ts";
import { LocationError } from "../identity/location-errors.ts";
import { localSigner, type Signer } from "../keys/signer.ts";
import { EagerClock } from "../testing/agent-world.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import type { TrustedKeys } from "../release/trusted-keys.ts";
import { isPrivate } from "../io/device/location-probe.ts";
import { followLocations, type LocationsPort } from "./follow-locations.ts";
import { openDeviceLocations, type DeviceLocations } from "./locations.ts";

const ed25519 = (): Signer => localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
const FLEET = "a".repeat(64);
const [old, one, two] = ["old.example.org", "one.example.org", "two.example.org"].map((host) => ({
  host,
  port: 8443,
})) as [{ host: string; port: number }, { host: string; port: number }, { host: string; port: number }];

class Rig {
  disk = new MemoryDisk();
  readonly clock = new EagerClock();
  readonly people = [ed25519(), ed25519(), ed25519()];
  readonly key = ed25519();
  readonly published = new Map<string, Uint8Array>();
  readonly probed: string[] = [];
  /** What is wrong with a host. */
  readonly trouble = new Map<string, Error>();
  changes = 0;
  held!: DeviceLocations;
  #last: string | null = null;
  #version = 0;

  static async create(): Promise<Rig> {
    const rig = new Rig();
    await rig.disk.makeDirectory("/agent", 0o700);
    await rig.load();
    return rig;
  }

  async load(): Promise<void> {
    const world = { disk: this.disk, clock: this.clock, log: () => {} };
    this.held = await openDeviceLocations({ world, folder: "/agent", key: this.key, bootstrap: [old] });
  }

  get trusted(): TrustedKeys {
    const keyids = this.people.map(({ publicKey }) => publicKey.keyid);
    return {
      keys: new Map(this.people.map(({ publicKey }) => [publicKey.keyid, publicKey])),
      grants: [{ kind: "location", products: "*", keyids, threshold: 2 }],
    };
  }

  document(change: Partial<Locations> = {}): Locations {
    const now = this.clock.now();
    return {
      fleet: FLEET,
      version: this.#version + 1,
      previous: this.#last,
      issued: formatInstant(now),
      expires: formatInstant(now + 30 * DAY),
      servers: [one],
      mirrors: [],
      trial: { seconds: 600, successes: 2 },
      ...change,
    };
  }

  /** Signed by two of the three unless others are given. */
  async publish(
    change: Partial<Locations> = {},
    by: readonly Signer[] = this.people.slice(0, 2),
    kind: DocumentKind = "location",
  ): Promise<void> {
    const document = this.document(change);
    const bytes = await signEnvelope(kind, writeLocations(document), by);
    this.published.set(`trust/locations/${document.version}.json`, bytes);
    this.#version = document.version;
    this.#last = sha256Hex(bytes);
  }

  /** One check; the codes of what it noticed. */
  async check(): Promise<readonly string[]> {
    const port: LocationsPort = {
      held: this.held,
      fleet: FLEET,
      probe: async ({ host }) => {
        this.probed.push(host);
        const trouble = this.trouble.get(host);
        if (trouble !== undefined) throw trouble;
      },
      changed: () => void this.changes++,
    };
    const find = async (name: string) => this.published.get(name) ?? null;
    const signal = new AbortController().signal;
    const notices = await followLocations(port, find, this.trusted, this.clock.now(), signal);
    return notices.map(({ code }) => code);
  }

  get servers(): readonly string[] {
    return this.held.hosts.servers.map(({ host }) => host);
  }
}

const unreachable = (): Error => new LocationError("location/unreachable", "no answer");

describe("the location of updates", () => {
  it("moves to the next version after its hosts were probed, with the old ones at hand (U01)", async () => {
    const rig = await Rig.create();
    await rig.publish();
    assert.deepEqual(await rig.check(), []);
    assert.deepEqual([rig.probed, rig.servers, rig.changes], [[one.host], [one.host, old.host], 1]);
    assert.equal(await rig.held.answered(old), false, "an answer of the old host settles nothing");
    assert.equal(await rig.held.answered(one), false);
    assert.equal(await rig.held.answered(one), true);
    assert.equal(rig.held.onTrial, false);
  });

  it("waits for the version in between (U02), and follows a whole chain when it is there", async () => {
    const rig = await Rig.create();
    await rig.publish();
    await rig.publish({ servers: [two] });
    const first = rig.published.get("trust/locations/1.json")!;
    rig.published.delete("trust/locations/1.json");
    await rig.check();
    assert.deepEqual(rig.servers, [old.host]);
    rig.published.set("trust/locations/1.json", first);
    await rig.check();
    assert.deepEqual([rig.servers, rig.probed], [[two.host, old.host], [two.host]]);
  });

  it("is not moved by one of three signatures, by strangers, or by another kind of document (U03)", async () => {
    for (const [by, kind, code] of [
      [[0], "location", "dsse/no-valid-signature"],
      [[], "location", "dsse/no-valid-signature"],
      [[0, 1], "message", "dsse/wrong-type"],
    ] as const) {
      const rig = await Rig.create();
      const signers = by.length === 0 ? [ed25519(), ed25519()] : by.map((at) => rig.people[at]!);
      await rig.publish({}, signers, kind);
      assert.deepEqual(await rig.check(), [code]);
      assert.deepEqual(rig.servers, [old.host]);
    }
  });

  it("never goes back to an older version, after a restart either (U04)", async () => {
    const rig = await Rig.create();
    await rig.publish();
    const first = rig.published.get("trust/locations/1.json")!;
    await rig.check();
    await rig.load();
    rig.published.set("trust/locations/2.json", first);
    assert.deepEqual(await rig.check(), ["location/not-next"]);
    await rig.load();
    assert.deepEqual(await rig.check(), ["location/not-next"]);
    assert.equal(rig.held.version, 1);
  });

  it("is not that of another fleet, over, from far ahead, or one that follows something else", async () => {
    for (const [change, code] of [
      [{ fleet: "b".repeat(64) }, "location/other-fleet"],
      [{ expires: "2020-01-01T00:00:00Z" }, "location/expired"],
      [{ issued: "2099-01-01T00:00:00Z", expires: "2099-02-01T00:00:00Z" }, "location/expired"],
      [{ previous: "c".repeat(64) }, "location/not-next"],
    ] as const) {
      const rig = await Rig.create();
      await rig.publish(change);
      assert.deepEqual(await rig.check(), [code]);
      assert.deepEqual(rig.servers, [old.host]);
    }
  });

  it("stays when a new host has older metadata, and says so (U05)", async () => {
    const rig = await Rig.create();
    rig.trouble.set(two.host, new LocationError("location/behind", "older"));
    await rig.publish({ servers: [one, two] });
    assert.deepEqual(await rig.check(), ["location/behind"]);
    assert.deepEqual(rig.servers, [old.host]);
  });

  it("stays while none of the new hosts can be reached, and moves when one can", async () => {
    const rig = await Rig.create();
    for (const { host } of [one, two]) rig.trouble.set(host, unreachable());
    await rig.publish({ servers: [one, two] });
    assert.deepEqual(await rig.check(), ["location/unreachable"]);
    assert.deepEqual(rig.servers, [old.host]);
    rig.trouble.delete(two.host);
    assert.deepEqual(await rig.check(), []);
    assert.deepEqual(rig.servers, [one.host, two.host, old.host]);
  });

  it("goes back by itself when the new host does not answer often enough in its trial (U06)", async () => {
    const rig = await Rig.create();
    await rig.publish();
    await rig.check();
    await rig.held.answered(one);
    assert.ok(rig.servers.includes(old.host), "updates go on over the old host meanwhile");
    await rig.clock.sleep(599 * SECOND);
    assert.deepEqual(await rig.check(), []);
    await rig.clock.sleep(SECOND);
    assert.deepEqual(await rig.check(), ["location/rolled-back"]);
    assert.deepEqual(rig.servers, [old.host]);
    await rig.load();
    assert.deepEqual(await rig.check(), [], "what failed here is not tried again");
    await rig.publish({ servers: [two] });
    await rig.check();
    assert.deepEqual(rig.servers[0], two.host, "the next version follows it");
  });

  it("is valid at whatever write a power cut comes (U07)", async () => {
    for (let allowed = 0; ; allowed++) {
      const rig = await Rig.create();
      await rig.publish();
      let left = allowed;
      const { disk } = rig;
      for (const name of ["open", "rename", "syncDirectory"] as const) {
        const act = disk[name].bind(disk) as (...given: never[]) => Promise<never>;
        (disk as unknown as Record<string, unknown>)[name] = async (...given: never[]) => {
          if (left-- <= 0) throw new Error("the power is gone");
          return act(...given);
        };
      }
      const whole = await rig.check().then(
        () => true,
        () => false,
      );
      for (const name of ["open", "rename", "syncDirectory"] as const) Reflect.deleteProperty(disk, name);
      await rig.load();
      assert.equal(rig.held.tampered, null);
      assert.ok(["old.example.org", "one.example.org,old.example.org"].includes(rig.servers.join(",")));
      if (whole) return assert.ok(allowed > 3);
    }
  });

  it("cannot be an address that is not https, names a user, or is no name of a host (U09)", async () => {
    const rig = await Rig.create();
    for (const mirror of [
      "http://m.example.org/",
      "https://user@m.example.org/",
      "https://m.example.org/#x",
      "https://m.example.org/?x",
      "https://m.example.org",
      "HTTPS://m.example.org/",
      "file:///etc/",
      "x",
    ])
      assert.throws(
        () => writeLocations(rig.document({ mirrors: [mirror] })),
        { code: "location/bad-place" },
        mirror,
      );
    for (const host of ["user@one.example.org", "One.example.org", "one..org", "one/x", "-one.org"])
      assert.throws(
        () => writeLocations(rig.document({ servers: [{ host, port: 1 }] })),
        { code: "location/bad-place" },
        host,
      );
    assert.throws(() => writeLocations(rig.document({ servers: [] })), { code: "schema/invalid" });
    assert.throws(() => writeLocations(rig.document({ servers: [one, one] })), {
      code: "location/bad-place",
    });
  });

  it("is not inside a machine or a private network, however that is spelled", () => {
    for (const address of [
      "127.0.0.1",
      "10.1.2.3",
      "192.168.0.9",
      "169.254.169.254",
      "100.64.0.1",
      "0.0.0.0",
      "::1",
      "fd00::1",
      "fe80::1",
      "::ffff:127.0.0.1",
    ])
      assert.equal(isPrivate(address), true, address);
    for (const address of ["192.0.2.1", "8.8.8.8", "2001:db8::1"])
      assert.equal(isPrivate(address), false, address);
  });

  it("with any byte of its file changed falls back to the copy, and with both to the enrollment, and says so (U10)", async () => {
    const rig = await Rig.create();
    await rig.publish();
    await rig.check();
    const path = "/agent/locations.json";
    const good = await rig.disk.read(path, 1 << 20);
    for (let at = 0; at < good.length; at += 7) {
      const bytes = new Uint8Array(good);
      bytes[at]! ^= 1;
      await writeAtomic(rig.disk, path, bytes, 0o600);
      await rig.load();
      assert.equal(rig.held.tampered?.code, "location/tampered", `byte ${at}`);
      assert.deepEqual(rig.servers, [one.host, old.host], `byte ${at}`);
    }
    assert.deepEqual(await rig.check(), ["location/tampered"]);
    await writeAtomic(rig.disk, "/agent/locations.copy.json", toUtf8("{}"), 0o600);
    await rig.load();
    assert.deepEqual(rig.servers, [old.host]);
  });

  it("keeps the hosts of the enrollment as the last resort until a settled version retires them (U11)", async () => {
    const rig = await Rig.create();
    await rig.publish({ retire: [old] });
    await rig.check();
    assert.deepEqual(rig.servers, [one.host, old.host], "not while it is on trial");
    await rig.held.answered(one);
    await rig.held.answered(one);
    assert.deepEqual(rig.servers, [one.host]);
  });

  it("retires nothing when nothing would be left", async () => {
    const rig = await Rig.create();
    await rig.publish({ retire: [one, old] });
    await rig.check();
    await rig.held.answered(one);
    await rig.held.answered(one);
    assert.deepEqual(rig.servers, [old.host]);
  });
});
