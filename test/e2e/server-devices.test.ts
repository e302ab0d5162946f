// The dynamic plane from the outside: enrolment, check-in, reports, renewal, revocation, over real TLS.

import assert from "node:assert/strict";
import { connect } from "node:tls";
import { after, before, describe, it } from "node:test";
import { fromBase64, toBase64, toHex } from "../../src/core/bytes.ts";
import { DAY, HOUR } from "../../src/core/instant.ts";
import { assign } from "../../src/fleet/assign.ts";
import { revoke } from "../../src/fleet/enrol.ts";
import { createAuthority, issueDevice, type Authority } from "../../src/identity/authority.ts";
import { systemClock } from "../../src/io/system/clock.ts";
import { systemDisk } from "../../src/io/system/disk.ts";
import { systemRandom } from "../../src/io/system/random.ts";
import { openAuthorities } from "../../src/apps/server/authorities.ts";
import { openServerClient } from "../../src/io/device/server-client.ts";
import { connectOptions, findAuthority } from "../../src/io/device/tls.ts";
import { openAssignment } from "../../src/message/assignment.ts";
import { enrolmentProof } from "../../src/message/enroll.ts";
import { formatToken, parseToken } from "../../src/identity/token.ts";
import { signReport, type Report } from "../../src/report/report.ts";
import type { UpdateServer } from "../../src/apps/server/server.ts";
import {
  assigned,
  checkIn,
  csrOf,
  deviceWith,
  enroll,
  eventually,
  newKeys,
  nonce,
  serverIdentity,
  World,
  type Device,
} from "./_server.ts";

let world: World;
let server: UpdateServer;
before(async () => {
  world = await World.create();
  server = await world.start();
  await world.withStore((store) =>
    store.transaction((r) => assign(r, Date.now(), { group: "default", product: "shop", channel: "stable" })),
  );
  await server.refresh();
});
after(async () => {
  await server.stop();
  world.remove();
});

const newDevice = async (): Promise<Device> => enroll(server, await world.token(server));
const refused = (code: string) => (error: { code: string; facts: { code?: string } }) =>
  error.code === "server/refused" && error.facts.code === code;

function inventory(device: string, sequence: number, previous: string | null, running: string): Report {
  return {
    kind: "inventory",
    id: toHex(Uint8Array.from(Buffer.from(`${sequence}`.padStart(16, "0")))),
    device,
    sequence,
    previous,
    issued: "2026-11-21T04:00:00Z",
    boot: "b".repeat(32),
    components: [{ product: "shop", running, manifestSha256: null, committed: running, floor: null }],
  };
}

describe("enrolment", () => {
  it("gives a device a certificate that opens its calls, and an assignment it can believe", async () => {
    const device = await newDevice();
    const asked = nonce();
    const answer = await device.client.call("checkIn", {
      nonce: asked,
      platform: { os: "linux", arch: "x64", libc: "glibc" },
      components: [],
    });
    const assignment = openAssignment(fromBase64(answer.assignment), {
      keys: [world.director.publicKey],
      device: device.id,
      nonce: asked,
      now: Date.now(),
    });
    assert.deepEqual(
      assignment.components.map((c) => ("release" in c ? c.release.version : c.hold.reason)),
      ["1.0.0"],
    );
    assert.equal(answer.interval, 300);
    device.client.close();
  });

  it("refuses a token that was used (token twice)", async () => {
    const text = await world.token(server);
    (await enroll(server, text)).client.close();
    await assert.rejects(enroll(server, text), refused("fleet/token-used"));
  });

  it("may be repeated with the same keys, as after a lost answer", async () => {
    const [text, keys] = [await world.token(server), newKeys()];
    const [first, again] = [await enroll(server, text, keys), await enroll(server, text, keys)];
    assert.equal(first.id, again.id);
    await checkIn(again);
    for (const device of [first, again]) device.client.close();
  });

  it("refuses an expired token and an unknown one", async () => {
    const expired = await world.token(server, "default", -DAY);
    await assert.rejects(enroll(server, expired), refused("fleet/token-expired"));
    const known = parseToken(await world.token(server));
    const forged = formatToken({ ...known, id: "0".repeat(16) });
    await assert.rejects(enroll(server, forged), refused("fleet/token-unknown"));
  });

  it("sends nothing to a server whose authority the token does not pin (impostor)", async () => {
    const text = await world.token(server);
    const wrong = formatToken({ ...parseToken(text), caSpkiSha256: "0".repeat(64) });
    const before = world.lines.length;
    await assert.rejects(enroll(server, wrong), { code: "identity/wrong-server" });
    assert.deepEqual(
      world.lines.slice(before).filter((line) => line.event === "request"),
      [],
      "the server saw no request, so no secret either",
    );
  });

  it("refuses a report key whose holder did not sign the request", async () => {
    const [keys, other] = [newKeys(), newKeys()];
    const text = await world.token(server);
    const client = openServerClient(await serverIdentity(server, text));
    const csr = await csrOf(keys.tls);
    const { id, secret } = parseToken(text);
    const request = {
      token: { id, secret },
      csr: toBase64(csr),
      reportKey: toHex(keys.report.publicKey.spki.subarray(-32)),
      reportKeyProof: toBase64(await other.report.sign(enrolmentProof(csr))),
      platform: { os: "linux", arch: "x64" },
      name: "x",
    } as const;
    await assert.rejects(client.call("enroll", request), refused("fleet/bad-proof"));
    await assert.rejects(
      client.call("enroll", { ...request, csr: toBase64(csr.slice(0, -1)) }),
      refused("identity/bad-request"),
    );
    client.close();
  });
});

