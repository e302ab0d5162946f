// Licenses from the vendor's desk to a device's answer: real documents and records, with a clock and a network that are moved by hand.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { toBase64Url, toHex, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { DAY, formatInstant, HOUR, MINUTE, SECOND } from "../core/instant.ts";
import { activate } from "../fleet/licenses/activate.ts";
import { revokeLicense, switchOptions, transferSeat } from "../fleet/licenses/books.ts";
import { renewLease } from "../fleet/licenses/renew.ts";
import { takeReceipt } from "../fleet/licenses/usage.ts";
import {
  openActivation,
  openReceipt,
  signActivation,
  type ActivationRequest,
} from "../license/device-documents.ts";
import { evaluate } from "../license/evaluate.ts";
import { openGrant } from "../license/lease.ts";
import { openLicense, signLicense } from "../license/license.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import { LicenseWorld, type LicenseDevice, type Sale } from "../testing/license-world.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-licenses-"));
after(() => rmSync(folder, { recursive: true }));
let world: LicenseWorld;
let count = 0;
before(async () => void (world = await LicenseWorld.open(join(folder, `${++count}.sqlite`))));
after(() => world.store.close());

/** A device with a license of its own. */
async function activated(sale: Sale = {}) {
  const sold = await world.sell(sale);
  const device = await world.device();
  await device.activate(sold.claim);
  return { device, ...sold };
}

const fallback = { nodes: 3 };
const full = { sso: true, nodes: 50 };
const keysOf = () => {
  const { keys } = world.trusted;
  return {
    issuers: { keys: world.issuers.map(({ publicKey }) => keys.get(publicKey.keyid)!), threshold: 2 },
    leases: { keys: world.leaseKeys.map(({ publicKey }) => publicKey), threshold: 1 },
  };
};
const challengeOf = (device: LicenseDevice) => device.server().challenge(AbortSignal.timeout(1000));

async function requestOf(device: LicenseDevice, claim: string, change: Partial<ActivationRequest> = {}) {
  const request: ActivationRequest = {
    requestId: toHex(world.random.bytes(16)),
    device: device.id,
    cnf: { spkiSha256: sha256Hex(device.key.publicKey.spki) },
    product: "shop",
    claim,
    challenge: await challengeOf(device),
    clientNonce: toHex(world.random.bytes(16)),
    storage: "software",
    hints: [],
    ...change,
  };
  return request;
}
const post = async (device: LicenseDevice, request: ActivationRequest, by = device) =>
  device.server().activate(await signActivation(request, by.key), AbortSignal.timeout(1000));

