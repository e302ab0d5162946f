// The signer's side of the gateways: keeps idle connections dialled, and turns each paired one into an inner session.

import type { TLSSocket } from "node:tls";
import type { Clock } from "../../core/clock.ts";
import { toHex } from "../../core/bytes.ts";
import { fraction, type Random } from "../../core/random.ts";
import type { GatewayConfig } from "../../signing/policy/config.ts";
import { SigningError } from "../../signing/errors.ts";
import { encodeFrame, type Frame } from "../../signing/wire/frame.ts";
import { encodeGreeting, readOpenForSigner, type OpenForSigner } from "../../signing/wire/greeting.ts";
import {
  encodeMessage,
  EXPORTER_LABEL,
  MessageReader,
  parseCall,
  type CallMessage,
  type ReplyMessage,
} from "../../signing/wire/protocol.ts";
import type { Peer, SigningSession } from "../../signing/wire/session.ts";
import { BatchWriter } from "../system/batch-writer.ts";
import type { Proxies } from "../connection/proxies.ts";
import { FrameDuplex, nextFrame } from "./frame-stream.ts";
import type { Log } from "../system/log.ts";
import { accept, connectPinned, splitAddress, type Identity } from "./pinned-tls.ts";

export type DialPorts = {
  readonly clock: Clock;
  readonly random: Random;
  readonly say: Log;
  readonly identity: Identity;
  /** None by default. */
  readonly proxies?: Proxies;
  readonly name: string;
  readonly idle: number;
  readonly most: number;
  /** A new session for a peer that proved its key. */
  readonly session: (peer: Peer) => SigningSession;
  /** Milliseconds between pings on idle connections; a gateway that answers none in two and a half times as long is given up. */
  readonly pingEvery?: number;
  /** Milliseconds that a peer has to sign in. */
  readonly signInWithin?: number;
};

