// The relay: lets clients and signers in within strict limits, pairs a client with a signer's idle connection, and knows nothing else.

import type { TLSSocket } from "node:tls";
import type { Clock } from "../../core/clock.ts";
import type { Random } from "../../core/random.ts";
import { addressGroup } from "../../signing/policy/address.ts";
import { Budgets } from "../../signing/policy/budget.ts";
import { SigningError } from "../../signing/errors.ts";
import { encodeFrame } from "../../signing/wire/frame.ts";
import type { GatewayConfig } from "../../signing/wire/gateway-config.ts";
import type { Counters } from "../../signing/wire/gateway-metrics.ts";
import {
  encodeClose,
  encodeGreeting,
  readClientHello,
  readSignerHello,
  type CloseReason,
} from "../../signing/wire/greeting.ts";
import { nextFrame } from "./frame-stream.ts";
import { calm, type Log } from "../system/log.ts";
import { HANDSHAKE_TIMEOUT, peerOf, type Identity } from "./pinned-tls.ts";
import { IdleSigners, type IdleSigner, type Leg } from "./relay-idle.ts";
import { listen } from "./relay-listen.ts";
import { pair } from "./relay-pair.ts";
import { Tally } from "../../signing/wire/tally.ts";

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
  const clients = await listen(config.listen.clients, identity, {
    mayShake: (group) => relay.mayShake("clients", group),
    most: () => relay.limits["handshakes-per-address"],
    serve: (socket) => relay.client(socket),
  });
  const signers = await listen(config.listen.signers, identity, {
    mayShake: (group) => relay.mayShake("signers", group),
    most: () => relay.limits["handshakes-per-address"],
    serve: (socket) => relay.signer(socket),
  });
  const size = (): void => {
    for (const server of [clients, signers]) server.limit(relay.limits.connections);
  };
  size();
  return {
    clients: clients.port,
    signers: signers.port,
    counters: () => ({ ...relay.counters(), connections: clients.open + signers.open }),
    reconfigure: (next) => {
      relay.reconfigure(next);
      size();
    },
    close: async () => {
      relay.close();
      await Promise.all([clients.close(), signers.close()]);
    },
  };
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
/** A handshake costs before anything can be said; twice the budget leaves room to say that the budget is used up. */
const shakes = (rate: number, burst: number): Budgets => new Budgets({ rate: 2 * rate, burst: 2 * burst });
const budgetsOf = (limits: Limits) => ({
  shakes: {
    clients: shakes(limits["connects-per-second"], limits["connects-burst"]),
    signers: shakes(limits["signer-connects-per-second"], 8 * limits["signer-connects-per-second"]),
  },
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

  get limits(): Limits {
    return this.#config.limits;
  }

  /** Whether an address may begin another handshake. */
  mayShake(side: "clients" | "signers", group: string): boolean {
    if (this.#budgets.shakes[side].take(group, this.#ports.clock.monotonic())) return true;
    this.#count.refused++;
    return false;
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