describe("an activation", () => {
  it("with a fresh challenge gives a lease that is bound to the device's key, and the features", async () => {
    const { device } = await activated();
    const { standing, seat } = await device.status();
    assert.deepEqual([standing.reason, standing.features, seat], ["LEASE", full, { slot: 1, of: 1 }]);
    assert.equal(evaluate(standing, "sso").value, true);
  });

  it("that was signed by another device's key is refused, and takes no seat", async () => {
    const { license, claim } = await world.sell();
    const [a, b] = [await world.device(), await world.device()];
    await assert.rejects(post(a, await requestOf(a, claim), b), { code: "license/key-mismatch" });
    const other = { cnf: { spkiSha256: sha256Hex(b.key.publicKey.spki) } };
    await assert.rejects(post(a, await requestOf(a, claim, other)), { code: "license/key-mismatch" });
    assert.equal(await world.store.read((r) => r.seatsTaken(license.id)), 0);
  });

  it("with a challenge that was used, has expired, is another's or was never given is refused, and takes no seat (replay attack)", async () => {
    const { license, claim } = await world.sell({ seats: { max: 5 } });
    const [a, b] = [await world.device(), await world.device()];
    const used = await requestOf(a, claim);
    await post(a, used);
    const again = { ...used, requestId: toHex(world.random.bytes(16)) };
    const refused = { code: "license/bad-challenge" };
    await assert.rejects(post(a, again), refused);
    await assert.rejects(post(b, await requestOf(b, claim, { challenge: await challengeOf(a) })), refused);
    const old = await requestOf(b, claim);
    world.pass(5 * MINUTE);
    await assert.rejects(post(b, old), refused);
    const made = { challenge: toBase64Url(new Uint8Array(32)) };
    await assert.rejects(post(b, await requestOf(b, claim, made)), refused);
    await assert.rejects(post(b, await requestOf(b, claim, { challenge: null })), refused);
    assert.equal(await world.store.read((r) => r.seatsTaken(license.id)), 1);
  });

  it("that is sent ten times at once with one id takes one seat, and every answer is the same", async () => {
    const { license, claim } = await world.sell({ seats: { max: 5 } });
    const device = await world.device();
    const request = await requestOf(device, claim);
    const answers = await Promise.all(Array.from({ length: 10 }, () => post(device, request)));
    assert.equal(new Set(answers.map(({ lease }) => sha256Hex(lease))).size, 1);
    assert.equal(await world.store.read((r) => r.seatsTaken(license.id)), 1);
  });

  it("of a device that lost all it kept goes on with the device's seat", async () => {
    const { device, license, claim } = await activated();
    device.disk = new MemoryDisk();
    await device.start();
    await device.activate(claim);
    assert.equal(await device.reason(), "LEASE");
    assert.equal(await world.store.read((r) => r.seatsTaken(license.id)), 1);
  });

  it("by the id of another customer's license finds nothing", async () => {
    const { license } = await activated();
    const stranger = await world.device();
    const { claim: _claim, ...request } = await requestOf(stranger, "22222-22222-22222-22222-22222");
    await assert.rejects(post(stranger, { ...request, license: license.id }), { code: "license/unknown" });
  });

  it("asks for no seat where the license wants a key in a TPM, has ended, or was taken back", async () => {
    const device = await world.device();
    const tpm = await world.sell({ policy: { storage: "tpm" } });
    await assert.rejects(device.activate(tpm.claim), { code: "license/storage" });
    const ended = await world.sell({ expires: formatInstant(world.now + HOUR) });
    const revoked = await world.sell();
    world.pass(2 * HOUR);
    await assert.rejects(device.activate(ended.claim), { code: "license/expired" });
    const by = { actor: "operator:test", now: world.now };
    await world.write((r) => revokeLicense(r, by, revoked.license.id, { at: world.now, reason: "test" }));
    await assert.rejects(device.activate(revoked.claim), { code: "license/revoked" });
    assert.deepEqual(await device.features(), {});
  });
});

