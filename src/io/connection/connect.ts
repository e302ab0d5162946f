// Connections to the outside: direct ones, and through a proxy by CONNECT, so that the TLS inside stays end to end.

import { request as httpRequest } from "node:http";
import {
  Agent as HttpsAgent,
  request as httpsRequest,
  type AgentOptions,
  type RequestOptions,
} from "node:https";
import { connect as tcpConnect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import {
  checkServerIdentity,
  connect as tlsConnect,
  type ConnectionOptions,
  type PeerCertificate,
  type TLSSocket,
} from "node:tls";
import { placeName, ProxyFailure, type Place } from "./failure.ts";
import type { Proxies, Proxy } from "./proxies.ts";

/** Milliseconds for a connection, its tunnel and its handshake each. */
export const CONNECT_TIMEOUT = 15_000;

export type Way = {
  readonly proxies: Proxies;
  readonly signal?: AbortSignal | undefined;
  readonly timeout?: number;
};

/** An error as node:net reports it when a connection is not made in time. */
export function timedOut(what: string): Error {
  return Object.assign(new Error(what), { code: "ETIMEDOUT" });
}

/** A byte stream to the place, made in time. Errors: those of node:net, `ProxyFailure`, the reason of the signal. */
export async function openStream(place: Place, way: Way): Promise<Socket> {
  const proxy = way.proxies.through("https", place);
  return proxy === null ? openDirect(place, way) : tunnel(proxy, place, way);
}

function openDirect(place: Place, { signal, timeout = CONNECT_TIMEOUT }: Way): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = tcpConnect({
      ...place,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 15_000,
    });
    const done = (action: () => void): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      socket.removeListener("error", fail);
      action();
    };
    const fail = (error: Error): void =>
      done(() => {
        socket.on("error", () => {});
        socket.destroy();
        reject(error);
      });
    const aborted = (): void => fail(signal!.reason as Error);
    const timer = setTimeout(() => fail(timedOut("no connection in time")), timeout);
    socket.once("error", fail);
    socket.once("connect", () => done(() => resolve(socket)));
    signal?.addEventListener("abort", aborted, { once: true });
    if (signal?.aborted === true) aborted();
  });
}

/**
 * RFC 9110 section 9.3.6. The proxy learns host and port and nothing else; what it answers beyond its head would be taken for bytes of
 * the server, so there must be none. The head is read by node:http, strictly. Errors: `ProxyFailure`, the reason of the signal.
 */
export function tunnel(proxy: Proxy, place: Place, way: Omit<Way, "proxies">): Promise<Socket> {
  const { signal, timeout = CONNECT_TIMEOUT } = way;
  const target = placeName(place);
  const failed = failureBy(proxy);
  return new Promise((resolve, reject) => {
    const send = proxy.secure ? httpsRequest : httpRequest;
    const outgoing = send({
      host: proxy.host,
      port: proxy.port,
      method: "CONNECT",
      path: target,
      agent: false,
      maxHeaderSize: 16 * 1024,
      headers: {
        host: target,
        ...(proxy.authorization === null ? {} : { "proxy-authorization": proxy.authorization }),
      },
    });
    let over = false;
    const done = (action: () => void): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      action();
    };
    const fail = (error: Error): void =>
      done(() => {
        outgoing.destroy();
        reject(error);
      });
    const aborted = (): void => fail(signal!.reason as Error);
    const timer = setTimeout(
      () => fail(failed("slow", "did not answer in time", "proxy-slow", "Is it the right host and port?")),
      timeout,
    );
    outgoing.on("error", (cause) => fail(proxyAway(proxy, cause)));
    outgoing.once("response", (response) => {
      // Only an answer of 2xx opens a tunnel; node:http hands over everything else as an ordinary answer.
      response.destroy();
      fail(proxyRefuses(proxy, target, response.statusCode ?? 0));
    });
    outgoing.once("connect", (response, socket: Socket, head: Buffer) => {
      const status = response.statusCode ?? 0;
      const drop = (error: Error): void => {
        socket.destroy();
        fail(error);
      };
      if (status < 200 || status > 299) return drop(proxyRefuses(proxy, target, status));
      if (head.length > 0) {
        const hint = "What stands there is no proxy for CONNECT.";
        return drop(failed("untrusted", "sent bytes that were not asked for", "proxy-bytes", hint));
      }
      socket.setTimeout(0);
      if (over) return void socket.destroy();
      done(() => resolve(socket));
    });
    signal?.addEventListener("abort", aborted, { once: true });
    if (signal?.aborted === true) return aborted();
    outgoing.end();
  });
}

