// The signer's side of the gateways: keeps idle connections dialled, and turns each paired one into an inner session.

import type { TLSSocket } from "node:tls";
import type { Clock } from "../core/clock.ts";
import { toHex, toUtf8 } from "../core/bytes.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import { fraction, type Random } from "../core/random.ts";
import type { GatewayConfig } from "../signing/config.ts";
import { encodeFrame } from "../signing/frame.ts";
import { encodeMessage, EXPORTER_LABEL, MessageReader, parseCall } from "../signing/protocol.ts";
import type { Peer, SigningSession } from "../signing/session.ts";
import { BatchWriter } from "./batch-writer.ts";
import { FrameDuplex, nextFrame } from "./frame-stream.ts";
import type { Log } from "./log.ts";
import { accept, connectPinned, splitAddress, type Identity } from "./pinned-tls.ts";

export type DialPorts = {
  readonly clock: Clock;
  readonly random: Random;
  readonly say: Log;
  readonly identity: Identity;
  readonly name: string;
  readonly idle: number;
  readonly most: number;
  /** A new session for a peer that proved its key. */
  readonly session: (peer: Peer) => SigningSession;
};

const PING_EVERY = 20_000;
/** An idle connection is made anew after this long, so that a dead one is never the last hope. */
const IDLE_LIFE = 15 * 60_000;
/** Calls of one session that are worked on at a time. */
const IN_FLIGHT = 256;

/** Keeps `idle` connections at one gateway until stopped. */
export class GatewayDialler {
  readonly #gateway: GatewayConfig;
  readonly #ports: DialPorts;
  readonly #sockets = new Set<TLSSocket>();
  readonly #sessions = new Map<SigningSession, TLSSocket>();
  #idle = 0;
  #stopped = false;
  #failures = 0;

  constructor(gateway: GatewayConfig, ports: DialPorts) {
    this.#gateway = gateway;
    this.#ports = ports;
    this.#fill();
  }

  get address(): string {
    return this.#gateway.address;
  }

  /** Ends sessions whose user is no longer welcome or whose time is up. */
  async review(): Promise<void> {
    for (const [session, socket] of this.#sessions) {
      if (await session.review()) socket.destroy();
    }
  }

  /** No new connections; sessions that run go on to their end. */
  retire(): void {
    this.#stopped = true;
    const busy = new Set(this.#sessions.values());
    for (const socket of this.#sockets) if (!busy.has(socket)) socket.destroy();
  }

  /** Stops dialling, lets running calls answer for a moment, then closes. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const [session] of this.#sessions) await session.end("the signer stops");
    for (const socket of this.#sockets) socket.destroy();
  }

  #fill(): void {
    while (
      !this.#stopped &&
      this.#idle < this.#ports.idle &&
      this.#sessions.size + this.#idle < this.#ports.most
    ) {
      this.#idle++;
      let counted = true;
      const taken = (): void => {
        if (counted) this.#idle--;
        counted = false;
      };
      void this.#connection(taken).then(
        () => {
          this.#failures = 0;
          taken();
          this.#fill();
        },
        (error: unknown) => {
          const wait =
            Math.min(10_000, 100 * 2 ** Math.min(this.#failures++, 7)) * (0.5 + fraction(this.#ports.random));
          this.#ports.say("warn", "gateway-unreachable", {
            gateway: this.#gateway.address,
            what: String((error as Error).message),
            code: String((error as { code?: string }).code ?? ""),
          });
          setTimeout(() => {
            taken();
            this.#fill();
          }, wait).unref();
        },
      );
    }
  }

  /** From dialling to the end of the one session that it carries. */
  async #connection(taken: () => void): Promise<void> {
    const { identity, name, say } = this.#ports;
    const socket = await connectPinned(
      { ...splitAddress(this.#gateway.address), pin: this.#gateway.spki },
      identity,
    );
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
    const hello = toUtf8(JSON.stringify({ role: "signer", signer: name }));
    socket.write(encodeFrame({ type: "hello", session: 0n, payload: hello }));
    const ping = setInterval(() => {
      if (!socket.destroyed)
        socket.write(encodeFrame({ type: "ping", session: 0n, payload: new Uint8Array(0) }));
    }, PING_EVERY);
    ping.unref();
    let open;
    try {
      open = await nextFrame(socket, "open", IDLE_LIFE);
    } catch (error) {
      socket.destroy();
      // An idle connection that simply ends is dialled again at once, but a gateway that keeps refusing is not hammered.
      if (this.#stopped) return;
      throw error;
    } finally {
      clearInterval(ping);
    }
    this.#failures = 0;
    taken();
    this.#fill();
    const facts = parseJson(open.payload);
    const address = isJsonObject(facts) && typeof facts["address"] === "string" ? facts["address"] : "";
    try {
      await this.#serve(socket, open.session, address);
    } catch (error) {
      say("info", "session-failed", { what: String((error as Error).message) });
    } finally {
      socket.destroy();
    }
  }

  async #serve(outer: TLSSocket, id: bigint, address: string): Promise<void> {
    const { identity, session: make } = this.#ports;
    const { socket, peer } = await accept(new FrameDuplex(outer, id), identity);
    const binding = toHex(new Uint8Array(socket.exportKeyingMaterial(32, EXPORTER_LABEL, Buffer.alloc(0))));
    const session = make({ key: peer.publicKey, binding, address });
    this.#sessions.set(session, outer);
    const reader = new MessageReader();
    const replies = new BatchWriter(socket);
    let running = 0;
    await new Promise<void>((resolve) => {
      socket.on("error", () => socket.destroy());
      socket.once("close", () => resolve());
      socket.on("data", (part: Buffer) => {
        try {
          for (const bytes of reader.push(part)) {
            const call = parseCall(bytes);
            if (++running >= IN_FLIGHT) socket.pause();
            void session.handle(call).then((reply) => {
              if (--running < IN_FLIGHT) socket.resume();
              replies.write(encodeMessage(reply));
              if (!session.ended) return;
              replies.flush();
              socket.end();
            });
          }
        } catch (error) {
          this.#ports.say("info", "bad-message", {
            session: session.id,
            what: String((error as Error).message).slice(0, 300),
          });
          socket.destroy();
        }
      });
    });
    this.#sessions.delete(session);
    await session.end("closed");
  }
}