describe("TLS", () => {
  it("is refused by a device when the certificate is for another name, though the authority is right", async () => {
    const text = await world.token(server);
    const identity = await serverIdentity(server, text);
    // localhost resolves to the same server, whose certificate names it; a name it lacks must fail.
    const options = connectOptions({ ...identity, host: "127.0.0.2" });
    const error = await new Promise<NodeJS.ErrnoException>((resolve, reject) => {
      const socket = connect({ ...options, host: "127.0.0.1", servername: "" }, () => {
        socket.destroy();
        reject(new Error("it was accepted"));
      });
      socket.once("error", resolve);
    });
    assert.equal(error.code, "ERR_TLS_CERT_ALTNAME_INVALID");
  });

  it("needs the pinned authority on every connection, not only at enrolment", async () => {
    const identity = await serverIdentity(server, await world.token(server));
    assert.throws(() => openServerClient({ ...identity, pins: ["0".repeat(64)] }), {
      code: "identity/wrong-authority",
    });
    const elsewhere = await World.create();
    const other = await elsewhere.start();
    const foreign = await findAuthority({ host: "127.0.0.1", port: other.address.port }, other.caSpkiSha256);
    const client = openServerClient({ ...identity, authorities: [foreign], pins: [other.caSpkiSha256] });
    await assert.rejects(client.call("renew", { csr: "AAAA" }), { code: "server/untrusted" });
    client.close();
    await other.stop();
    elsewhere.remove();
  });

  it("of an older version than 1.3 is refused", async () => {
    const error = await new Promise<Error>((resolve, reject) => {
      const socket = connect(
        { host: "127.0.0.1", port: server.address.port, maxVersion: "TLSv1.2", rejectUnauthorized: false },
        () => reject(new Error("it was accepted")),
      );
      socket.once("error", resolve);
    });
    assert.match(error.message, /version/);
  });
});

