// Every connection of one listener, from its first packet to its end: who may come in, how long a handshake may take, what is open now.

import type { Socket } from "node:net";
import { Quotas, type Quota } from "../../fleet/quota.ts";
import { peerKey } from "./request.ts";

export type ConnectionLimits = {
  /** Connections at once from one address. */
  readonly connectionsPerAddress: number;
  /** Addresses of balancers and NAT, behind which many callers are: what holds for one address does not hold for them. */
  readonly sharedAddresses: readonly string[];
  /** New TLS connections of one address: each costs the server more than a millisecond. */
  readonly handshakes: Quota;
  /** Connections at once, of all addresses, whose handshake is not done: beyond it the one that waited longest is closed. */
  readonly unfinished: number;
  /** Milliseconds for the TLS handshake. */
  readonly handshake: number;
};

/** After the limit node:tls reports the handshake as failed; what is still open so much later is closed here. */
const GRACE = 1000;

type Shaking = { readonly socket: Socket; readonly timer: NodeJS.Timeout };

/**
 * Counts connections by their TCP sockets, which live from the first packet to the closed descriptor whatever happens to the TLS above them:
 * `node:tls` shows a connection only after its handshake, and forgets one whose handshake failed.
 */
export class Connections {
  readonly #limits: ConnectionLimits;
  readonly #secure: boolean;
  readonly #handshakes: Quotas;
  readonly #shared: ReadonlySet<string>;
  readonly #perAddress = new Map<string, number>();
  readonly #open = new Set<Socket>();
  /** By both ends of the connection, the oldest first. */
  readonly #shaking = new Map<string, Shaking>();
  #refused = 0;

  constructor(limits: ConnectionLimits, secure: boolean) {
    this.#limits = limits;
    this.#secure = secure;
    this.#handshakes = new Quotas(limits.handshakes);
    this.#shared = new Set(limits.sharedAddresses.map(peerKey));
  }

  /** Descriptors in use, handshakes that are not done among them. */
  get open(): number {
    return this.#open.size;
  }

  get unfinished(): number {
    return this.#shaking.size;
  }

  /** Connections that were turned away since the start. */
  get refused(): number {
    return this.#refused;
  }

  /** Null when it may stay, else why not; it is closed then. `over`: the listener is a TCP port, not a socket in a folder. */
  admit(
    socket: Socket,
    over: "tcp" | "path",
  ): { readonly address: string; readonly open: number; readonly hasty: boolean } | null {
    // Without an address the peer of a TCP connection has gone already.
    if (over === "tcp" && socket.remoteAddress === undefined) {
      socket.destroy();
      return null;
    }
    const address = peerKey(socket.remoteAddress ?? "");
    const open = this.#perAddress.get(address) ?? 0;
    const alone = over === "tcp" && !this.#shared.has(address);
    const crowded = alone && open >= this.#limits.connectionsPerAddress;
    const hasty = alone && this.#secure && this.#handshakes.take(address, performance.now()) > 0;
    if (crowded || hasty) {
      this.#refused++;
      socket.destroy();
      return { address, open, hasty };
    }
    this.#open.add(socket);
    this.#perAddress.set(address, open + 1);
    socket.once("close", () => {
      this.#open.delete(socket);
      const left = (this.#perAddress.get(address) ?? 1) - 1;
      if (left > 0) this.#perAddress.set(address, left);
      else this.#perAddress.delete(address);
    });
    if (this.#secure) this.#watch(socket);
    return null;
  }

  /** The handshake of this connection is done. `socket` is the one above TLS. */
  shaken(socket: Socket): void {
    const ends = endsOf(socket);
    clearTimeout(this.#shaking.get(ends)?.timer);
    this.#shaking.delete(ends);
  }

  /** Closes what has not finished its handshake; with `all`, every connection. */
  end(all: boolean): void {
    for (const { socket } of this.#shaking.values()) socket.destroy();
    if (all) for (const socket of this.#open) socket.destroy();
  }

  #watch(socket: Socket): void {
    const ends = endsOf(socket);
    const timer = setTimeout(() => socket.destroy(), this.#limits.handshake + GRACE);
    timer.unref();
    const shaking: Shaking = { socket, timer };
    this.#shaking.set(ends, shaking);
    socket.once("close", () => {
      clearTimeout(timer);
      // The same two ends may belong to a newer connection by now.
      if (this.#shaking.get(ends) === shaking) this.#shaking.delete(ends);
    });
    if (this.#shaking.size <= this.#limits.unfinished) return;
    // An honest handshake takes a moment: who waits longest is the least likely to be one.
    const oldest = this.#shaking.values().next().value!;
    this.#refused++;
    oldest.socket.destroy();
  }
}

/** Names a TCP connection, also from the TLS socket above it. */
function endsOf(socket: Socket): string {
  const { localAddress, localPort, remoteAddress, remotePort } = socket;
  return `${localAddress ?? ""} ${localPort ?? 0} ${remoteAddress ?? ""} ${remotePort ?? 0}`;
}
