// The relay: pairs a client with an idle connection of a signer, then copies data frames within strict limits.

import { createServer as createTlsServer, type TLSSocket, type Server } from "node:tls";
import type { AddressInfo } from "node:net";
import type { Clock } from "../core/clock.ts";
import { toUtf8 } from "../core/bytes.ts";
import { isJsonObject, parseJson } from "../core/json.ts";
import type { Random } from "../core/random.ts";
import { nextFrame, onFrames } from "./frame-stream.ts";
import type { Log } from "./log.ts";
import { HANDSHAKE_TIMEOUT, peerOf, serverOptions, splitAddress, type Identity } from "./pinned-tls.ts";
import { Budgets } from "../signing/budget.ts";
import { SigningError } from "../signing/errors.ts";
import { encodeFrame, type Frame } from "../signing/frame.ts";
import type { GatewayConfig } from "../signing/gateway-config.ts";

export type RelayPorts = { readonly clock: Clock; readonly random: Random; readonly say: Log };
export type Relay = {
  readonly clients: number;
  readonly signers: number;
  readonly counters: () => Counters;
  /** New limits and signers, from the next connection on; addresses stay. */
  readonly reconfigure: (config: GatewayConfig) => void;
  readonly close: () => Promise<void>;
};
export type Counters = {
  readonly sessions: number;
  readonly active: number;
  readonly idle: number;
  readonly waiting: number;
  readonly refused: number;
  readonly bytes: number;
};

type Leg = { readonly socket: TLSSocket; readonly spki: string; readonly address: string };
type IdleSigner = Leg & { readonly name: string };
type Waiting = { readonly want: string; readonly give: (signer: IdleSigner) => void };

/** Starts both listeners; port 0 picks free ones. */
export async function startRelay(
  config: GatewayConfig,
  identity: Identity,
  ports: RelayPorts,
): Promise<Relay> {
  const relay = new Running(config, ports);
  const clients = await listen(
    config.listen.clients,
    identity,
    (socket) => relay.client(socket),
    config.limits.connections,
  );
  const signers = await listen(
    config.listen.signers,
    identity,
    (socket) => relay.signer(socket),
    config.limits.connections,
  );
  return {
    clients: (clients.address() as AddressInfo).port,
    signers: (signers.address() as AddressInfo).port,
    counters: () => relay.counters(),
    reconfigure: (next) => relay.reconfigure(next),
    close: async () => {
      relay.close();
      await Promise.all([clients, signers].map((server) => new Promise((done) => server.close(done))));
    },
  };
}

function listen(
  endpoint: string,
  identity: Identity,
  serve: (socket: TLSSocket) => void,
  most: number,
): Promise<Server> {
  const server = createTlsServer({ ...serverOptions(identity) }, serve);
  server.maxConnections = most;
  // A failed handshake is a stranger's business.
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  const { host, port } = splitAddress(endpoint);
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => resolve(server));
  });
}

class Running {
  #config: GatewayConfig;
  readonly #ports: RelayPorts;
  readonly #connects: Budgets;
  readonly #bytes: Budgets;
  readonly #idle: IdleSigner[] = [];
  readonly #waiting: Waiting[] = [];
  readonly #open = new Map<string, number>();
  readonly #sockets = new Set<TLSSocket>();
  readonly #count = { sessions: 0, active: 0, refused: 0, bytes: 0 };
  #closed = false;