describe("seats", () => {
  it("of an overage are given with a notice, the one after the last is refused, and the notice escalates when the days are over", async () => {
    const { license, claim } = await world.sell({ seats: { max: 10, overagePercent: 20, overageDays: 14 } });
    const devices: LicenseDevice[] = [];
    for (let at = 0; at < 12; at++) {
      devices.push(await world.device());
      await devices[at]!.activate(claim);
    }
    const notices = async (device: LicenseDevice) =>
      (await device.status()).standing.notices.map(({ code }) => code);
    assert.deepEqual(await notices(devices[9]!), []);
    assert.deepEqual(await notices(devices[10]!), ["overage"]);
    assert.deepEqual(await notices(devices[11]!), ["overage"]);
    await assert.rejects((await world.device()).activate(claim), { code: "license/no-seat" });
    assert.equal(await world.store.read((r) => r.seatsTaken(license.id)), 12);
    const about = async () =>
      (await world.store.read((r) => r.alarm(devices[11]!.id, "license/over-seat", "shop")))!.count;
    const told = await about();
    world.pass(15 * DAY);
    await devices[11]!.checkIn();
    assert.equal(await about(), told + 1);
    assert.deepEqual(await devices[11]!.features(), full);
  });

  it("that floats come back when their lease has ended; those of a device that stays do not", async () => {
    const { claim } = await world.sell({
      seats: { model: "floating", max: 1 },
      lease: { ttlSeconds: 3600, renewSeconds: 600 },
    });
    const [a, b] = [await world.device(), await world.device()];
    await a.activate(claim);
    await assert.rejects(b.activate(claim), { code: "license/no-seat" });
    world.pass(HOUR);
    await b.activate(claim);
    assert.equal(await b.reason(), "LEASE");
    await assert.rejects(a.activate(claim), { code: "license/no-seat" });
  });

  it("of a site are as many as devices come", async () => {
    const { claim } = await world.sell({ seats: { model: "site", max: 2 } });
    for (let at = 0; at < 4; at++) {
      const device = await world.device();
      await device.activate(claim);
      assert.equal(await device.reason(), "LEASE");
    }
  });

  it("with a lease by file stay taken until the file ends, or its receipt comes", async () => {
    const { claim } = await world.sell();
    const [island, other] = [await world.device(), await world.device()];
    await island.keeper.follow(island.releases());
    const bytes = await island.keeper.request({ product: "shop", claim });
    const request = openActivation(bytes, { key: island.key.publicKey, device: island.id });
    const file = await world.write((r) =>
      activate(r, world.now, world.mint, { request, days: 60, actor: "operator:test", address: "file" }),
    );
    const brought = { format: "upkeep lease file 1", license: file.license, lease: file.lease };
    await island.keeper.bring(toUtf8(JSON.stringify(brought)));
    assert.equal(await island.reason(), "LEASE");
    const held = { code: "license/seat-held" };
    await assert.rejects(other.activate(claim), held);
    const by = { actor: "operator:test", now: world.now };
    await assert.rejects(
      world.write((r) =>
        transferSeat(
          r,
          by,
          request.license ??
            (
              JSON.parse(
                Buffer.from((JSON.parse(file.license) as { payload: string }).payload, "base64").toString(),
              ) as { id: string }
            ).id,
          island.id,
          null,
        ),
      ),
      held,
    );
    world.pass(59 * DAY);
    await assert.rejects(other.activate(claim), held);
    const receipt = await island.keeper.release("shop", undefined, AbortSignal.timeout(1000));
    assert.deepEqual(await island.features(), {});
    const opened = openReceipt(receipt, { key: island.key.publicKey, device: island.id });
    assert.equal(
      await world.write((r) => takeReceipt(r, world.now, opened, { actor: "operator:test" })),
      true,
    );
    assert.equal(
      await world.write((r) => takeReceipt(r, world.now, opened, { actor: "operator:test" })),
      false,
    );
    await other.activate(claim);
  });

  it("move as often as the license says; then the date of the next is named, and an override is in the audit log", async () => {
    const { license, claim } = await world.sell({ policy: { transfersPer30Days: 2 } });
    const devices = [await world.device(), await world.device(), await world.device()];
    for (const device of devices.slice(0, 2)) {
      await device.activate(claim);
      await device.keeper.release("shop", device.server(), AbortSignal.timeout(1000));
      world.pass(DAY);
    }
    const third = devices[2]!;
    await third.activate(claim);
    const by = () => ({ actor: "operator:test", now: world.now });
    await assert.rejects(
      world.write((r) => transferSeat(r, by(), license.id, third.id, null)),
      (error: Error & { code?: string }) =>
        error.code === "license/transfer-limit" &&
        error.message.includes(formatInstant(world.now + 28 * DAY)),
    );
    await assert.rejects(third.keeper.release("shop", third.server(), AbortSignal.timeout(1000)), {
      code: "license/transfer-limit",
    });
    assert.deepEqual(await third.features(), full);
    await world.write((r) => transferSeat(r, by(), license.id, third.id, "the machine burned"));
    const rows = await world.store.read((r) => r.audit(0, 10_000));
    assert.match(JSON.stringify(rows.at(-1)), /the machine burned/);
  });
});

