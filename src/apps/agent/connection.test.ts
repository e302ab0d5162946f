// The renewal of a device's certificate when clocks differ, answers are lost and servers change their minds.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fromBase64, toBase64 } from "../../core/bytes.ts";
import { DAY, HOUR, parseInstant } from "../../core/instant.ts";
import { certificatePem } from "../../der/x509.ts";
import { createAuthority, DEVICE_LIFE, issueDevice, readDeviceRequest } from "../../identity/authority.ts";
import {
  datesOf,
  loadIdentity,
  newTlsKey,
  saveIdentity,
  tlsSigner,
} from "../../io/device/device-identity.ts";
import type { ServerClient } from "../../io/device/server-client.ts";
import { ServerClientError } from "../../io/device/server-failure.ts";
import type { ClientIdentity } from "../../io/device/tls.ts";
import type { LogLine } from "../../agent/ports.ts";
import { scriptedRandom } from "../../testing/agent-world.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { openConnection } from "./connection.ts";
import { generateKeyPairSync } from "node:crypto";

const DAY_0 = parseInstant("2026-11-21T04:00:00Z");
const FOLDER = "/agent/identity";
const DEVICE = "0a0b0c0d-0000-4000-8000-000000000001";

/** A device with a certificate of day 0, and a server whose clock and opinion a test sets. */
async function world() {
  const disk = new MemoryDisk();
  await disk.makeDirectory("/agent", 0o755);
  await disk.makeDirectory(FOLDER, 0o700);
  const clock = new ScriptedClock(DAY_0);
  const random = scriptedRandom();
  const signer = tlsSigner(newTlsKey());
  const authority = await createAuthority({ name: "Devices", signer, now: DAY_0, random });
  const issue = async (spki: Uint8Array, now: number) =>
    certificatePem(await issueDevice(authority, { device: DEVICE, spki, now, random }));
  const key = newTlsKey();
  const reportPem = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" });
  const report = await disk.open(`${FOLDER}/report.key`, "create", 0o600);
  await report.write(0, Buffer.from(String(reportPem)));
  await report.close();
  await saveIdentity(disk, FOLDER, {
    record: { format: 1, device: DEVICE, server: { host: "h", port: 1 }, pins: ["0".repeat(64)] },
    authorities: [certificatePem(authority.certificate)],
    client: { key, certificates: await issue(tlsSigner(key).publicKey.spki, DAY_0) },
    root: new Uint8Array([1]),
  });
  const server = { ahead: 0, renewals: 0, accepts: (() => true) as (as: ClientIdentity) => boolean };
  const calls: string[] = [];
  const lines: LogLine[] = [];
  const dial = (_server: unknown, as?: ClientIdentity): ServerClient =>
    ({
      call: async (name: string, request: { csr: string }) => {
        calls.push(`${name} ${as!.certificates === first ? "first" : "renewed"}`);
        if (!server.accepts(as!)) throw new ServerClientError("server/unreachable", "closed", {});
        if (name !== "renew") return "answer";
        server.renewals++;
        const { spki } = readDeviceRequest(fromBase64(request.csr));
        const pem = await issue(spki, clock.now() + server.ahead);
        return { certificates: [pem.replaceAll(/-----[^-]+-----|\n/g, "")] };
      },
      wakes: async function* () {},
      close: () => {},
    }) as unknown as ServerClient;
  const first = (await loadIdentity(disk, FOLDER)).client.certificates;
  const connect = async () => {
    const identity = await loadIdentity(disk, FOLDER);
    const trust = () => ({ server: identity.server, bundleSha256: null, isOutgoing: () => false });
    const parts = { disk, clock, program, log: (line: LogLine) => void lines.push(line) };
    return openConnection(FOLDER, identity, trust, parts, dial);
  };
  const stored = async () => (await loadIdentity(disk, FOLDER)).client.certificates;
  const { signal } = new AbortController();
  const ask = { nonce: toBase64(new Uint8Array(32)) } as never;
  return { disk, clock, server, calls, lines, connect, stored, first, ask, signal };
}

const program = { version: "0.1.0", features: ["needs"] };

describe("a server from before marks", () => {
  it("is asked again in its own words when it refuses what it does not know, and only so from then on", async () => {
    const { disk, clock } = await world();
    const asked: object[] = [];
    const lines: LogLine[] = [];
    const dial = (): ServerClient =>
      ({
        call: async (_name: string, request: object) => {
          asked.push(request);
          if ("mark" in request)
            throw new ServerClientError("server/refused", "mark: it is not known", {
              code: "schema/invalid",
            });
          return "answer";
        },
        close: () => {},
      }) as unknown as ServerClient;
    const identity = await loadIdentity(disk, FOLDER);
    const trust = () => ({ server: identity.server, bundleSha256: null, isOutgoing: () => false });
    const parts = { disk, clock, program, log: (line: LogLine) => void lines.push(line) };
    const connection = openConnection(FOLDER, identity, trust, parts, dial);
    const trying = { version: "1.1.0", step: "staged" };
    const components = [{ product: "shop", version: "1.0.0", trying }];
    const request = { nonce: "n", agent: program, mark: null, components };
    for (let i = 0; i < 2; i++)
      assert.equal(await connection.checkIn(request as never, new AbortController().signal), "answer");
    const plain = { nonce: "n", components: [{ product: "shop", version: "1.0.0" }] };
    assert.deepEqual(asked, [request, plain, plain]);
    assert.deepEqual(
      lines.map(({ event }) => event),
      ["old-server"],
    );
  });
});

