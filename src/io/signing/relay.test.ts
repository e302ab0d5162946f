// The relay from outside: what it lets in, how much of it, and what it says to others.

import assert from "node:assert/strict";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { type TLSSocket } from "node:tls";
import { after, before, describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { encodeFrame, HEADER, MAX_PAYLOAD } from "../../signing/wire/frame.ts";
import type { SigningRig } from "../../testing/signing-rig.ts";
import { nextFrame } from "./frame-stream.ts";
import { connectPinned, type Identity } from "./pinned-tls.ts";
import { identity, startRig } from "../../testing/signing-people.ts";

let rig: SigningRig;
before(async () => {
  rig = await startRig();
});
after(() => rig.close());

const through = (port: number) =>
  rig.description({ gateways: [{ address: `127.0.0.1:${port}`, spki: rig.gatewayIdentity.spki }] });

describe("the relay", () => {
  const raw = async (who?: Identity): Promise<TLSSocket> => {
    const socket = await connectPinned(
      { host: "127.0.0.1", port: rig.ports.clients, pin: rig.gatewayIdentity.spki },
      who ?? (await identity()),
    );
    socket.on("error", () => {});
    return socket;
  };
  const closed = (socket: Socket): Promise<void> =>
    new Promise((resolve) => socket.once("close", () => resolve()).resume());

  it("closes a connection that announces an oversize frame, before its payload", async () => {
    const socket = await raw();
    const header = new Uint8Array(HEADER);
    header[0] = 3;
    new DataView(header.buffer).setUint32(9, MAX_PAYLOAD + 1);
    socket.write(header);
    await closed(socket);
  });

  it("closes a connection that greets with something else than a greeting", async () => {
    for (const payload of ["{", '{"role":"signer","signer":"signer-1"}', '{"role":"client"}']) {
      const socket = await raw();
      socket.write(encodeFrame({ type: "hello", session: 0n, payload: toUtf8(payload) }));
      await closed(socket);
    }
  });

  it("closes a connection whose greeting is slow", { timeout: 15_000 }, async () => {
    const socket = await raw();
    socket.write(Uint8Array.of(1, 0));
    const from = performance.now();
    await closed(socket);
    assert.ok(performance.now() - from < 10_000);
  });

  it("refuses a signer whose key it does not know", async () => {
    const socket = await connectPinned(
      { host: "127.0.0.1", port: rig.ports.signers, pin: rig.gatewayIdentity.spki },
      await identity(),
    );
    socket.on("error", () => {});
    socket.write(
      encodeFrame({ type: "hello", session: 0n, payload: toUtf8('{"role":"signer","signer":"signer-1"}') }),
    );
    await closed(socket);
  });

  it("ends a session that uses up its byte budget", async () => {
    const socket = await raw();
    socket.write(
      encodeFrame({ type: "hello", session: 0n, payload: toUtf8('{"role":"client","signer":"*"}') }),
    );
    const { session } = await nextFrame(socket, "open", 5000);
    for (let i = 0; i < 6; i++)
      socket.write(encodeFrame({ type: "data", session, payload: new Uint8Array(MAX_PAYLOAD) }));
    await closed(socket);
  });

  it("says that no signer is there when the wanted one is not", async () => {
    const socket = await raw();
    socket.write(
      encodeFrame({ type: "hello", session: 0n, payload: toUtf8('{"role":"client","signer":"ghost"}') }),
    );
    await assert.rejects(nextFrame(socket, "open", 10_000), { code: "signing/unreachable" });
  });

  it("is refused by a client that expects another key", async () => {
    await assert.rejects(
      rig
        .client({
          service: rig.description({
            gateways: [{ address: `127.0.0.1:${rig.ports.clients}`, spki: "0".repeat(64) }],
          }),
          patience: 0,
        })
        .certificates(),
      { code: "signing/wrong-peer" },
    );
  });

  it("that is not there is a matter of the network", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    await assert.rejects(rig.client({ service: through(port), patience: 0 }).certificates(), {
      code: "signing/unreachable",
    });
  });
});
