// Every way in which a connection can end before, in or after its handshake: none leaves a descriptor behind, and honest callers are served meanwhile.

import assert from "node:assert/strict";
import { request } from "node:https";
import { connect, type Socket } from "node:net";
import { after, describe, it } from "node:test";
import { connect as tlsConnect } from "node:tls";
import { certificatePem } from "../../der/x509.ts";
import { createAuthority, issueServer } from "../../identity/authority.ts";
import { localSigner } from "../../keys/signer.ts";
import { generateKey } from "../keys/key-store.ts";
import { descriptors } from "../system/descriptors.ts";
import { noLog } from "../system/log.ts";
import { systemRandom } from "../system/random.ts";
import { startHttpServer, type HttpLimits, type HttpServer } from "./server.ts";

const now = Date.now();
const caKey = localSigner(generateKey("ecdsa-sha2-nistp256"), "ecdsa-sha2-nistp256");
const authority = await createAuthority({ name: "test", signer: caKey, now, random: systemRandom });
const ca = certificatePem(authority.certificate);
const key = generateKey("ecdsa-sha2-nistp256");
const { spki } = localSigner(key, "ecdsa-sha2-nistp256").publicKey;
const cert = certificatePem(
  await issueServer(authority, { names: ["127.0.0.1"], spki, now, random: systemRandom }),
);
const tls = {
  key: String(key.export({ type: "pkcs8", format: "pem" })),
  cert,
  minVersion: "TLSv1.3",
} as const;

const QUICK: Partial<HttpLimits> = { handshake: 300, headers: 300, request: 400, keepAlive: 300, idle: 500 };
const open: HttpServer[] = [];
after(async () => {
  for (const server of open) await server.stop();
});

async function start(limits: Partial<HttpLimits> = {}, plain = false): Promise<HttpServer> {
  const server = await startHttpServer({
    listen: { host: "127.0.0.1", port: 0 },
    ...(plain ? {} : { tls }),
    limits: { ...QUICK, ...limits },
    log: noLog,
    handle: async () => ({ status: 200, body: Buffer.from("ok") }),
  });
  open.push(server);
  return server;
}

const portOf = (server: HttpServer): number => (server.address as { port: number }).port;

const ask = (server: HttpServer): Promise<number> =>
  new Promise((resolve, reject) => {
    const outgoing = request({ host: "127.0.0.1", port: portOf(server), ca, agent: false }, (response) => {
      response.resume().on("end", () => resolve(response.statusCode!));
    });
    outgoing.on("error", reject);
    outgoing.end();
  });

/** A connection that says what it is given; whoever calls keeps it. `closed`: when the server let go of it. */
function dial(server: HttpServer, bytes?: Uint8Array | string, from = "127.0.0.1"): Promise<Socket> {
  return new Promise((resolve) => {
    const socket = connect(
      { host: "127.0.0.1", port: portOf(server), localAddress: from, allowHalfOpen: true },
      () => {
        if (bytes !== undefined) socket.write(bytes);
        resolve(socket);
      },
    );
    socket.on("error", () => resolve(socket));
    socket.resume();
  });
}