const PING_EVERY = 10_000;
/** A paired connection may be silent for so much longer than the gateway allows before it counts as dead. */
const IDLE_GRACE = 10_000;
/** A stranger holds a session no longer than a person needs for a password and a code. */
const SIGN_IN_WITHIN = 90_000;
/** Replies that a client does not take: no more of its calls are read until it does. */
const MAX_UNREAD = 256 * 1024;
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
  /** Connections that carry a session, from the moment the gateway paired them. */
  readonly #busy = new Set<TLSSocket>();
  readonly #retries = new Set<NodeJS.Timeout>();
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
    this.#stopDialling();
    for (const socket of this.#sockets) if (!this.#busy.has(socket)) socket.destroy();
  }

  /** Stops dialling, ends every session, closes every connection. */
  async stop(): Promise<void> {
    this.#stopDialling();
    for (const [session] of this.#sessions) await session.end("the signer stops");
    for (const socket of this.#sockets) socket.destroy();
  }

  #stopDialling(): void {
    this.#stopped = true;
    for (const retry of this.#retries) clearTimeout(retry);
    this.#retries.clear();
  }

  #fill(): void {
    while (
      !this.#stopped &&
      this.#idle < this.#ports.idle &&
      this.#busy.size + this.#idle < this.#ports.most
    ) {
      this.#idle++;
      let counted = true;
      const taken = (): void => {
        if (counted) this.#idle--;
        counted = false;
      };
      void this.#connection(taken).then(
        () => {
          taken();
          this.#fill();
        },
        (error: unknown) => {
          if (this.#stopped) return;
          const wait =
            Math.min(10_000, 100 * 2 ** Math.min(this.#failures++, 7)) * (0.5 + fraction(this.#ports.random));
          this.#ports.say("warn", "gateway-unreachable", {
            gateway: this.#gateway.address,
            what: String((error as Error).message),
            code: String((error as { code?: string }).code ?? ""),
          });
          const retry = setTimeout(() => {
            this.#retries.delete(retry);
            taken();
            this.#fill();
          }, wait);
          retry.unref();
          this.#retries.add(retry);
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
      this.#ports.proxies,
    );
    if (this.#stopped) return void socket.destroy();
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
    const payload = encodeGreeting({ role: "signer", signer: name });
    socket.write(encodeFrame({ type: "hello", session: 0n, payload }));
    let session: bigint;
    let facts: OpenForSigner;
    try {
      const open = await this.#paired(socket);
      session = open.session;
      facts = readOpenForSigner(open.payload);
    } catch (error) {
      socket.destroy();
      // An idle connection that simply ends is dialled again at once, but a gateway that keeps refusing is not hammered.
      if (this.#stopped) return;
      throw error;
    }
    this.#failures = 0;
    this.#busy.add(socket);
    socket.once("close", () => this.#busy.delete(socket));
    taken();
    this.#fill();
    try {
      await this.#serve(socket, session, facts);
    } catch (error) {
      say("info", "session-failed", { what: String((error as Error).message) });
    } finally {
      socket.destroy();
      this.#busy.delete(socket);
    }
  }

  /**
   * Waits on an idle connection until the gateway pairs it. Pings go out and must come back: a gateway whose host vanished says nothing
   * at all, and TCP alone would not notice for a long time.
   */
  async #paired(socket: TLSSocket): Promise<Frame> {
    const every = this.#ports.pingEvery ?? PING_EVERY;
    let heard = performance.now();
    const hear = (): void => void (heard = performance.now());
    const ping = setInterval(() => {
      if (performance.now() - heard > 2.5 * every)
        socket.destroy(new SigningError("signing/unreachable", "The gateway fell silent."));
      else if (!socket.destroyed)
        socket.write(encodeFrame({ type: "ping", session: 0n, payload: new Uint8Array(0) }));
      // It was not turned away at once, so this gateway serves.
      this.#failures = 0;
    }, every);
    ping.unref();
    socket.on("data", hear);
    try {
      return await nextFrame(socket, "open", IDLE_LIFE);
    } finally {
      clearInterval(ping);
      socket.off("data", hear);
    }
  }

  async #serve(outer: TLSSocket, id: bigint, { address, idle }: OpenForSigner): Promise<void> {
    const { identity, session: make } = this.#ports;
    // The gateway ends idle sessions; one that cannot say so any more must not hold a place here.
    outer.setTimeout(idle * 1000 + IDLE_GRACE, () => outer.destroy());
    const { socket, peer } = await accept(new FrameDuplex(outer, id), identity);
    const binding = toHex(new Uint8Array(socket.exportKeyingMaterial(32, EXPORTER_LABEL, Buffer.alloc(0))));
    const session = make({ key: peer.publicKey, binding, address });
    this.#sessions.set(session, outer);
    const stranger = setTimeout(() => {
      if (session.user === "") outer.destroy();
    }, this.#ports.signInWithin ?? SIGN_IN_WITHIN);
    stranger.unref();
    const reader = new MessageReader();
    const replies = new BatchWriter(socket, () => goOn());
    const encoded = (call: CallMessage, reply: ReplyMessage): Uint8Array => {
      try {
        return encodeMessage(reply);
      } catch (error) {
        // An answer that is too long concerns one call; it must not end this process.
        return encodeMessage(session.unforeseen(call, error));
      }
    };
    let running = 0;
    const goOn = (): void => {
      const unread = socket.writableLength + replies.waiting;
      const open = running < IN_FLIGHT && unread < MAX_UNREAD;
      if (open && socket.isPaused()) socket.resume();
      else if (!open && !socket.isPaused()) socket.pause();
    };
    await new Promise<void>((resolve) => {
      socket.on("error", () => socket.destroy());
      socket.once("close", () => resolve());
      // Nobody is there any more for what was not read or not written yet.
      outer.once("close", () => socket.destroy());
      socket.on("drain", goOn);
      socket.on("data", (part: Buffer) => {
        try {
          for (const bytes of reader.push(part)) {
            const call = parseCall(bytes);
            running++;
            void session.handle(call).then((reply) => {
              running--;
              replies.write(encoded(call, reply));
              if (session.ended) {
                replies.flush();
                socket.end();
              }
              goOn();
            });
          }
          goOn();
        } catch (error) {
          this.#ports.say("info", "bad-message", {
            session: session.id,
            what: String((error as Error).message).slice(0, 300),
          });
          socket.destroy();
        }
      });
    });
    clearTimeout(stranger);
    this.#sessions.delete(session);
    await session.end("closed");
  }
}
