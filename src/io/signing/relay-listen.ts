// A listener of the relay: lets connections begin their handshake, so many at a time and so many a second from one address.

import type { AddressInfo, Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { addressGroup } from "../../signing/policy/address.ts";
import { Tally } from "../../signing/wire/tally.ts";
import { HANDSHAKE_TIMEOUT, serverOptions, splitAddress, type Identity } from "./pinned-tls.ts";

export type Listener = {
  readonly port: number;
  /** Connections of all, at once. */
  limit(connections: number): void;
  /** Open connections, handshakes that are not done among them. */
  readonly open: number;
  /** Stops listening and closes every connection, those included that never finished their handshake. */
  close(): Promise<void>;
};

/** Milliseconds after which a handshake that node:tls did not end is ended here. */
const GRACE = 1000;

/** Serves each connection whose handshake completed. Errors: those of the listener, such as an address in use. */
export async function listen(
  endpoint: string,
  identity: Identity,
  given: {
    readonly mayShake: (group: string) => boolean;
    /** Unfinished handshakes of one address. */
    readonly most: () => number;
    readonly serve: (socket: TLSSocket) => void;
  },
): Promise<Listener> {
  const open = new Set<Socket>();
  const shaking = new Tally();
  const unfinished = new Map<string, () => void>();
  const endOf = (socket: Socket): string => `${socket.remoteAddress ?? ""} ${socket.remotePort ?? 0}`;
  const server = createTlsServer({ ...serverOptions(identity) }, given.serve);
  // Before its handshake a connection is counted by its address alone; one place must not take all of them.
  server.on("connection", (socket: Socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    // Without an address its peer has gone already.
    if (socket.remoteAddress === undefined) return void socket.destroy();
    const group = addressGroup(socket.remoteAddress);
    if (!given.mayShake(group) || !shaking.enter([[group, given.most()]])) return void socket.destroy();
    const end = endOf(socket);
    const leave = (): void => {
      if (unfinished.get(end) !== leave) return;
      unfinished.delete(end);
      clearTimeout(timer);
      shaking.leave([group]);
    };
    // It counts as long as it lives: only its end or its success makes room.
    const timer = setTimeout(() => socket.destroy(), HANDSHAKE_TIMEOUT + GRACE);
    timer.unref();
    unfinished.set(end, leave);
    socket.once("close", leave);
  });
  server.prependListener("secureConnection", (socket: TLSSocket) => unfinished.get(endOf(socket))?.());
  // A failed handshake is a stranger's business.
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  const { host, port } = splitAddress(endpoint);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    limit: (connections) => {
      server.maxConnections = connections;
    },
    get open() {
      return open.size;
    },
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}
