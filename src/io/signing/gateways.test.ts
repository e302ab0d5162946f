// Several gateways, some of which are down, hang, lie about their key, refuse, or lose their host without a word.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { after, before, describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { SigningRig, until, wishFor } from "../../testing/signing-rig.ts";
import { TcpProxy } from "../../testing/tcp-proxy.ts";
import { systemClock } from "../system/clock.ts";
import { noLog, type Log } from "../system/log.ts";
import { identityOf, serverOptions, type Identity } from "./pinned-tls.ts";
import { systemRandom } from "../system/random.ts";
import { GatewayDialler } from "./signer-dial.ts";

const CONFIG = `
[users.build]
kind = "machine"
keys = ["@ci"]
[keys.release]
custody = "file"
scheme = "ecdsa-sha2-nistp256"
[certificates.release]
key = "release"
[certificates.release.policy.default]
users = ["build"]
operations = ["cms"]
`;
const GATEWAY = `[limits]
wait-seconds = 1
connects-per-second = 1000
connects-burst = 1000
`;
const identity = (): Promise<Identity> =>
  identityOf(generateKeyPairSync("ed25519").privateKey, systemClock, systemRandom);
const portOf = (server: Server): number => (server.address() as AddressInfo).port;
async function listening<S extends Server>(server: S): Promise<S> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

let rig: SigningRig;
before(async () => {
  rig = await SigningRig.start({ config: CONFIG, gateway: GATEWAY, gateways: 2 });
});
after(() => rig.close());

/** The honest second gateway, after a bad first one. */
const behind = (address: string, spki = rig.gateways[0]!.identity.spki) =>
  rig.description({ gateways: [{ address, spki }, rig.gateways[1]!.described] });

/** Signs with many clients, so that about half of them meet the bad gateway first; gives the longest time that one took. */
async function slowestOf(service: ReturnType<typeof behind>, trouble: string[] = []): Promise<number> {
  const times = await Promise.all(
    Array.from({ length: 10 }, async (_, i) => {
      const from = performance.now();
      const client = rig.client({ service, trouble: (sentence) => trouble.push(sentence) });
      const signed = await client.sign(wishFor(toUtf8(`${i}`)), await client.certificate("release"));
      assert.equal(signed.state, "signed");
      return performance.now() - from;
    }),
  );
  return Math.max(...times);
}