const failureBy =
  (proxy: Proxy) =>
  (kind: ProxyFailure["kind"], what: string, reason: string, hint: string, cause?: unknown): ProxyFailure =>
    new ProxyFailure(proxy.name, kind, `the proxy ${proxy.name} ${what}`, reason, hint, cause);

/** The connection to the proxy itself failed. */
export function proxyAway(proxy: Proxy, cause: NodeJS.ErrnoException): ProxyFailure {
  const reason = cause.code ?? cause.message;
  const hint = "Is it running, and are its host and port right? NO_PROXY names what is asked directly.";
  return failureBy(proxy)("unreachable", `cannot be used (${reason})`, reason, hint, cause);
}

/** The proxy answered, and not with what was asked for. `target`: host and port. */
export function proxyRefuses(proxy: Proxy, target: string, status: number): ProxyFailure {
  const hint =
    status === 407
      ? "It wants a name and a password: http://NAME:PASSWORD@HOST:PORT, both percent-encoded."
      : status === 403 || status === 405
        ? `Have it allow CONNECT to ${target}, or name the host in NO_PROXY.`
        : "The proxy's log says why.";
  const what =
    status === 407 ? "wants to know who asks (407)" : `refused a connection to ${target} (${status})`;
  return failureBy(proxy)("unreachable", what, `proxy-${status}`, hint);
}

/** TLS over a stream that is open. Resolves after the handshake. Errors: those of node:tls. */
export function shake(
  socket: Duplex,
  options: ConnectionOptions,
  timeout = CONNECT_TIMEOUT,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const secured = tlsConnect({ ...options, path: undefined, socket });
    const fail = (error: Error): void => {
      clearTimeout(timer);
      secured.on("error", () => {});
      secured.destroy();
      socket.destroy();
      reject(error);
    };
    const cut = (): void =>
      fail(
        Object.assign(new Error("the connection was closed within the handshake"), { code: "ECONNRESET" }),
      );
    const timer = setTimeout(() => fail(timedOut("no handshake in time")), timeout);
    secured.once("error", fail);
    secured.once("close", cut);
    secured.once("secureConnect", () => {
      clearTimeout(timer);
      secured.removeListener("error", fail);
      secured.removeListener("close", cut);
      resolve(secured);
    });
  });
}

/**
 * RFC 9525 section 2: only subject alternative names count. node:tls alone goes by the common name where a certificate has no DNS name among them.
 */
export function checkName(host: string, peer: PeerCertificate): Error | undefined {
  return checkServerIdentity(host, { ...peer, subject: {} as PeerCertificate["subject"] });
}

type Connected = (error: Error | null, socket: Duplex) => void;

/**
 * An agent for node:https whose connections are made in time, and through the proxy when one is meant. What the options say of TLS (authorities,
 * pins, names, certificates) holds for the server at the end, never for a proxy.
 */
export class TunnelAgent extends HttpsAgent {
  readonly #proxies: Proxies;
  readonly #timeout: number;

  constructor(options: AgentOptions, proxies: Proxies, timeout = CONNECT_TIMEOUT) {
    // Every connection proves the server's identity anew.
    super({ checkServerIdentity: checkName, ...options, maxCachedSessions: 0 });
    this.#proxies = proxies;
    this.#timeout = timeout;
  }

  override createConnection(options: RequestOptions, connected?: Connected): null {
    const place = { host: options.host ?? "localhost", port: Number(options.port) };
    const way = { proxies: this.#proxies, timeout: this.#timeout };
    openStream(place, way)
      .then((stream) => shake(stream, options as ConnectionOptions, this.#timeout))
      .then(
        (socket) => connected?.(null, socket),
        // Without a socket there is an error: the types of node:https know only both at once.
        (error: unknown) =>
          (connected as ((error: Error) => void) | undefined)?.(
            error instanceof Error ? error : new Error(String(error)),
          ),
      );
    return null;
  }
}