describe("what a device refuses", () => {
  it("a lease of another device (copied license)", async () => {
    const { device } = await activated();
    const held = JSON.parse(
      new TextDecoder().decode(await device.disk.read("/agent/licenses/shop.license.json", 1 << 20)),
    ) as { license: string; lease: string };
    const documents = {
      license: Buffer.from(held.license, "base64"),
      lease: Buffer.from(held.lease, "base64"),
    };
    const stranger = await world.device();
    const expected = { product: "shop", key: stranger.key.publicKey, clientNonce: null, before: null };
    assert.throws(() => openGrant(documents, keysOf(), expected), { code: "license/not-for-this-device" });
  });

  it("a license with one signature where two issuers have to sign, of a lease key, and of a stranger", async () => {
    const license = world.make();
    const { issuers } = keysOf();
    for (const signers of [
      [world.issuers[0]!],
      [world.leaseKeys[0]!, world.leaseKeys[0]!],
      [(await world.device()).key],
    ])
      await assert.rejects(
        async () => openLicense(await signLicense(license, signers), issuers, { product: "shop" }),
        { code: "dsse/no-valid-signature" },
      );
  });

  it("a key that its user puts beside the program: nothing but the repository says who issues", async () => {
    const { device } = await activated();
    const forged = await world.device();
    const rogue = await LicenseWorld.open(join(folder, `${++count}.sqlite`));
    const handed = {
      format: 1,
      roots: [],
      targets: Buffer.from(rogue.targets()).toString("base64"),
      files: { "trust/keys.json": Buffer.from(rogue.files.get("trust/keys.json")!).toString("base64") },
    };
    device.disk.tamper("/agent/licenses/trust.json", () => toUtf8(JSON.stringify(handed)));
    await device.start();
    assert.equal(device.keeper.ready, false);
    assert.ok(device.lines.some(({ event }) => event === "license-trouble"));
    await rogue.store.close();
    assert.deepEqual(await forged.features(), {});
  });

  it("an older revision and an older lease, after a newer one was in force (rollback attack)", async () => {
    const { device, license, envelope } = await activated();
    const old = JSON.parse(
      new TextDecoder().decode(await device.disk.read("/agent/licenses/shop.license.json", 1 << 20)),
    ) as { lease: string };
    await world.take({ ...license, rev: 2, features: { nodes: 50 } });
    world.pass(7 * HOUR);
    await device.checkIn();
    assert.deepEqual(await device.features(), { nodes: 50 });
    const file = {
      format: "upkeep lease file 1",
      license: new TextDecoder().decode(envelope),
      lease: Buffer.from(old.lease, "base64").toString(),
    };
    await assert.rejects(device.keeper.bring(toUtf8(JSON.stringify(file))), { code: "license/older" });
    assert.deepEqual(await device.features(), { nodes: 50 });
  });

  it("an answer to another question (recorded lease)", async () => {
    const { device } = await activated();
    world.pass(7 * HOUR);
    const asked = (await device.keeper.ask()) as { activation: string; clientNonce: string }[];
    const other = { ...asked[0]!, clientNonce: "0".repeat(32) } as never;
    const answer = await world.write((r) => renewLease(r, world.now, world.mint, device, other, "192.0.2.1"));
    const before = (await device.status()).lease;
    await device.keeper.take([
      { activation: asked[0]!.activation, lease: Buffer.from(answer.lease).toString("base64") },
    ]);
    assert.equal((await device.status()).lease, before);
    assert.ok(device.lines.some(({ code }) => code === "license/wrong-nonce"));
  });

  it("a feature that the license does not name, whatever asks for it", async () => {
    const { device } = await activated();
    const { standing } = await device.status();
    for (const name of ["audit", "constructor", "__proto__", "toString"])
      assert.deepEqual(
        [name, evaluate(standing, name).value, evaluate(standing, name).reason],
        [name, false, "NOT_GRANTED"],
      );
  });
});

describe("without the vendor's server", () => {
  it("nothing changes whatever answers instead of it, and no state becomes certain by it", async () => {
    const { device } = await activated();
    world.pass(8 * DAY);
    for (const network of ["down", "garbage"] as const) {
      device.network = network;
      await device.checkIn();
      const { standing } = await device.status();
      assert.deepEqual([standing.features, standing.reason, standing.conclusive], [full, "GRACE", false]);
    }
    await device.keeper.take([
      { activation: "act-0000000000000000", code: "license/revoked", message: "no" },
    ]);
    assert.deepEqual(await device.features(), full);
  });

  it("features stay through the grace with a countdown, fall back at its end, and return at the next contact without a restart", async () => {
    const { device } = await activated();
    device.network = "down";
    world.pass(36 * DAY);
    await device.checkIn();
    const late = await device.status();
    assert.deepEqual(
      [late.standing.features, late.standing.notices.map(({ code }) => code)],
      [full, ["renewal-overdue"]],
    );
    world.pass(DAY + SECOND);
    const over = await device.status();
    assert.deepEqual(
      [over.standing.features, over.standing.reason, over.standing.conclusive],
      [fallback, "OFFLINE", false],
    );
    device.network = "up";
    await device.checkIn();
    assert.deepEqual([await device.features(), await device.reason()], [full, "LEASE"]);
  });

  it("a revocation in the repository alone reaches a device that brings a copy of it", async () => {
    const { device, license } = await activated();
    device.network = "down";
    await world.publishRevocation(license.id, world.now);
    await device.keeper.follow(device.releases());
    assert.deepEqual([await device.features(), await device.reason()], [fallback, "REVOKED"]);
    await device.reboot();
    assert.equal(await device.reason(), "REVOKED");
  });
});