async function until(what: string, test: () => boolean, ms = 5000): Promise<void> {
  const end = performance.now() + ms;
  while (!test()) {
    if (performance.now() > end) assert.fail(`${what}: not within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A record of TLS that begins a ClientHello and does not end it. */
const HALF_A_HELLO = Uint8Array.of(0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3);

const shaken = (server: HttpServer): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = tlsConnect({ host: "127.0.0.1", port: portOf(server), ca }, () => resolve(socket));
    socket.on("error", reject);
    socket.resume();
  });

describe("a connection whose peer", () => {
  const ways: readonly (readonly [string, (server: HttpServer) => Promise<Socket>])[] = [
    ["says nothing at all (a TCP health check that stays)", (server) => dial(server)],
    [
      "closes its side before the handshake (a port scan)",
      async (server) => (await dial(server)).end() as Socket,
    ],
    ["is gone at once", async (server) => (await dial(server)).destroy()],
    ["resets before the handshake", async (server) => (await dial(server)).resetAndDestroy()],
    ["begins a handshake and stops", (server) => dial(server, HALF_A_HELLO)],
    [
      "begins a handshake and closes its side",
      async (server) => (await dial(server, HALF_A_HELLO)).end() as Socket,
    ],
    ["resets within the handshake", async (server) => (await dial(server, HALF_A_HELLO)).resetAndDestroy()],
    ["speaks plain HTTP", (server) => dial(server, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")],
    ["speaks something else", (server) => dial(server, new Uint8Array(4096).fill(7))],
    ["says nothing after its handshake", (server) => shaken(server)],
    [
      "says after its handshake what is no HTTP",
      async (server) => {
        const socket = await shaken(server);
        socket.write("nonsense\r\n\r\n");
        return socket;
      },
    ],
    [
      "never ends its request",
      async (server) => {
        const socket = await shaken(server);
        socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n1");
        return socket;
      },
    ],
    [
      "resets after its handshake",
      async (server) => {
        const tcp = await dial(server);
        await new Promise<void>((resolve) => {
          tlsConnect({ socket: tcp, host: "127.0.0.1", ca }, resolve);
        });
        return tcp.resetAndDestroy();
      },
    ],
  ];
  for (const [what, way] of ways) {
    it(`${what} leaves no descriptor behind`, async () => {
      const server = await start();
      const before = descriptors()?.open ?? 0;
      const peers = await Promise.all(Array.from({ length: 20 }, () => way(server)));
      for (const peer of peers) peer.on("error", () => {});
      // The peers stay: it is the server that has to let go.
      await until("the server lets go", () => server.connections().open === 0);
      assert.equal(server.connections().unfinished, 0);
      assert.equal(await ask(server), 200);
      for (const peer of peers) peer.destroy();
      await until("every descriptor is closed", () => (descriptors()?.open ?? 0) <= before + 2);
    });
  }

  it("sends what is no HTTP in the clear, and does not read the answer, is let go of all the same", async () => {
    const server = await start({}, true);
    const peer = await dial(server, "nonsense\r\n\r\n");
    peer.pause();
    await until("the server lets go", () => server.connections().open === 0);
    peer.destroy();
  });
});

describe("thousands of silent connections", () => {
  it("are closed at their time, the honest are served meanwhile, and the stop ends", async () => {
    const server = await start({ handshake: 1500, connectionsPerAddress: 600, unfinished: 1000, drain: 800 });
    const before = descriptors()?.open ?? 0;
    const silent: Socket[] = [];
    let most = 0;
    for (let wave = 0; wave < 10; wave++) {
      const from = `127.0.0.${2 + (wave % 5)}`;
      silent.push(...(await Promise.all(Array.from({ length: 250 }, () => dial(server, undefined, from)))));
      most = Math.max(most, server.connections().unfinished);
      assert.equal(await ask(server), 200);
    }
    assert.ok(most > 500 && most <= 1000, String(most));
    await until("all are closed", () => server.connections().open === 0);
    for (const one of silent) one.destroy();
    await until("every descriptor is closed", () => (descriptors()?.open ?? 0) <= before + 5);
    const last = await Promise.all(Array.from({ length: 200 }, () => dial(server, undefined, "127.0.0.9")));
    const begun = performance.now();
    await server.stop();
    assert.ok(performance.now() - begun < 2000);
    await until("all are closed", () => server.connections().open === 0);
    for (const one of last) one.destroy();
  });

  it("push the oldest unfinished handshake out, not the newest (handshake flood)", async () => {
    const server = await start({ handshake: 60_000, unfinished: 10 });
    const peers: Socket[] = [];
    for (let i = 0; i < 15; i++) peers.push(await dial(server));
    await until("ten stay", () => server.connections().unfinished === 10);
    await until("five are closed", () =>
      peers.slice(0, 5).every((peer) => peer.readableEnded || peer.destroyed),
    );
    assert.ok(peers.slice(5).every((peer) => !peer.readableEnded && !peer.destroyed));
    assert.equal(server.connections().refused, 5);
    for (const peer of peers) peer.destroy();
  });
});

describe("the limit of one address", () => {
  it("counts what lives: a connection that ended makes room", async () => {
    const server = await start({ handshake: 60_000, connectionsPerAddress: 3 });
    const three = await Promise.all([dial(server), dial(server), dial(server)]);
    await assert.rejects(ask(server));
    three[0]!.destroy();
    await until("there is room", () => server.connections().open === 2);
    assert.equal(await ask(server), 200);
    for (const one of three) one.destroy();
  });

  it("does not hold for a balancer's address, and holds for the others", async () => {
    const limits = {
      handshake: 60_000,
      connectionsPerAddress: 3,
      handshakes: { burst: 3, refillMs: 60_000 },
    };
    const server = await start({ ...limits, sharedAddresses: ["127.0.0.1"] });
    const many = await Promise.all(Array.from({ length: 10 }, () => dial(server)));
    assert.equal(await ask(server), 200);
    assert.equal(server.connections().refused, 0);
    const strangers = await Promise.all(
      Array.from({ length: 10 }, () => dial(server, undefined, "127.0.0.2")),
    );
    await until("seven are refused", () => server.connections().refused === 7);
    for (const one of [...many, ...strangers]) one.destroy();
  });
});

describe("a stop", () => {
  for (const [what, way] of [
    ["silent before the handshake", (server: HttpServer) => dial(server)],
    ["silent after the handshake", (server: HttpServer) => shaken(server)],
  ] as const) {
    it(`ends within its limit with connections that are ${what}`, async () => {
      const server = await start({
        handshake: 60_000,
        headers: 60_000,
        request: 60_000,
        keepAlive: 60_000,
        drain: 500,
      });
      const peers = await Promise.all(Array.from({ length: 20 }, () => way(server)));
      const begun = performance.now();
      await server.stop();
      assert.ok(performance.now() - begun < 1500);
      await until("all are closed", () => server.connections().open === 0);
      for (const peer of peers) peer.destroy();
    });
  }
});