  constructor(config: GatewayConfig, ports: RelayPorts) {
    this.#config = config;
    this.#ports = ports;
    const { limits } = config;
    this.#connects = new Budgets({ rate: limits["connects-per-second"], burst: limits["connects-burst"] });
    this.#bytes = new Budgets({
      rate: limits["bytes-per-second"],
      burst: Math.max(2 * limits["session-bytes"], limits["bytes-per-second"]),
    });
  }

  counters(): Counters {
    return { ...this.#count, idle: this.#idle.length, waiting: this.#waiting.length };
  }

  reconfigure(config: GatewayConfig): void {
    this.#config = config;
  }

  close(): void {
    this.#closed = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  client(socket: TLSSocket): void {
    void this.#serve(socket, async (leg) => {
      const allow = this.#config.clients.allow;
      if (allow !== undefined && !allow.includes(leg.spki)) throw refusal("this key may not connect here");
      this.#admit(leg);
      try {
        const hello = readHello((await nextFrame(socket, "hello", HANDSHAKE_TIMEOUT)).payload, "client");
        const signer = await this.#take(hello.signer, socket);
        await this.#pair(leg, signer);
      } finally {
        this.#leave(leg);
      }
    });
  }

  signer(socket: TLSSocket): void {
    void this.#serve(socket, async (leg) => {
      const { signer: name } = readHello(
        (await nextFrame(socket, "hello", HANDSHAKE_TIMEOUT)).payload,
        "signer",
      );
      // The name is the gateway's own word for a key that it knows; what the other side calls itself only selects it.
      if (this.#config.signers[name]?.spki !== leg.spki) throw refusal("this key is of no signer here");
      this.#offer({ ...leg, name });
    });
  }

  async #serve(socket: TLSSocket, work: (leg: Leg) => Promise<void>): Promise<void> {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
    try {
      if (this.#closed) throw refusal("the gateway is stopping");
      const { spki } = peerOf(socket);
      await work({ socket, spki, address: socket.remoteAddress ?? "" });
    } catch (error) {
      this.#count.refused++;
      const known = error instanceof SigningError;
      this.#ports.say("info", "refused", {
        address: socket.remoteAddress ?? "",
        code: known ? error.code : "unexpected",
        what: known ? error.message : String(error).slice(0, 200),
      });
      if (!socket.destroyed) {
        const payload = toUtf8(known ? error.message.slice(0, 200) : "failed");
        socket.end(encodeFrame({ type: "close", session: 0n, payload }));
        setTimeout(() => socket.destroy(), 1000).unref();
      }
    }
  }

  #admit({ spki, address }: Leg): void {
    const now = this.#ports.clock.monotonic();
    const { limits } = this.#config;
    const within =
      this.#connects.take(`address ${address}`, now) &&
      this.#connects.take(`identity ${spki}`, now) &&
      (this.#open.get(`address ${address}`) ?? 0) < limits["sessions-per-address"] &&
      (this.#open.get(`identity ${spki}`) ?? 0) < limits["sessions-per-identity"];
    for (const name of [`address ${address}`, `identity ${spki}`])
      this.#open.set(name, (this.#open.get(name) ?? 0) + 1);
    if (within) return;
    this.#leave({ spki, address });
    throw new SigningError(
      "signing/over-budget",
      "The budget of this identity or address is used up; try again later.",
    );
  }

  #leave({ spki, address }: Pick<Leg, "spki" | "address">): void {
    for (const name of [`address ${address}`, `identity ${spki}`]) {
      const left = (this.#open.get(name) ?? 1) - 1;
      if (left > 0) this.#open.set(name, left);
      else this.#open.delete(name);
    }
  }

  /** An idle connection sends nothing; one that does, or closes, is out. */
  #offer(signer: IdleSigner): void {
    const index = this.#waiting.findIndex(({ want }) => want === "*" || want === signer.name);
    if (index >= 0) {
      this.#waiting.splice(index, 1)[0]!.give(signer);
      return;
    }
    this.#idle.push(signer);
    const gone = (): void => {
      const at = this.#idle.indexOf(signer);
      if (at >= 0) this.#idle.splice(at, 1);
    };
    signer.socket.once("close", gone);
    signer.socket.resume();
    const stop = onFrames(signer.socket, (frame) => {
      if (frame.type !== "ping" && this.#idle.includes(signer)) signer.socket.destroy();
    });
    signer.socket.once("paired", () => {
      stop();
      signer.socket.off("close", gone);
    });
  }

  #take(want: string, client: TLSSocket): Promise<IdleSigner> {
    const { limits } = this.#config;
    // The one that waited longest: several signers share the work.
    const at = this.#idle.findIndex(({ name }) => want === "*" || name === want);
    if (at >= 0) {
      const signer = this.#idle.splice(at, 1)[0]!;
      signer.socket.emit("paired");
      return Promise.resolve(signer);
    }
    if (this.#waiting.length >= limits.waiting)
      return Promise.reject(refusal("too many clients wait for a signer"));
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        want,
        give: (signer) => {
          clearTimeout(timer);
          client.off("close", gone);
          resolve(signer);
        },
      };
      const leave = (error: SigningError): void => {
        const index = this.#waiting.indexOf(waiting);
        if (index >= 0) this.#waiting.splice(index, 1);
        clearTimeout(timer);
        reject(error);
      };
      const gone = (): void => leave(refusal("the client left"));
      const timer = setTimeout(() => leave(refusal("no signer is connected")), limits["wait-seconds"] * 1000);
      client.once("close", gone);
      this.#waiting.push(waiting);
    });
  }

  /** From here on bytes are only counted and copied. Resolves when both legs are closed. */
  #pair(client: Leg, signer: IdleSigner): Promise<void> {
    const { limits } = this.#config;
    const { clock, say, random } = this.#ports;
    const session = new DataView(random.bytes(8).buffer as ArrayBuffer).getBigUint64(0);
    const name = session.toString(16).padStart(16, "0");
    this.#count.sessions++;
    this.#count.active++;
    say("info", "session", {
      session: name,
      address: client.address,
      identity: client.spki,
      signer: signer.name,
    });
    const open = (facts: object): Uint8Array =>
      encodeFrame({ type: "open", session, payload: toUtf8(JSON.stringify(facts)) });
    client.socket.write(
      open({ signer: signer.name, bytes: limits["session-bytes"], idle: limits["idle-seconds"] }),
    );
    signer.socket.write(open({ address: client.address, identity: client.spki }));

    return new Promise((resolve) => {
      let [bytes, ended] = [0, false];
      const end = (why: string): void => {
        if (ended) return;
        ended = true;
        clearTimeout(idle);
        clearTimeout(life);
        this.#count.active--;
        say("info", "session-end", { session: name, bytes, why });
        for (const { socket } of [client, signer]) {
          if (!socket.destroyed) socket.end(encodeFrame({ type: "close", session, payload: toUtf8(why) }));
          setTimeout(() => socket.destroy(), 1000).unref();
        }
        resolve();
      };
      const idle = setTimeout(() => end("idle for too long"), limits["idle-seconds"] * 1000);
      const life = setTimeout(() => end("the session is over"), limits["session-minutes"] * 60_000);
      const copy = (from: TLSSocket, to: TLSSocket): void => {
        onFrames(from, (frame: Frame) => {
          if (ended) return;
          if (frame.type === "ping") return void idle.refresh();
          if (frame.type === "close") return end("closed");
          if (frame.type !== "data" || frame.session !== session) return end("a frame out of place");
          bytes += frame.payload.length;
          this.#count.bytes += frame.payload.length;
          if (bytes > limits["session-bytes"]) return end("the session's byte budget is used up");
          if (!this.#bytes.take(client.spki, clock.monotonic(), frame.payload.length))
            return end("the identity's byte budget is used up");
          idle.refresh();
          if (!to.write(encodeFrame(frame))) {
            from.pause();
            to.once("drain", () => from.resume());
          }
        });
        from.once("close", () => end("closed"));
        from.resume();
      };
      copy(client.socket, signer.socket);
      copy(signer.socket, client.socket);
      if (client.socket.destroyed || signer.socket.destroyed) end("closed");
    });
  }
}

function readHello(payload: Uint8Array, role: "client" | "signer"): { readonly signer: string } {
  const hello = parseJson(payload);
  if (!isJsonObject(hello) || hello["role"] !== role || typeof hello["signer"] !== "string") {
    throw refusal("the greeting cannot be read");
  }
  return { signer: hello["signer"] };
}

function refusal(what: string): SigningError {
  return new SigningError("signing/refused", what);
}
