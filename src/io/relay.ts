// The relay: lets clients and signers in within strict limits, pairs a client with a signer's idle connection, and knows nothing else.

import { createServer as createTlsServer, type TLSSocket, type Server } from "node:tls";
import type { AddressInfo, Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { addressGroup } from "../signing/address.ts";
import { Budgets } from "../signing/budget.ts";
import { SigningError } from "../signing/errors.ts";
import { encodeFrame } from "../signing/frame.ts";
import type { GatewayConfig } from "../signing/gateway-config.ts";
import type { Counters } from "../signing/gateway-metrics.ts";
import {
  encodeClose,
  encodeGreeting,
  readClientHello,
  readSignerHello,
  type CloseReason,
} from "../signing/greeting.ts";
import { nextFrame } from "./frame-stream.ts";
import { calm, type Log } from "./log.ts";
import { HANDSHAKE_TIMEOUT, peerOf, serverOptions, splitAddress, type Identity } from "./pinned-tls.ts";
import { IdleSigners, type IdleSigner, type Leg } from "./relay-idle.ts";
import { pair } from "./relay-pair.ts";

export type RelayPorts = {
  readonly clock: Clock;
  readonly random: Random;
  readonly say: Log;
  /** Milliseconds after which a signer's connection without pings is given up. */
  readonly signerSilence?: number;
};
export type Relay = {
  readonly clients: number;
  readonly signers: number;
  readonly counters: () => Counters;
  /** New limits and signers, from the next connection on; addresses stay. */
  readonly reconfigure: (config: GatewayConfig) => void;
  readonly close: () => Promise<void>;
};
/** Signers ping every ten seconds. */
const SIGNER_SILENCE = 35_000;

/** Starts both listeners; port 0 picks free ones. */
export async function startRelay(
  config: GatewayConfig,
  identity: Identity,
  ports: RelayPorts,
): Promise<Relay> {
  const relay = new Running(config, ports);
  const clients = await listen(config.listen.clients, identity, config, (socket) => relay.client(socket));
  const signers = await listen(config.listen.signers, identity, config, (socket) => relay.signer(socket));
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
  { limits }: GatewayConfig,
  serve: (socket: TLSSocket) => void,
): Promise<Server> {
  const shaking = new Tally();
  const unfinished = new Map<string, () => void>();
  const endOf = (socket: Socket): string => `${socket.remoteAddress ?? ""} ${socket.remotePort ?? 0}`;
  const server = createTlsServer({ ...serverOptions(identity) }, serve);
  server.maxConnections = limits.connections;
  // Before its handshake a connection is counted by its address alone; one place must not take all of them.
  server.on("connection", (socket: Socket) => {
    const group = addressGroup(socket.remoteAddress ?? "");
    if (!shaking.enter([[group, limits["handshakes-per-address"]]])) return void socket.destroy();
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

/** How many are there, by name; a name without any is forgotten. */
class Tally {
  readonly #counts = new Map<string, number>();

  /** Counts one more under every name, or under none if one of them is full. */
  enter(names: readonly (readonly [name: string, most: number])[]): boolean {
    if (names.some(([name, most]) => (this.#counts.get(name) ?? 0) >= most)) return false;
    for (const [name] of names) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    return true;
  }

  leave(names: readonly string[]): void {
    for (const name of names) {
      const left = (this.#counts.get(name) ?? 1) - 1;
      if (left > 0) this.#counts.set(name, left);
      else this.#counts.delete(name);
    }
  }
}

/** What the gateway tells somebody whom it turns away. */
class TurnedAway extends Error {
  readonly reason: CloseReason;

  constructor(reason: CloseReason, sentence: string) {
    super(sentence);
    this.reason = reason;
  }
}

type Limits = GatewayConfig["limits"];
const budgetsOf = (limits: Limits) => ({
  connects: new Budgets({ rate: limits["connects-per-second"], burst: limits["connects-burst"] }),
  signers: new Budgets({
    rate: limits["signer-connects-per-second"],
    burst: 8 * limits["signer-connects-per-second"],
  }),
  identityBytes: new Budgets({
    rate: limits["bytes-per-second"],
    burst: Math.max(2 * limits["session-bytes"], limits["bytes-per-second"]),
  }),
  addressBytes: new Budgets({
    rate: limits["address-bytes-per-second"],
    burst: Math.max(2 * limits["session-bytes"], limits["address-bytes-per-second"]),
  }),
});

class Running {
  #config: GatewayConfig;
  #budgets: ReturnType<typeof budgetsOf>;
  readonly #ports: RelayPorts;
  readonly #refusals: Log;
  readonly #idle: IdleSigners;
  readonly #open = new Tally();
  readonly #sockets = new Set<TLSSocket>();
  readonly #count = { sessions: 0, active: 0, refused: 0, bytes: 0 };
  #closed = false;

  constructor(config: GatewayConfig, ports: RelayPorts) {
    this.#config = config;
    this.#ports = ports;
    // Strangers can cause refusals at will; they must not fill the log.
    this.#refusals = calm(ports.say);
    this.#idle = new IdleSigners(ports.signerSilence ?? SIGNER_SILENCE);
    this.#budgets = budgetsOf(config.limits);
  }

  counters(): Counters {
    const idleBySigner = this.#idle.count();
    const idle = Object.values(idleBySigner).reduce((sum, n) => sum + n, 0);
    return { ...this.#count, idle, waiting: this.#idle.waiting, dropped: this.#idle.dropped, idleBySigner };
  }

  reconfigure(config: GatewayConfig): void {
    // Budgets that changed begin full again.
    if (JSON.stringify(config.limits) !== JSON.stringify(this.#config.limits))
      this.#budgets = budgetsOf(config.limits);
    this.#config = config;
    this.#idle.keep(({ name, spki }) => config.signers[name]?.spki === spki);
  }

  close(): void {
    this.#closed = true;
    this.#idle.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  client(socket: TLSSocket): void {
    void this.#serve(socket, async (leg) => {
      const { clients, limits } = this.#config;
      if (clients.allow !== undefined && !clients.allow.includes(leg.spki))
        throw new TurnedAway("not-allowed", "this key may not connect here");
      const leave = this.#admit(leg);
      try {
        const hello = readClientHello((await nextFrame(socket, "hello", HANDSHAKE_TIMEOUT)).payload);
        if (hello.signer !== "*" && this.#config.signers[hello.signer] === undefined)
          throw new TurnedAway("no-signer", "no such signer is known here");
        const wait = Math.min(hello.wait ?? limits["wait-seconds"], limits["wait-seconds"]) * 1000;
        const signer = await this.#idle.take(hello.signer, socket, { wait, waiting: limits.waiting });
        if (signer === "gone") return;
        if (signer === "no-signer") throw new TurnedAway(signer, "no signer is connected");
        if (signer === "too-many-wait") throw new TurnedAway(signer, "too many clients wait for a signer");
        await this.#pair(leg, signer);
      } finally {
        leave();
      }
    });
  }

  signer(socket: TLSSocket): void {
    void this.#serve(socket, async (leg) => {
      const group = addressGroup(leg.address);
      if (!this.#budgets.signers.take(group, this.#ports.clock.monotonic()))
        throw new TurnedAway("over-budget", "too many connections of signers from this address");
      const { signer: name } = readSignerHello((await nextFrame(socket, "hello", HANDSHAKE_TIMEOUT)).payload);
      // The name is the gateway's own word for a key that it knows; what the other side calls itself only selects it.
      if (this.#config.signers[name]?.spki !== leg.spki)
        throw new TurnedAway("not-allowed", "this key is of no signer here");
      this.#idle.offer({ ...leg, name }, this.#config.limits["idle-per-signer"]);
    });
  }

  async #serve(socket: TLSSocket, work: (leg: Leg) => Promise<void>): Promise<void> {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
    const address = socket.remoteAddress ?? "";
    try {
      if (this.#closed) throw new TurnedAway("stopping", "the gateway is stopping");
      const { spki } = peerOf(socket);
      await work({ socket, spki, address });
    } catch (error) {
      this.#count.refused++;
      const reason = error instanceof TurnedAway ? error.reason : "bad-greeting";
      const sentence =
        error instanceof TurnedAway || error instanceof SigningError ? error.message : "it failed";
      this.#refusals("info", "refused", { address, reason, what: sentence.slice(0, 200) });
      if (!socket.destroyed) {
        const payload = encodeClose(reason, sentence);
        socket.end(encodeFrame({ type: "close", session: 0n, payload }));
        setTimeout(() => socket.destroy(), 1000).unref();
      }
    }
  }

  /** Counts a client by key and by address, or turns it away; the answer takes it out again. */
  #admit({ spki, address }: Leg): () => void {
    const now = this.#ports.clock.monotonic();
    const { limits } = this.#config;
    const names = [`address ${addressGroup(address)}`, `identity ${spki}`] as const;
    const within =
      names.every((name) => this.#budgets.connects.take(name, now)) &&
      this.#open.enter([
        [names[0], limits["sessions-per-address"]],
        [names[1], limits["sessions-per-identity"]],
      ]);
    if (!within)
      throw new TurnedAway(
        "over-budget",
        "the budget of this identity or address is used up; try again later",
      );
    return () => this.#open.leave(names);
  }

  /** From here on bytes are only counted and copied. Resolves when both legs are closed. */
  async #pair(client: Leg, signer: IdleSigner): Promise<void> {
    const { limits } = this.#config;
    const { clock, say, random } = this.#ports;
    const session = new DataView(random.bytes(8).buffer as ArrayBuffer).getBigUint64(0);
    const name = session.toString(16).padStart(16, "0");
    this.#count.sessions++;
    this.#count.active++;
    const facts = { address: client.address, identity: client.spki };
    say("info", "session", { session: name, ...facts, signer: signer.name });
    const idle = limits["idle-seconds"];
    const forClient = encodeGreeting({ signer: signer.name, bytes: limits["session-bytes"], idle });
    client.socket.write(encodeFrame({ type: "open", session, payload: forClient }));
    signer.socket.write(encodeFrame({ type: "open", session, payload: encodeGreeting({ ...facts, idle }) }));
    const group = addressGroup(client.address);
    const { bytes, why } = await pair(
      session,
      client.socket,
      signer.socket,
      { bytes: limits["session-bytes"], idle: idle * 1000, life: limits["session-minutes"] * 60_000 },
      (length) => {
        this.#count.bytes += length;
        const now = clock.monotonic();
        if (!this.#budgets.identityBytes.take(client.spki, now, length))
          return "the identity's byte budget is used up";
        if (!this.#budgets.addressBytes.take(group, now, length))
          return "the address's byte budget is used up";
        return null;
      },
    );
    this.#count.active--;
    say("info", "session-end", { session: name, bytes, why });
  }
}
