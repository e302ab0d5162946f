// What somebody who owns a gateway can do: stop the work, and nothing else.

import assert from "node:assert/strict";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import type { AddressInfo } from "node:net";
import { after, before, describe, it } from "node:test";
import { toBase64, toUtf8 } from "../../core/bytes.ts";
import { encodeFrame } from "../../signing/wire/frame.ts";
import { signRequest } from "../../signing/request/request.ts";
import { newId, wishFor, type SigningRig } from "../../testing/signing-rig.ts";
import { systemClock } from "../system/clock.ts";
import { noLog } from "../system/log.ts";
import { systemRandom } from "../system/random.ts";
import { GatewayDialler } from "./signer-dial.ts";
import { nextFrame, onFrames } from "./frame-stream.ts";
import { connectPinned, serverOptions } from "./pinned-tls.ts";
import { CONFIG, identity, startRig } from "../../testing/signing-people.ts";

let rig: SigningRig;
before(async () => {
  rig = await startRig();
});
after(() => rig.close());

/** A gateway with the right key in the wrong hands: `relay` sees and may change every byte. */
async function hostileGateway(
  relay: (client: TLSSocket, signer: TLSSocket | null) => void,
): Promise<{ port: number; close: () => void }> {
  const sockets = new Set<TLSSocket>();
  const server = createTlsServer(serverOptions(rig.gatewayIdentity), async (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    await nextFrame(socket, "hello", 5000).catch(() => null);
    relay(socket, null);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

const opening = (session: bigint, facts: object) =>
  encodeFrame({ type: "open", session, payload: toUtf8(JSON.stringify(facts)) });

/** Connects the client to the honest relay, with every data frame in either direction going through `change`. */
async function manInTheMiddle(
  change: (direction: "up" | "down", payload: Uint8Array, n: number) => readonly Uint8Array[],
): Promise<{ port: number; close: () => void }> {
  return hostileGateway(async (client) => {
    const upstream = await connectPinned(
      { host: "127.0.0.1", port: rig.ports.clients, pin: rig.gatewayIdentity.spki },
      rig.clientIdentity,
    );
    upstream.on("error", () => {});
    upstream.write(
      encodeFrame({
        type: "hello",
        session: 0n,
        payload: toUtf8(JSON.stringify({ role: "client", signer: "*" })),
      }),
    );
    const { session, payload } = await nextFrame(upstream, "open", 5000);
    client.write(encodeFrame({ type: "open", session, payload }));
    const copy = (from: TLSSocket, to: TLSSocket, direction: "up" | "down"): void => {
      let n = 0;
      onFrames(from, (frame) => {
        if (frame.type !== "data") return void to.destroy();
        for (const part of change(direction, frame.payload, n++))
          to.write(encodeFrame({ type: "data", session, payload: part }));
      });
      from.once("close", () => to.destroy());
      from.resume();
    };
    copy(client, upstream, "up");
    copy(upstream, client, "down");
  });
}

const through = (port: number) =>
  rig.description({ gateways: [{ address: `127.0.0.1:${port}`, spki: rig.gatewayIdentity.spki }] });

describe("a hostile gateway", () => {
  it("that drops frames only stops the work", async () => {
    const evil = await manInTheMiddle((direction, payload, n) =>
      direction === "up" && n === 4 ? [] : [payload],
    );
    try {
      const client = rig.client({ service: through(evil.port), patience: 0, silence: 200 });
      await assert.rejects(client.certificates(), { code: "signing/unreachable" });
    } finally {
      evil.close();
    }
  });

  for (const [attack, change] of [
    ["changes a byte", (p: Uint8Array) => [p.with(p.length - 1, p[p.length - 1]! ^ 1)]],
    ["replays a frame", (p: Uint8Array) => [p, p]],
    ["reorders bytes", (p: Uint8Array) => [p.toReversed()]],
  ] as const) {
    it(`that ${attack} breaks the session and gets nothing signed`, async () => {
      const made = rig.keys.made;
      const evil = await manInTheMiddle((direction, payload, n) =>
        direction === "up" && n >= 3 ? change(payload) : [payload],
      );
      try {
        const client = rig.client({ service: through(evil.port), patience: 0 });
        await assert.rejects(
          client.certificates().then((offered) => client.sign(wishFor(toUtf8("evil")), offered[0]!)),
        );
        assert.equal(rig.keys.made, made);
      } finally {
        evil.close();
      }
    });
  }

  it("that lies about the signer's identity is refused before anything is said", async () => {
    const impostor = await identity();
    const evil = await hostileGateway(async (client) => {
      client.write(opening(1n, { signer: "signer-1", bytes: 1_000_000, idle: 30 }));
      const { FrameDuplex } = await import("./frame-stream.ts");
      const { accept } = await import("./pinned-tls.ts");
      await accept(new FrameDuplex(client, 1n), impostor).catch(() => {});
    });
    try {
      await assert.rejects(rig.client({ service: through(evil.port), patience: 0 }).certificates(), {
        code: "signing/wrong-peer",
      });
    } finally {
      evil.close();
    }
  });

  it("that splices a request of one session into another gets nothing signed", async () => {
    const made = rig.keys.made;
    await rig.client().certificates();
    const session = [...rig.sessions].at(-1)!;
    const now = new Date(Math.floor(systemClock.now() / 1000) * 1000).toISOString().replace(".000Z", "Z");
    const later = new Date(Math.floor(systemClock.now() / 1000) * 1000 + 60_000)
      .toISOString()
      .replace(".000Z", "Z");
    const envelope = await signRequest(
      {
        version: 1,
        id: newId(),
        requester: "build",
        certificate: "release",
        operation: wishFor(toUtf8("spliced")).operation,
        file: wishFor(toUtf8("spliced")).file,
        created: now,
        expires: later,
        session: "0".repeat(64),
        signer: "signer-1",
      },
      rig.clientIdentity.signer,
    );
    // The requester's own, valid request, but of another session: the exporter value differs.
    const client = rig.client();
    await client.certificates();
    const live = [...rig.sessions].at(-1)!;
    assert.notEqual(live, session);
    const reply = await live.handle({ seq: 99, type: "sign", envelope: toBase64(envelope) });
    assert.ok(!reply.ok && reply.code === "signing/bad-request");
    assert.equal(rig.keys.made, made);
  });

  it("that lies about source addresses gets past an address rule, and past no other", async () => {
    const under = (networks: string): string =>
      CONFIG.replace('names = ["*.bin"]', `names = ["*.bin"]\naddresses = [${networks}]`);
    const evil = await lyingGateway("10.1.2.3");
    const dialler = new GatewayDialler(
      { address: `127.0.0.1:${evil.port}`, spki: rig.gatewayIdentity.spki },
      {
        clock: systemClock,
        random: systemRandom,
        say: noLog,
        identity: rig.signers[0]!.identity,
        name: "signer-1",
        idle: 4,
        most: 16,
        session: rig.signers[0]!.session,
      },
    );
    try {
      const wish = wishFor(toUtf8("from afar"));
      const honest = rig.client();
      const lied = rig.client({ service: through(evil.port) });
      const offered = await honest.certificate("release");
      await rig.service.reconfigure(rig.settings(under('"127.0.0.0/8"')), "test");
      assert.equal((await honest.sign(wish, offered)).state, "signed");
      await assert.rejects(lied.sign(wish, offered), { code: "signing/denied" });
      await rig.service.reconfigure(rig.settings(under('"10.0.0.0/8"')), "test");
      await assert.rejects(honest.sign(wish, offered), { code: "signing/denied" });
      const denied = (await rig.entries()).findLast(({ kind }) => kind === "denied")!;
      assert.match(denied.kind === "denied" ? denied.reasons.join() : "", /address/);
      // This is all that it gains: the log says what it said, and the key still decides who asks.
      assert.equal((await lied.sign(wish, offered)).state, "signed");
      const intent = (await rig.entries()).findLast(({ kind }) => kind === "intent")!;
      assert.equal(intent.kind === "intent" && intent.address, "10.1.2.3");
      await assert.rejects(
        rig.client({ service: through(evil.port), identity: await identity() }).certificates(),
        { code: "signing/refused" },
      );
    } finally {
      await rig.service.reconfigure(rig.settings(), "test");
      await dialler.stop();
      evil.close();
    }
  });
});

/** Pairs clients and signers as an honest gateway does, but tells the signer another source address. */
async function lyingGateway(address: string): Promise<{ port: number; close: () => void }> {
  const sockets = new Set<TLSSocket>();
  const idle: TLSSocket[] = [];
  const copy = (from: TLSSocket, to: TLSSocket): void => {
    onFrames(from, (frame) => {
      if (frame.type === "data") to.write(encodeFrame(frame));
    });
    from.once("close", () => to.destroy());
    from.resume();
  };
  const server = createTlsServer(serverOptions(rig.gatewayIdentity), async (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    const { payload } = await nextFrame(socket, "hello", 5000);
    if (Buffer.from(payload).includes('"role":"signer"')) return void idle.push(socket);
    const signer = idle.shift()!;
    signer.write(opening(9n, { address, identity: "", idle: 30 }));
    socket.write(opening(9n, { signer: "signer-1", bytes: 1_000_000, idle: 30 }));
    copy(socket, signer);
    copy(signer, socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}
