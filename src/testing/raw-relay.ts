// A relay with bare connections on both sides, for tests that send what no honest program would.

import { generateKeyPairSync } from "node:crypto";
import { connect } from "node:net";
import type { TLSSocket } from "node:tls";
import { toUtf8 } from "../core/bytes.ts";
import { systemClock } from "../io/system/clock.ts";
import { nextFrame, onFrames } from "../io/signing/frame-stream.ts";
import { noLog, type Log } from "../io/system/log.ts";
import { handshake, identityOf, type Identity } from "../io/signing/pinned-tls.ts";
import { systemRandom } from "../io/system/random.ts";
import { startRelay, type Relay } from "../io/signing/relay.ts";
import { encodeFrame, type FrameType } from "../signing/wire/frame.ts";
import { parseGatewayConfig, type GatewayConfig } from "../signing/wire/gateway-config.ts";

export const newIdentity = (): Promise<Identity> =>
  identityOf(generateKeyPairSync("ed25519").privateKey, systemClock, systemRandom);

export class RawRelay {
  readonly relay: Relay;
  readonly config: GatewayConfig;
  readonly #gateway: Identity;
  readonly #signer: Identity;
  readonly #sockets = new Set<TLSSocket>();

  private constructor(relay: Relay, config: GatewayConfig, gateway: Identity, signer: Identity) {
    this.relay = relay;
    this.config = config;
    this.#gateway = gateway;
    this.#signer = signer;
  }

  /** `limits` as in gateway.toml; a test may set what the file could not, such as half a second. */
  static async start(limits: Partial<GatewayConfig["limits"]> = {}, say: Log = noLog): Promise<RawRelay> {
    const [gateway, signer] = [await newIdentity(), await newIdentity()];
    const text = `version = 1
[listen]
clients = "127.0.0.1:0"
signers = "127.0.0.1:0"
[signers.signer-1]
spki = "${signer.spki}"
`;
    const parsed = parseGatewayConfig(text, "gateway.toml");
    const config = { ...parsed, limits: { ...parsed.limits, "wait-seconds": 1, ...limits } };
    const relay = await startRelay(config, gateway, { clock: systemClock, random: systemRandom, say });
    return new RawRelay(relay, config, gateway, signer);
  }

  /** A connection after its handshake, before its greeting. `from` is a source address of loopback. */
  async connect(side: "clients" | "signers", who?: Identity, from = "127.0.0.1"): Promise<TLSSocket> {
    const tcp = connect({ port: this.relay[side], host: "127.0.0.1", localAddress: from });
    const socket = await handshake(tcp, this.#gateway.spki, who ?? (await newIdentity()), "the relay");
    socket.on("error", () => {});
    this.#sockets.add(socket);
    return socket;
  }

  /** A client that asked for any signer. */
  async client(who?: Identity, from?: string): Promise<TLSSocket> {
    const socket = await this.connect("clients", who, from);
    send(socket, "hello", toUtf8('{"role":"client","signer":"*"}'));
    return socket;
  }

  /** An idle connection of the signer. */
  async signer(): Promise<TLSSocket> {
    const socket = await this.connect("signers", this.#signer);
    send(socket, "hello", toUtf8('{"role":"signer","signer":"signer-1"}'));
    return socket;
  }

  /** Both ends of a session that was just paired. */
  async session(who?: Identity, from?: string): Promise<RawSession> {
    const signer = await this.signer();
    const opened = nextFrame(signer, "open", 5000);
    const client = await this.client(who, from);
    const { session } = await nextFrame(client, "open", 5000);
    await opened;
    return { client, signer, session };
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await this.relay.close();
  }
}

export type RawSession = { readonly client: TLSSocket; readonly signer: TLSSocket; readonly session: bigint };

export function send(socket: TLSSocket, type: FrameType, payload: Uint8Array, session = 0n): boolean {
  return socket.write(encodeFrame({ type, session, payload }));
}

/** Reads everything that comes until the connection ends: the bytes of data, and the reason that the relay gave. */
export function drain(socket: TLSSocket): Promise<{ readonly data: number; readonly reason: string }> {
  return new Promise((resolve) => {
    let [data, reason] = [0, ""];
    onFrames(socket, (frame) => {
      if (frame.type === "data") data += frame.payload.length;
      if (frame.type === "close") reason = new TextDecoder().decode(frame.payload);
    });
    socket.once("close", () => resolve({ data, reason }));
    socket.resume();
  });
}
