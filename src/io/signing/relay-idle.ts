// The signers that wait at a gateway: idle connections, known to be alive by their pings, handed out one session each.

import type { TLSSocket } from "node:tls";
import { encodeFrame } from "../../signing/wire/frame.ts";
import { encodeClose } from "../../signing/wire/greeting.ts";
import { onFrames } from "./frame-stream.ts";

export type Leg = { readonly socket: TLSSocket; readonly spki: string; readonly address: string };
export type IdleSigner = Leg & { readonly name: string };
type Held = IdleSigner & { heard: number; readonly let: () => void };
type Waiting = { readonly want: string; readonly give: (signer: IdleSigner) => void };

/** Why nobody came out of the line. */
export type NoSigner = "no-signer" | "too-many-wait" | "gone";

export class IdleSigners {
  readonly #idle: Held[] = [];
  readonly #waiting: Waiting[] = [];
  readonly #silence: number;
  readonly #sweep: NodeJS.Timeout;
  /** Connections that fell silent, or were more than a signer may keep. */
  dropped = 0;

  /** `silence`: milliseconds without a ping after which a connection is not believed to be alive. */
  constructor(silence: number) {
    this.#silence = silence;
    this.#sweep = setInterval(() => this.#dropSilent(), Math.max(20, silence / 8));
    this.#sweep.unref();
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Idle connections by signer. */
  count(): { readonly [signer: string]: number } {
    const counts: { [signer: string]: number } = {};
    for (const { name } of this.#idle) counts[name] = (counts[name] ?? 0) + 1;
    return counts;
  }

  close(): void {
    clearInterval(this.#sweep);
  }

  /** Keeps at most `most` of one signer: of more the oldest goes, which is the least likely to be alive. */
  offer(signer: IdleSigner, most: number): void {
    if (signer.socket.destroyed) return;
    const index = this.#waiting.findIndex(({ want }) => want === "*" || want === signer.name);
    if (index >= 0) {
      this.#waiting.splice(index, 1)[0]!.give(signer);
      return;
    }
    const { socket } = signer;
    const gone = (): void => this.#remove(held);
    // An idle connection sends pings and nothing else. Each is answered, so that the signer knows that we are here too.
    const stop = onFrames(socket, (frame) => {
      if (frame.type !== "ping") return void socket.destroy();
      held.heard = performance.now();
      // Somebody who pings without reading the answers gets no more of them.
      if (socket.writableLength === 0) socket.write(encodeFrame(frame));
    });
    const held: Held = {
      ...signer,
      heard: performance.now(),
      let: () => {
        socket.pause();
        stop();
        socket.off("close", gone);
        this.#remove(held);
      },
    };
    socket.once("close", gone);
    this.#idle.push(held);
    socket.resume();
    const own = this.#idle.filter(({ name }) => name === signer.name);
    if (own.length > most) this.#drop(own[0]!, "this signer keeps enough idle connections");
  }

  /** Those of signers that are no longer known leave. */
  keep(known: (signer: IdleSigner) => boolean): void {
    for (const held of this.#idle.slice())
      if (!known(held)) this.#drop(held, "this key is of no signer here");
  }

  /** The connection that waited longest, so that several signers share the work; or the next that comes within `wait` milliseconds. */
  take(
    want: string,
    client: TLSSocket,
    limits: { readonly wait: number; readonly waiting: number },
  ): Promise<IdleSigner | NoSigner> {
    const held = this.#idle.find(({ name, socket }) => (want === "*" || name === want) && !socket.destroyed);
    if (held !== undefined) {
      held.let();
      return Promise.resolve(held);
    }
    if (this.#waiting.length >= limits.waiting) return Promise.resolve("too-many-wait");
    return new Promise((resolve) => {
      const finish = (outcome: IdleSigner | NoSigner): void => {
        const index = this.#waiting.indexOf(waiting);
        if (index >= 0) this.#waiting.splice(index, 1);
        clearTimeout(timer);
        client.off("close", gone);
        client.pause();
        stop();
        resolve(outcome);
      };
      const waiting: Waiting = { want, give: finish };
      const gone = (): void => finish("gone");
      const timer = setTimeout(() => finish("no-signer"), limits.wait);
      client.once("close", gone);
      // Read on, to hear of one that leaves; before it is paired a client has nothing to say.
      const stop = onFrames(client, (frame) => {
        if (frame.type !== "ping") client.destroy();
      });
      this.#waiting.push(waiting);
      client.resume();
    });
  }

  #dropSilent(): void {
    const now = performance.now();
    for (const held of this.#idle.slice()) if (now - held.heard > this.#silence) this.#drop(held, "silent");
  }

  #drop(held: Held, why: string): void {
    held.let();
    this.dropped++;
    held.socket.end(encodeFrame({ type: "close", session: 0n, payload: encodeClose("ended", why) }));
    setTimeout(() => held.socket.destroy(), 1000).unref();
  }

  #remove(held: Held): void {
    const at = this.#idle.indexOf(held);
    if (at >= 0) this.#idle.splice(at, 1);
  }
}
