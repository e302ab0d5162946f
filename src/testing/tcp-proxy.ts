// A wire that can be cut in the way power cuts it: bytes stop, nothing is closed, nobody is told.

import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

export class TcpProxy {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #frozen = false;
  /** Connections made so far. */
  connections = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** Passes bytes on to a port of loopback. */
  static async to(port: number): Promise<TcpProxy> {
    const server = createServer({ pauseOnConnect: true });
    const proxy = new TcpProxy(server);
    server.on("connection", (near) => proxy.#join(near, connect({ port, host: "127.0.0.1" })));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** From now on what is connected hears nothing more; new connections work. */
  freeze(): void {
    for (const pair of this.#pairs) {
      for (const socket of pair) {
        socket.unpipe();
        socket.removeAllListeners("close");
        socket.pause();
      }
    }
  }

  /** New connections are taken and then nothing happens. */
  freezeNew(): void {
    this.#frozen = true;
  }

  close(): void {
    this.#server.close();
    for (const socket of [...this.#pairs].flat()) socket.destroy();
  }

  #join(near: Socket, far: Socket): void {
    this.connections++;
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    for (const socket of pair) {
      socket.on("error", () => {});
      socket.once("close", () => {
        near.destroy();
        far.destroy();
        this.#pairs.delete(pair);
      });
    }
    if (this.#frozen) return;
    near.pipe(far).pipe(near);
  }
}