describe("a license that changes", () => {
  it("and is revoked falls back at the next check-in", async () => {
    const { device, license } = await activated();
    const by = { actor: "operator:test", now: world.now };
    await world.write((r) => revokeLicense(r, by, license.id, { at: world.now, reason: "not paid" }));
    device.keeper.eager = true;
    await device.checkIn();
    const { standing } = await device.status();
    assert.deepEqual([standing.features, standing.reason, standing.conclusive], [fallback, "REVOKED", true]);
  });

  it("switches on what was paid for, and nothing that the issuer did not sign", async () => {
    const { device, license } = await activated({ options: { pro: { features: { audit: true } } } });
    const by = () => ({ actor: "webhook:1", now: world.now });
    await world.write((r) => switchOptions(r, by(), license.id, { enable: ["pro"], disable: [] }));
    device.keeper.eager = true;
    await device.checkIn();
    assert.deepEqual(await device.features(), { ...full, audit: true });
    await world.write((r) => switchOptions(r, by(), license.id, { enable: [], disable: ["pro"] }));
    await device.checkIn();
    assert.deepEqual(await device.features(), full);
    await assert.rejects(
      world.write((r) => switchOptions(r, by(), license.id, { enable: ["enterprise"], disable: [] })),
      { code: "license/bad-input" },
    );
  });

  it("and ends keeps its features through the grace, then falls back, and comes back with its renewal", async () => {
    const { device, license } = await activated({
      expires: formatInstant(world.now + 2 * DAY),
      lease: { graceSeconds: 5 * 86_400 },
    });
    const at = async (days: number) => {
      world.pass(days * DAY);
      await device.checkIn();
      const { standing } = await device.status();
      return [standing.state, standing.features];
    };
    assert.deepEqual(await at(3), ["expiring", full]);
    assert.deepEqual(await at(5), ["expired", fallback]);
    await world.take({ ...license, rev: 2, expires: formatInstant(world.now + 365 * DAY) });
    assert.deepEqual(await at(1), ["valid", full]);
  });

  it("loses nobody a feature when the lease key is rotated through the repository", async () => {
    const { device } = await activated();
    const { key } = await world.device();
    world.leaseKeys = [...world.leaseKeys, key];
    await world.publishKeys();
    await device.keeper.follow(device.releases());
    assert.deepEqual(await device.features(), full);
    world.pass(7 * HOUR);
    await device.checkIn();
    world.leaseKeys = [key];
    await world.publishKeys();
    await device.checkIn();
    assert.deepEqual([await device.features(), await device.reason()], [full, "LEASE"]);
  });

  it("under a lease key that was revoked grants nothing, and asks for another lease", async () => {
    const { device } = await activated();
    const { key } = await world.device();
    world.leaseKeys = [key];
    await world.publishKeys();
    await device.keeper.follow(device.releases());
    assert.deepEqual(await device.features(), {});
    device.keeper.eager = true;
    await device.checkIn();
    assert.deepEqual(await device.features(), full);
  });
});

describe("a trial", () => {
  const trial: Sale = { kind: "trial", trialDays: 14, seats: { model: "site", max: 1000 } };

  it("begins with the first lease, not with an attempt that failed, and is had once", async () => {
    const { claim } = await world.sell(trial);
    const device = await world.device();
    device.network = "down";
    await assert.rejects(device.activate(claim));
    world.pass(20 * DAY);
    device.network = "up";
    await device.activate(claim);
    assert.equal((await device.status()).standing.notices.at(-1)?.until, formatInstant(world.now + 14 * DAY));
    await device.keeper.release("shop", device.server(), AbortSignal.timeout(1000));
    world.pass(15 * DAY);
    await assert.rejects(device.activate(claim), { code: "license/trial-used" });
    const again = await world.sell(trial);
    await assert.rejects(device.activate(again.claim), { code: "license/trial-used" });
  });

  it("that is over leaves the fallback at once, online and offline alike", async () => {
    const { claim } = await world.sell(trial);
    const device = await world.device();
    await device.activate(claim);
    device.network = "down";
    world.pass(14 * DAY - SECOND);
    assert.deepEqual(await device.features(), full);
    world.pass(SECOND);
    assert.deepEqual([await device.features(), await device.reason()], [fallback, "EXPIRED"]);
    device.network = "up";
    await device.checkIn();
    assert.deepEqual([await device.features(), await device.reason()], [fallback, "EXPIRED"]);
  });
});