describe("the certificate of a device", () => {
  it("is renewed from half of its life on, and is in use once the server accepted it", async () => {
    const { clock, connect, ask, signal, calls, stored, first, disk } = await world();
    const connection = await connect();
    clock.setWall(DAY_0 + 22 * DAY);
    await connection.checkIn(ask, signal);
    assert.deepEqual(calls, ["checkIn first"]);
    clock.setWall(DAY_0 + 23 * DAY);
    await connection.checkIn(ask, signal);
    assert.deepEqual(calls.slice(1), ["renew first", "checkIn renewed"]);
    assert.notEqual(await stored(), first);
    assert.equal(datesOf(await stored()).notAfter, DAY_0 + 23 * DAY + DEVICE_LIFE);
    assert.deepEqual(
      (await disk.list(FOLDER)).filter((name) => name.includes("renewed")),
      [],
    );
    await connection.checkIn(ask, signal);
    assert.equal(calls.at(-1), "checkIn renewed");
  });

  it("is kept when the server, whose clock is ahead, issues one that is not good yet: that one is refused", async () => {
    const { clock, connect, ask, signal, calls, stored, first, lines, server } = await world();
    const connection = await connect();
    clock.setWall(DAY_0 + 23 * DAY);
    server.ahead = 2 * HOUR;
    assert.equal(await connection.checkIn(ask, signal), "answer");
    assert.deepEqual(calls, ["renew first", "checkIn first"]);
    assert.equal(await stored(), first);
    assert.equal(lines[0]!["code"], "agent/unusable-certificate");
    // It is not asked for again at every check, and is when an hour is over.
    await connection.checkIn(ask, signal);
    assert.equal(server.renewals, 1);
    server.ahead = 0;
    await clock.advance(HOUR);
    await connection.checkIn(ask, signal);
    assert.notEqual(await stored(), first);
  });

  it("is kept when the server's clock is so far behind that the new one is over already", async () => {
    const { clock, connect, ask, signal, stored, first, server, lines } = await world();
    const connection = await connect();
    clock.setWall(DAY_0 + 40 * DAY);
    server.ahead = -50 * DAY;
    await connection.checkIn(ask, signal);
    assert.equal(await stored(), first);
    assert.equal(lines[0]!["code"], "agent/unusable-certificate");
  });

  it("is kept, and used on, when the server does not accept the renewed one", async () => {
    const { clock, connect, ask, signal, calls, stored, first, lines, server, disk } = await world();
    const connection = await connect();
    clock.setWall(DAY_0 + 23 * DAY);
    server.accepts = ({ certificates }) => certificates === first;
    assert.equal(await connection.checkIn(ask, signal), "answer");
    assert.deepEqual(calls, ["renew first", "checkIn renewed", "checkIn first"]);
    assert.equal(await stored(), first);
    assert.deepEqual(
      (await disk.list(FOLDER)).filter((name) => name.includes("renewed")),
      [],
    );
    assert.equal(lines[0]!["event"], "certificate-not-renewed");
  });

  it("is not given up while nobody answers: after a restart the renewed one is tried first, then the one before", async () => {
    const { clock, connect, ask, signal, calls, stored, first, server } = await world();
    clock.setWall(DAY_0 + 23 * DAY);
    const { accepts } = server;
    const connection = await connect();
    // Reached for the renewal, and then not any more.
    server.accepts = () => server.renewals === 0;
    await assert.rejects(connection.checkIn(ask, signal), { code: "server/unreachable" });
    assert.equal(await stored(), first);
    calls.length = 0;
    server.accepts = accepts;
    await (await connect()).checkIn(ask, signal);
    assert.deepEqual(calls, ["checkIn renewed"]);
    assert.notEqual(await stored(), first);
  });

  it("that a server issued two years ahead of today is replaced by its own key as soon as the clocks are right", async () => {
    const { clock, connect, ask, signal, calls, stored } = await world();
    clock.setWall(DAY_0 + 730 * DAY);
    const connection = await connect();
    await connection.checkIn(ask, signal);
    assert.equal(datesOf(await stored()).notBefore, DAY_0 + 730 * DAY - HOUR);
    calls.length = 0;
    clock.setWall(DAY_0 + DAY);
    await connection.checkIn(ask, signal);
    assert.equal(datesOf(await stored()).notBefore, DAY_0 + DAY - HOUR);
    assert.deepEqual(calls, ["renew renewed", "checkIn renewed"]);
  });

  it("of which only a torn renewed copy is left beside is used as ever", async () => {
    const { disk, connect, ask, signal, calls } = await world();
    const file = await disk.open(`${FOLDER}/device.renewed.pem`, "create", 0o600);
    await file.write(0, Buffer.from("-----BEGIN"));
    await file.close();
    await (await connect()).checkIn(ask, signal);
    assert.deepEqual(calls, ["checkIn first"]);
  });
});
