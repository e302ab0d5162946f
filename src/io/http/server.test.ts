// Pieces of the HTTP server that need no socket, and certificates replaced while requests run.

import assert from "node:assert/strict";
import { Agent, request } from "node:https";
import type { TLSSocket } from "node:tls";
import { after, describe, it } from "node:test";
import { SchemaError } from "../../core/schema.ts";
import { certificatePem } from "../../der/x509.ts";
import { FleetError } from "../../fleet/errors.ts";
import { createAuthority, issueServer } from "../../identity/authority.ts";
import { HttpError, presentable, statusOf } from "./errors.ts";
import { peerKey } from "./request.ts";
import { startHttpServer } from "./server.ts";
import { generateKey } from "../keys/key-store.ts";
import { noLog } from "../system/log.ts";
import { systemRandom } from "../system/random.ts";
import { safeNames } from "./static-files.ts";
import { localSigner } from "../../keys/signer.ts";
import { SlotError } from "../../slot/errors.ts";

describe("the address that counts as one caller", () => {
  for (const [address, key] of [
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:DB8:1:2::9", "2001:db8:1:2::/64"],
    ["2001:0db8:0001:0002::9", "2001:db8:1:2::/64"],
    ["2001:db8::9", "2001:db8:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["", ""],
  ] as const) {
    it(`of ${address === "" ? "a socket without one" : address} is ${key === "" ? "empty" : key}`, () => {
      assert.equal(peerKey(address), key);
    });
  }
});

describe("the names of a path", () => {
  it("are decoded once", () => {
    assert.deepEqual(safeNames("metadata/a%20b%25.json"), ["metadata", "a b%.json"]);
    assert.deepEqual(safeNames("x/1.0.0+b~1.bin"), ["x", "1.0.0+b~1.bin"]);
  });

  for (const path of [
    "",
    "/",
    "a//b",
    ".",
    "..",
    "a/..",
    "a/.b",
    "a/b.tmp",
    "%2e%2e/a",
    "a%2fb",
    "a%5Cb",
    "%00",
    "%zz",
    "%ff",
  ]) {
    it(`of "${path}" are refused`, () => assert.equal(safeNames(path), null));
  }
});

describe("an error on its way out", () => {
  it("keeps its status and sentence when it is about the caller", () => {
    const { status, error } = presentable(new HttpError("http/too-large", "Too large."));
    assert.deepEqual([status, error.message], [413, "Too large."]);
    assert.equal(statusOf(new SchemaError("schema/invalid", "")), 400);
    assert.equal(statusOf(new FleetError("fleet/token-used", "")), 403);
  });

  it("says that the records are away, and not where they are", () => {
    const { status, error, headers } = presentable(
      new FleetError("fleet/store-denied", "secret place", { store: "secret place" }),
    );
    assert.deepEqual([status, error.code, headers["retry-after"]], [503, "fleet/store-denied", "15"]);
    assert.ok(!JSON.stringify([error.message, error.facts]).includes("secret"));
  });

  it("shows nothing of a fault of our own", () => {
    for (const fault of [
      new Error("secret path"),
      new SlotError("slot/damaged", "secret path"),
      "secret path",
    ]) {
      const { status, error } = presentable(fault);
      assert.equal(status, 500);
      assert.ok(!error.message.includes("secret"));
    }
  });
});

describe("the server's certificate", () => {
  const stops: (() => Promise<void>)[] = [];
  after(async () => {
    for (const stop of stops) await stop();
  });

  it("is replaced under load without one failed request; a bad pair changes nothing", async () => {
    const now = Date.now();
    const signer = localSigner(generateKey("ecdsa-sha2-nistp256"), "ecdsa-sha2-nistp256");
    const authority = await createAuthority({ name: "test", signer, now, random: systemRandom });
    const ca = certificatePem(authority.certificate);
    const make = async () => {
      const key = generateKey("ecdsa-sha2-nistp256");
      const { spki } = localSigner(key, "ecdsa-sha2-nistp256").publicKey;
      const certificate = await issueServer(authority, {
        names: ["127.0.0.1"],
        spki,
        now,
        random: systemRandom,
      });
      return { key: String(key.export({ type: "pkcs8", format: "pem" })), cert: certificatePem(certificate) };
    };
    const [first, second] = [await make(), await make()];
    const server = await startHttpServer({
      listen: { host: "127.0.0.1", port: 0 },
      tls: { ...first, minVersion: "TLSv1.3" },
      log: noLog,
      handle: async () => ({ status: 200, body: Buffer.from("ok") }),
    });
    stops.push(() => server.stop());
    const { port } = server.address as { port: number };
    const seen = new Set<string>();
    const ask = (agent: Agent | false): Promise<number> =>
      new Promise((resolve, reject) => {
        const outgoing = request({ host: "127.0.0.1", port, ca, agent }, (response) => {
          seen.add((response.socket as TLSSocket).getPeerCertificate().serialNumber);
          response.resume().on("end", () => resolve(response.statusCode!));
        });
        outgoing.on("error", reject);
        outgoing.end();
      });
    const agent = new Agent({ keepAlive: true, maxSockets: 2 });
    const run = async (): Promise<number[]> => {
      const statuses: number[] = [];
      for (let i = 0; i < 15; i++) statuses.push(await ask(agent), await ask(false));
      return statuses;
    };
    const running = run();
    await ask(false);
    assert.throws(() => server.setSecureContext({ key: first.key, cert: second.cert }));
    await ask(false);
    assert.equal(seen.size, 1, "the old certificate goes on");
    server.setSecureContext(second);
    assert.deepEqual([...new Set(await running)], [200]);
    await ask(false);
    assert.equal(seen.size, 2, "new connections get the new one");
    agent.destroy();
  });
});
