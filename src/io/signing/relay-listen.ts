// A listener of the relay: lets connections begin their handshake, so many at a time and so many a second from one address.

import type { Socket } from "node:net";
import { createServer as createTlsServer, type Server, type TLSSocket } from "node:tls";
import { addressGroup } from "../../signing/policy/address.ts";
import { Tally } from "../../signing/wire/tally.ts";
import { HANDSHAKE_TIMEOUT, serverOptions, splitAddress, type Identity } from "./pinned-tls.ts";

/** Serves each connection whose handshake completed. Errors: those of the listener, such as an address in use. */
export function listen(
  endpoint: string,
  identity: Identity,
  given: {
    readonly mayShake: (group: string) => boolean;
    /** Unfinished handshakes of one address. */
    readonly most: () => number;
    readonly serve: (socket: TLSSocket) => void;
  },
): Promise<Server> {
  const shaking = new Tally();
  const unfinished = new Map<string, () => void>();
  const endOf = (socket: Socket): string => `${socket.remoteAddress ?? ""} ${socket.remotePort ?? 0}`;
  const server = createTlsServer({ ...serverOptions(identity) }, given.serve);
  // Before its handshake a connection is counted by its address alone; one place must not take all of them.
  server.on("connection", (socket: Socket) => {
    const group = addressGroup(socket.remoteAddress ?? "");
    if (!given.mayShake(group) || !shaking.enter([[group, given.most()]])) return void socket.destroy();
    const end = endOf(socket);
    const leave = (): void => {
      if (unfinished.get(end) !== leave) return;
      unfinished.delete(end);
      clearTimeout(timer);
      shaking.leave([group]);
    };
    // A handshake that did not complete is closed by then.
    const timer = setTimeout(leave, HANDSHAKE_TIMEOUT);
    timer.unref();
    unfinished.set(end, leave);
    socket.once("close", leave);
  });
  server.prependListener("secureConnection", (socket: TLSSocket) => unfinished.get(endOf(socket))?.());
  // A failed handshake is a stranger's business.
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  const { host, port } = splitAddress(endpoint);
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => resolve(server));
  });
}