describe("the clock of a device", () => {
  it("that is set back by a month gains no grace, and is shown", async () => {
    const { device } = await activated();
    device.network = "down";
    world.pass(30 * DAY);
    await device.checkIn();
    device.clockOffset = -30 * DAY;
    const back = await device.status();
    assert.deepEqual([back.clock, back.standing.reason], ["behind", "GRACE"]);
    world.pass(8 * DAY);
    assert.equal(await device.reason(), "OFFLINE");
  });

  it("that is set back at every boot uses up grace by running", async () => {
    const { device } = await activated({
      lease: { ttlSeconds: 86_400, renewSeconds: 3600, graceSeconds: 5 * 86_400 },
    });
    device.network = "down";
    const wall = world.now;
    for (let at = 0; at < 20; at++) {
      device.clockOffset = wall - world.now;
      await device.reboot();
      world.pass(8 * HOUR);
      await device.keeper.tick();
    }
    assert.equal(await device.reason(), "OFFLINE");
  });

  it("that steps by two hours is of no interest", async () => {
    const { device } = await activated();
    await device.checkIn();
    device.clockOffset = -2 * HOUR;
    assert.deepEqual([(await device.status()).clock, await device.reason()], [null, "LEASE"]);
    device.clockOffset = 2 * HOUR;
    assert.equal((await device.status()).clock, null);
  });

  it("that is ten years ahead and is set right again has changed nothing", async () => {
    const { device } = await activated();
    device.network = "down";
    device.clockOffset = 3650 * DAY;
    assert.deepEqual([await device.features(), (await device.status()).clock], [full, "far-ahead"]);
    await device.keeper.tick();
    device.clockOffset = 0;
    assert.deepEqual([await device.features(), (await device.status()).clock], [full, null]);
  });

  it("tells the operator, not the user, when it was more than a day behind", async () => {
    const { device } = await activated();
    world.pass(3 * DAY);
    await device.checkIn();
    device.clockOffset = -2 * DAY;
    device.keeper.eager = true;
    await device.checkIn();
    assert.ok((await world.alarms()).includes("license/clock"));
    assert.deepEqual(await device.features(), full);
  });
});

describe("two machines on one identity", () => {
  const often: Sale = { lease: { renewSeconds: 600 } };

  it("are found within six check-ins, and the second machine takes a seat where there is one", async () => {
    const { device, license } = await activated({ ...often, seats: { max: 2 } });
    const clone = await device.copy();
    let steps = 0;
    const found = async () => (await world.audit()).includes("license/clone");
    while (!(await found()) && steps < 6) {
      world.pass(HOUR);
      await (steps++ % 2 === 0 ? device : clone).checkIn();
    }
    assert.ok(await found(), `not within ${steps}`);
    const [alarm] = await world.store.read((r) => r.alarms(1));
    assert.match(alarm!.detail, /192\.0\.2\.1.*198\.51\.100\.7|198\.51\.100\.7.*192\.0\.2\.1/);
    assert.equal(await world.store.read((r) => r.seatsTaken(license.id)), 2);
    for (const one of [device, clone]) {
      world.pass(HOUR);
      await one.checkIn();
      assert.deepEqual(await one.features(), full);
    }
  });

  it("without a seat keep their features for two weeks with a notice, then have the fallback", async () => {
    const { device } = await activated(often);
    const clone = await device.copy();
    for (let at = 0; at < 8; at++) {
      world.pass(HOUR);
      await (at % 2 === 0 ? device : clone).checkIn();
    }
    const { standing } = await device.status();
    assert.deepEqual([standing.features, standing.notices.map(({ code }) => code)], [full, ["clone"]]);
    world.pass(15 * DAY);
    await device.checkIn();
    assert.deepEqual([await device.features(), await device.reason()], [fallback, "RESTRICTED"]);
  });

  it("are no alarm for a lost answer, a reboot, a machine that moved, or new hardware", async () => {
    const { device } = await activated(often);
    const before = (await world.audit()).length;
    for (let at = 0; at < 60; at++) {
      world.pass(HOUR);
      if (at % 7 === 0) await device.reboot();
      device.address = `192.0.2.${at}`;
      device.network = at % 5 === 0 ? "answer-lost" : "up";
      await device.checkIn();
    }
    assert.deepEqual((await world.audit()).slice(before), []);
    assert.deepEqual(await device.features(), full);
  });

  it("are not seen in a device that was put back to its backup once: that stands in the audit log, and nobody is bothered", async () => {
    const { device } = await activated(often);
    const backup = device.disk.clone();
    for (let at = 0; at < 3; at++) {
      world.pass(DAY);
      await device.checkIn();
    }
    device.disk = backup;
    await device.reboot();
    world.pass(HOUR);
    await device.checkIn();
    assert.equal((await world.audit()).at(-1), "license/restored");
    const { standing } = await device.status();
    assert.deepEqual([standing.features, standing.notices], [full, []]);
  });

  it("that only warn or restrict do so by the license's policy", async () => {
    for (const [onClone, reason] of [
      ["warn", "LEASE"],
      ["restrict", "RESTRICTED"],
    ] as const) {
      const { device } = await activated({ ...often, policy: { onClone } });
      const clone = await device.copy();
      for (let at = 0; at < 10; at++) {
        world.pass(HOUR);
        await (at % 2 === 0 ? device : clone).checkIn();
      }
      assert.equal(await device.reason(), reason);
    }
  });
});