describe("a client with two gateways", { concurrency: true }, () => {
  it("is served although one is down", async () => {
    const gone = await listening(createServer());
    const port = portOf(gone);
    await new Promise((resolve) => gone.close(resolve));
    await slowestOf(behind(`127.0.0.1:${port}`));
  });

  it("spends at most the time of a handshake on one that takes connections and says nothing", async () => {
    const sockets = new Set<Socket>();
    const mute = await listening(createServer((socket) => void sockets.add(socket)));
    try {
      assert.ok((await slowestOf(behind(`127.0.0.1:${portOf(mute)}`))) < 9000);
    } finally {
      for (const socket of sockets) socket.destroy();
      mute.close();
    }
  });

  it("spends a few seconds on one that greets and never pairs", async () => {
    const sockets = new Set<Socket>();
    const server = createTlsServer(serverOptions(rig.gateways[0]!.identity), (socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
    });
    await listening(server);
    try {
      assert.ok((await slowestOf(behind(`127.0.0.1:${portOf(server)}`))) < 9000);
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });

  it("is served although one has another key than its description says, and hears of it", async () => {
    const trouble: string[] = [];
    await slowestOf(behind(`127.0.0.1:${rig.gateways[0]!.ports.clients}`, "0".repeat(64)), trouble);
    assert.ok(trouble.length > 0 && trouble.every((sentence) => /another key/.test(sentence)));
  });

  it("is served although one has no signer, and is told so when neither has", async () => {
    const empty = await SigningRig.start({ config: CONFIG, gateway: GATEWAY });
    try {
      await empty.signers[0]!.stop();
      const { address, spki } = empty.gateways[0]!.described;
      assert.ok((await slowestOf(behind(address, spki))) < 9000);
      const service = rig.description({ gateways: [{ address, spki }] });
      await assert.rejects(rig.client({ service, patience: 0 }).certificates(), {
        code: "signing/unreachable",
        message: /no signer is connected/,
      });
    } finally {
      await empty.close();
    }
  });

  it("is served although one refuses its key; a refusal by all is final at once", async () => {
    const strict = await SigningRig.start({
      config: CONFIG,
      gateway: `[clients]\nallow = ["${"1".repeat(64)}"]\n${GATEWAY}`,
    });
    try {
      const { address, spki } = strict.gateways[0]!.described;
      await slowestOf(behind(address, spki));
      const from = performance.now();
      const service = rig.description({ gateways: [{ address, spki }] });
      await assert.rejects(rig.client({ service }).certificates(), {
        code: "signing/refused",
        message: /may not connect/,
      });
      assert.ok(performance.now() - from < 5000);
    } finally {
      await strict.close();
    }
  });
});

describe("a client in the middle of a call", () => {
  it("goes on through the other when one goes silent in the middle of a call, and the file is signed once", async () => {
    const wire = await TcpProxy.to(rig.gateways[0]!.ports.clients);
    try {
      const service = behind(wire.address);
      const made = rig.keys.made;
      let release = (): void => {};
      const held = new Promise<void>((resolve) => (release = resolve));
      let asked = 0;
      rig.keys.before = () => {
        asked++;
        return held;
      };
      const client = rig.client({
        service: { ...service, gateways: [service.gateways[0]!] },
        silence: 300,
      });
      let through = rig.client({ service, silence: 300 });
      const offered = await client.certificate("release");
      // Until a client's session is on the wire.
      for (await through.certificates(); wire.connections < 2; await through.certificates())
        through = rig.client({ service, silence: 300 });
      const under = through.sign(wishFor(toUtf8("silent")), offered);
      await until("the key is asked", () => asked > 0);
      wire.freeze();
      wire.freezeNew();
      await systemClock.sleep(50);
      release();
      assert.equal((await under).state, "signed");
      assert.equal(rig.keys.made, made + 1);
    } finally {
      rig.keys.before = async () => {};
      wire.close();
    }
  });
});

describe("a signer", () => {
  const lines: { event: string; code: unknown }[] = [];
  const say: Log = (_level, event, facts = {}) => void lines.push({ event, code: facts["code"] });
  const dial = (address: string, spki: string, log: Log = noLog): GatewayDialler =>
    new GatewayDialler(
      { address, spki },
      {
        clock: systemClock,
        random: systemRandom,
        say: log,
        identity: rig.signers[0]!.identity,
        name: "signer-1",
        idle: 3,
        most: 16,
        pingEvery: 100,
        session: () => assert.fail("no session"),
      },
    );

  it("notices by its pings that a gateway's host vanished without a word, and dials again", async () => {
    const gateway = rig.gateways[0]!;
    const wire = await TcpProxy.to(gateway.ports.signers);
    const dialler = dial(wire.address, gateway.identity.spki);
    try {
      await until("three connections", () => wire.connections === 3);
      // Pings are answered, so nothing is dialled anew meanwhile.
      await systemClock.sleep(500);
      assert.equal(wire.connections, 3);
      wire.freeze();
      const from = performance.now();
      await until("three more", () => wire.connections === 6);
      assert.ok(performance.now() - from < 5000);
    } finally {
      await dialler.stop();
      wire.close();
    }
  });

  it("dials a gateway again that was restarted, and not one that came back with another key", async () => {
    const one = await SigningRig.start({ config: CONFIG, gateway: GATEWAY, pingEvery: 100, say });
    try {
      const [gateway, signer] = [one.gateways[0]!, one.signers[0]!];
      await until("idle", () => gateway.relay.counters().idle === 4);
      await gateway.relay.close();
      await gateway.start(await identity());
      await until("a wrong key is seen", () => lines.some(({ code }) => code === "signing/wrong-peer"));
      assert.equal(gateway.relay.counters().idle, 0);
      await assert.rejects(one.client({ patience: 0 }).certificates(), { code: "signing/wrong-peer" });
      await gateway.relay.close();
      await gateway.start();
      await until("idle again", () => gateway.relay.counters().idle === 4);
      assert.ok(signer.running);
    } finally {
      await one.close();
    }
  });
});

describe("a gateway", () => {
  it("gives up idle connections of a signer whose host vanished, so that no client gets one", async () => {
    const one = await SigningRig.start({ config: CONFIG, gateway: GATEWAY, pingEvery: 100 });
    try {
      const gateway = one.gateways[0]!;
      const wire = await TcpProxy.to(gateway.ports.signers);
      await one.signers[0]!.stop();
      const dialler = new GatewayDialler(
        { address: wire.address, spki: gateway.identity.spki },
        {
          clock: systemClock,
          random: systemRandom,
          say: noLog,
          identity: one.signers[0]!.identity,
          name: "signer-1",
          idle: 4,
          most: 16,
          pingEvery: 100,
          session: () => assert.fail("no session"),
        },
      );
      try {
        await until("idle", () => gateway.relay.counters().idle === 4);
        wire.freezeNew();
        wire.freeze();
        await until("given up", () => gateway.relay.counters().idle === 0);
      } finally {
        await dialler.stop();
        wire.close();
      }
    } finally {
      await one.close();
    }
  });
});