describe("a device call", () => {
  it("needs a certificate", async () => {
    const device = await newDevice();
    const stranger = openServerClient(device.server);
    await assert.rejects(checkIn({ ...device, client: stranger }), refused("http/no-certificate"));
    stranger.close();
    device.client.close();
  });

  it("is refused with a certificate of another server's authority (rogue authority)", async () => {
    const elsewhere = await World.create();
    const other = await elsewhere.start();
    const foreign = await enroll(other, await elsewhere.token(other));
    const here = await newDevice();
    const client = openServerClient(here.server, foreign.identity);
    await assert.rejects(checkIn({ ...here, client }), refused("http/no-certificate"));
    for (const open of [client, foreign.client, here.client]) open.close();
    await other.stop();
    elsewhere.remove();
  });

  it("is refused within a moment of revocation by another process, and its open stream ends", async () => {
    const device = await newDevice();
    await checkIn(device);
    const ended = (async () => {
      for await (const _ of device.client.wakes(null)) assert.fail("nobody was woken");
    })();
    await eventually("it listens", async () => world.lines.length > 0);
    await world.withStore((store) => store.transaction((r) => revoke(r, Date.now(), device.id, "operator")));
    await Promise.race([
      ended.catch(() => {}),
      new Promise((_, reject) => setTimeout(() => reject(new Error("the stream went on")), 5000).unref()),
    ]);
    await assert.rejects(checkIn(device), refused("fleet/device-revoked"));
    device.client.close();
  });

  it("gets the same answer whatever version it claims (C34, fake client information)", async () => {
    const device = await newDevice();
    const answers = [];
    for (const claim of [null, "0.0.1", "1.0.0", "999999.0.0"]) {
      const { components } = assigned(await checkIn(device, claim));
      answers.push(JSON.stringify(components));
    }
    assert.equal(new Set(answers).size, 1);
    assert.match(answers[0]!, /"version":"1\.0\.0"/);
    device.client.close();
  });

  it("too often is told to wait, and nobody else is", async () => {
    const [loud, quiet] = [await newDevice(), await newDevice()];
    const results = await Promise.allSettled(Array.from({ length: 240 }, () => checkIn(loud)));
    const refusals = results.filter((r) => r.status === "rejected");
    assert.ok(refusals.length >= 80, `${refusals.length} of 240 were refused`);
    for (const { reason } of refusals as { reason: { facts: { status: number; retryAfter: number } } }[]) {
      assert.equal(reason.facts.status, 429);
      assert.ok(reason.facts.retryAfter >= 1);
    }
    await checkIn(quiet);
    for (const device of [loud, quiet]) device.client.close();
  });
});