describe("what a device keeps", () => {
  it("advances once for a lost answer that is asked for again by the same id, over a restart", async () => {
    const { device, license } = await activated();
    world.pass(7 * HOUR);
    device.network = "answer-lost";
    await device.checkIn();
    await device.reboot();
    device.network = "up";
    await device.checkIn();
    const [activation] = await world.store.read((r) => r.activations(license.id));
    assert.deepEqual([activation!.seq, activation!.forks], [2, []]);
    assert.equal(await device.reason(), "LEASE");
  });

  it("is there twice: a file that is damaged is replaced by its copy, and two that are come again from the server", async () => {
    const { device, claim } = await activated();
    await device.checkIn();
    device.disk.tamper("/agent/licenses/state.json", (bytes) => bytes.slice(0, 50));
    await device.start();
    assert.deepEqual(await device.features(), full);
    assert.match((await device.keeper.statuses()).damage!, /copy/);
    device.disk.tamper("/agent/licenses/state.copy.json", (bytes) => bytes.fill(0, 100, 120));
    await device.start();
    assert.deepEqual(await device.features(), {});
    assert.match((await device.keeper.statuses()).damage!, /lost/);
    await device.activate(claim);
    assert.deepEqual(await device.features(), full);
  });

  it("says nothing about the machine: no address, name, user or serial leaves it with a check-in", async () => {
    const { device } = await activated();
    world.pass(7 * HOUR);
    await device.checkIn();
    const [asked] = device.asked.at(-1) as Record<string, unknown>[];
    assert.deepEqual(Object.keys(asked!).toSorted(), [
      "activation",
      "boot",
      "chainNonce",
      "clientNonce",
      "requestId",
      "rev",
    ]);
    assert.notEqual(asked!["boot"], device.boot);
  });

  it("never stops the agent: a disk that is full and a server that answers nonsense are a line in the log", async () => {
    const { device } = await activated();
    world.pass(7 * HOUR);
    const full = device.keeper;
    (device.disk as { open: unknown }).open = () =>
      Promise.reject(Object.assign(new Error("no space"), { code: "ENOSPC" }));
    await full.follow(device.releases());
    assert.equal(await full.ask(), undefined);
    await full.take("nonsense");
    await full.settle(device.server(), AbortSignal.timeout(1000));
    assert.ok(device.lines.filter(({ event }) => event === "license-trouble").length >= 2);
    assert.equal(await device.reason(), "LEASE");
  });

  it("counts what was used and what was refused, for the operator", async () => {
    const { device, license } = await activated();
    for (let at = 0; at < 3; at++) await device.keeper.count("shop", "sso", true);
    await device.keeper.count("shop", "audit", false);
    world.pass(7 * HOUR);
    await device.checkIn();
    const [activation] = await world.store.read((r) => r.activations(license.id));
    assert.deepEqual([activation!.used["sso"], activation!.refused], [3, { audit: 1 }]);
    assert.ok((await world.alarms()).includes("license/unentitled-use"));
  });
});