describe("reports", () => {
  it("are accepted once, told as duplicate after that, and refused one by one", async () => {
    const [device, other] = [await newDevice(), await newDevice()];
    const first = await signReport(inventory(device.id, 1, null, "1.0.0"), device.keys.report);
    const second = await signReport(
      inventory(device.id, 2, first.payloadSha256, "1.0.0"),
      device.keys.report,
    );
    const tampered = Uint8Array.from(second.envelope);
    tampered[120]! ^= 1;
    const foreign = await signReport(inventory(other.id, 1, null, "9.9.9"), device.keys.report);
    const forged = await signReport(inventory(device.id, 9, "c".repeat(64), "9.9.9"), other.keys.report);
    const send = async (...envelopes: Uint8Array[]) => {
      const { results } = await device.client.call("reports", { reports: envelopes.map(toBase64) });
      return results.map((r) => (r.result === "refused" ? r.code : r.result));
    };
    assert.deepEqual(await send(first.envelope), ["accepted"]);
    const [one, two, three, four, five] = await send(
      first.envelope,
      tampered,
      foreign.envelope,
      forged.envelope,
      second.envelope,
    );
    assert.equal(one, "duplicate");
    assert.match(two!, /^(?:dsse|json|bytes)\//);
    assert.equal(three, "report/wrong-device");
    assert.equal(four, "dsse/no-valid-signature");
    assert.equal(five, "accepted");
    const reports = await world.withStore((store) =>
      store.transaction((r) => r.reports({ device: device.id, limit: 10 })),
    );
    assert.deepEqual(
      reports.map((r) => r.sequence),
      [2, 1],
    );
    for (const open of [device, other]) open.client.close();
  });

  it("of a version nobody published raise an alarm, and the update is offered all the same (C34)", async () => {
    const device = await newDevice();
    const { envelope } = await signReport(inventory(device.id, 1, null, "999.0.0"), device.keys.report);
    await device.client.call("reports", { reports: [toBase64(envelope)] });
    const alarms = await world.withStore((store) => store.transaction((r) => r.alarms(100)));
    assert.ok(alarms.some((a) => a.device === device.id && a.code === "device/unlisted-version"));
    assert.match(JSON.stringify(assigned(await checkIn(device))), /"version":"1\.0\.0"/);
    device.client.close();
  });
});

describe("renewal", () => {
  it("works beside the old certificate until its first use; then the old one opens nothing", async () => {
    const device = await newDevice();
    const keys = { ...newKeys(), report: device.keys.report };
    const { certificates } = await device.client.call("renew", { csr: toBase64(await csrOf(keys.tls)) });
    const renewed = deviceWith(device.server, device.id, keys, certificates);
    await checkIn(device);
    await checkIn(renewed);
    await assert.rejects(checkIn(device), refused("http/unknown-device"));
    await checkIn(renewed);
    for (const open of [device, renewed]) open.client.close();
  });

  it("still works after the certificate has expired, for the device itself and for nothing else", async () => {
    const device = await newDevice();
    const tools = { disk: systemDisk, random: systemRandom, clock: systemClock };
    const { device: authority } = await openAuthorities(`${world.data}/server/tls`, tools);
    const outdated = async (by: Authority, agoDays: number): Promise<Device> => {
      const now = Date.now() - agoDays * DAY;
      const spki = device.keys.tls.publicKey.spki;
      const old = await issueDevice(by, { device: device.id, spki, now, random: systemRandom });
      return deviceWith(device.server, device.id, device.keys, [toBase64(old.der)]);
    };
    // The authority of this test is a day old; certificates of before are dated back by hand.
    const aged: Authority = { ...authority, certificate: { ...authority.certificate, notBefore: 0 } };
    const asleep = await outdated(aged, 100);
    await assert.rejects(checkIn(asleep), refused("http/certificate-expired"));
    const keys = { ...newKeys(), report: device.keys.report };
    const csr = toBase64(await csrOf(keys.tls));

    const tooLate = await outdated(aged, 45 + 366);
    await assert.rejects(tooLate.client.call("renew", { csr }), refused("http/certificate-expired"));
    const name = authority.certificate.subject.attributes[0]!.value;
    const rogue = await createAuthority({
      name,
      signer: newKeys().tls,
      now: Date.now(),
      random: systemRandom,
    });
    const forged = await outdated({ ...rogue, certificate: { ...rogue.certificate, notBefore: 0 } }, 100);
    await assert.rejects(forged.client.call("renew", { csr }), refused("http/no-certificate"));

    const { certificates } = await asleep.client.call("renew", { csr });
    const awake = deviceWith(device.server, device.id, keys, certificates);
    await checkIn(awake);
    await world.withStore((store) => store.transaction((r) => revoke(r, Date.now(), device.id, "operator")));
    await server.refresh();
    await assert.rejects(asleep.client.call("renew", { csr }), { code: "server/refused" });
    for (const open of [device, asleep, tooLate, forged, awake]) open.client.close();
  });

  it("works with a certificate that a clock two years ahead issued, for the device itself and for nothing else", async () => {
    const device = await newDevice();
    const tools = { disk: systemDisk, random: systemRandom, clock: systemClock };
    const { device: authority } = await openAuthorities(`${world.data}/server/tls`, tools);
    const { spki } = device.keys.tls.publicKey;
    const now = Date.now() + 730 * DAY;
    const made = await issueDevice(authority, { device: device.id, spki, now, random: systemRandom });
    const early = deviceWith(device.server, device.id, device.keys, [toBase64(made.der)]);
    await assert.rejects(checkIn(early), refused("http/certificate-expired"));
    const keys = { ...newKeys(), report: device.keys.report };
    const csr = toBase64(await csrOf(keys.tls));
    const { certificates } = await early.client.call("renew", { csr });
    const renewed = deviceWith(device.server, device.id, keys, certificates);
    await checkIn(renewed);
    for (const open of [device, early, renewed]) open.client.close();
  });

  it("is refused while this server's clock is hours away from the device's: nothing is issued that would not be good there", async () => {
    let away = 0;
    const clock = { ...systemClock, now: () => Date.now() + away };
    const other = await World.create();
    const running = await other.start({ clock });
    const device = await enroll(running, await other.token(running));
    const csr = toBase64(await csrOf(newKeys().tls));
    for (const wrong of [5 * HOUR, -60 * DAY]) {
      away = wrong;
      await assert.rejects(device.client.call("renew", { csr }), refused("fleet/clocks-differ"));
    }
    away = 0;
    await device.client.call("renew", { csr });
    device.client.close();
    await running.stop();
    other.remove();
  });

  it("with the key in use is refused", async () => {
    const device = await newDevice();
    const csr = toBase64(await csrOf(device.keys.tls));
    await assert.rejects(device.client.call("renew", { csr }), refused("fleet/key-in-use"));
    device.client.close();
  });
});
