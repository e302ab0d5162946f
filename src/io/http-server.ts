// The HTTP server: node:http(s) with a limit on everything, request numbers, log lines, and a stop that drops nobody.

import { X509Certificate } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer, type ServerOptions } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { toHex, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { HttpError, presentable } from "./http-errors.ts";
import { Quotas, type Quota } from "../fleet/quota.ts";
import { calm, type Log } from "./log.ts";
import { systemRandom } from "./random.ts";

export type HttpLimits = {
  /** Connections at once, in all and from one address. */
  readonly connections: number;
  readonly connectionsPerAddress: number;
  /** New TLS connections of one address: each costs the server more than a millisecond. */
  readonly handshakes: Quota;
  /** Milliseconds for the TLS handshake, for all header fields, and for the whole request. */
  readonly handshake: number;
  readonly headers: number;
  readonly request: number;
  /** Milliseconds a connection may do nothing: between two requests, and while an answer is not being read. */
  readonly keepAlive: number;
  readonly idle: number;
  /** Bytes of all header fields. */
  readonly headerBytes: number;
  /** Milliseconds that a stop waits for answers under way. */
  readonly drain: number;
};

export const HTTP_LIMITS: HttpLimits = {
  connections: 10_000,
  connectionsPerAddress: 2_500,
  handshakes: { burst: 500, refillMs: 20 },
  handshake: 10_000,
  headers: 10_000,
  request: 20_000,
  keepAlive: 15_000,
  idle: 60_000,
  headerBytes: 16 * 1024,
  drain: 10_000,
};

/**
 * A certificate that one of the device CAs issued, by the digest of its key; the handshake proved that the caller holds the key.
 * `expired`: everything about it is right but its end.
 */
export type ClientCertificate = {
  readonly spki: string;
  readonly notAfter: number;
  readonly expired: boolean;
};

/** One request, as handlers see it. */
export type Call = {
  readonly id: string;
  readonly method: string;
  /** As it came, without the query; starts with `/`. */
  readonly path: string;
  readonly query: string;
  readonly headers: IncomingMessage["headers"];
  readonly address: string;
  /** Null when none was shown or when it does not verify. */
  readonly certificate: ClientCertificate | null;
  /** Aborted when the caller has gone or the server stops for good. */
  readonly signal: AbortSignal;
  /** The whole body. Errors: `http/too-large`. */
  body(limit: number): Promise<Uint8Array>;
  /** For the log line. */
  readonly notes: { [name: string]: string | number };
};

export type Answer =
  | {
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body: Uint8Array | null;
    }
  /** The handler writes by itself, and resolves when it is done with the response. */
  | { readonly stream: (response: ServerResponse) => Promise<void> };

export type Handler = (call: Call) => Promise<Answer>;

export type HttpServer = {
  /** Where it listens: a port, or the path of a socket. */
  readonly address: { readonly host: string; readonly port: number } | { readonly path: string };
  readonly stopping: AbortSignal;
  connections(): number;
  /** New certificate and trusted CAs for new connections; a bad pair throws and the old one stays (facts of node:tls). */
  setSecureContext(options: Pick<ServerOptions, "key" | "cert" | "ca">): void;
  /** Closes the connections a verdict on their certificate concerns. */
  closeWhere(test: (certificate: ClientCertificate) => boolean): number;
  stop(): Promise<void>;
};

type Listen = { readonly host: string; readonly port: number } | { readonly path: string };

export async function startHttpServer(options: {
  readonly listen: Listen;
  readonly tls?: ServerOptions;
  readonly limits?: Partial<HttpLimits>;
  readonly log: Log;
  readonly handle: Handler;
}): Promise<HttpServer> {
  const limits = { ...HTTP_LIMITS, ...options.limits };
  const { log } = options;
  const stopping = new AbortController();
  const sockets = new Map<Socket, { certificate: ClientCertificate | null | undefined }>();
  const perAddress = new Map<string, number>();
  const handshakes = new Quotas(limits.handshakes);
  const calmly = calm(log);

  const common = {
    maxHeaderSize: limits.headerBytes,
    headersTimeout: limits.headers,
    requestTimeout: limits.request,
    keepAliveTimeout: limits.keepAlive,
    // How often the two limits above are looked at.
    connectionsCheckingInterval: Math.max(100, Math.min(limits.headers, limits.request) / 4),
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    noDelay: true,
    requireHostHeader: true,
  };
  const server: Server =
    options.tls === undefined
      ? createServer(common)
      : createTlsServer({ ...common, handshakeTimeout: limits.handshake, ...options.tls });
  server.maxConnections = limits.connections;
  server.maxHeadersCount = 100;
  server.setTimeout(limits.idle, (socket) => socket.destroy());

  // Counted where TCP starts, before any handshake.
  server.on("connection", (socket: Socket) => {
    if (sockets.has(socket)) return;
    const address = peerKey(socket.remoteAddress ?? "");
    const open = (perAddress.get(address) ?? 0) + 1;
    const crowded = open > limits.connectionsPerAddress;
    const hasty = options.tls !== undefined && handshakes.take(address, performance.now()) > 0;
    if (address !== "" && (crowded || hasty)) {
      calmly("warn", "connection/refused", { address, open: open - 1, hasty });
      socket.destroy();
      return;
    }
    perAddress.set(address, open);
    socket.once("close", () => {
      const left = (perAddress.get(address) ?? 1) - 1;
      if (left > 0) perAddress.set(address, left);
      else perAddress.delete(address);
    });
  });
  const track = (socket: Socket): void => {
    sockets.set(socket, { certificate: undefined });
    socket.once("close", () => sockets.delete(socket));
  };
  server.on(options.tls === undefined ? "connection" : "secureConnection", track);
  server.on("drop", (data) => calmly("warn", "connection/dropped", { address: data?.remoteAddress ?? "" }));
  server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
    calmly("info", "tls/refused", {
      address: socket.remoteAddress ?? "",
      reason: error.message.slice(0, 200),
    });
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) =>
    refuseUnreadable(error, socket, calmly),
  );

  let authorities = authoritiesOf(options.tls?.ca);
  const certificateOf = (socket: Socket): ClientCertificate | null => {
    const entry = sockets.get(socket);
    if (entry === undefined || options.tls === undefined) return null;
    entry.certificate ??= readCertificate(socket as TLSSocket, authorities);
    return entry.certificate;
  };

  server.on("checkExpectation", (_request: IncomingMessage, response: ServerResponse) => {
    respondError(
      response,
      numbered(),
      new HttpError("http/expectation", "This server knows no expectation but 100-continue."),
      options.tls !== undefined,
    );
  });
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    serve(request, response, {
      handle: options.handle,
      log,
      secure: options.tls !== undefined,
      stopping: stopping.signal,
      certificate: () => certificateOf(socket),
    }).catch((error: unknown) => {
      // A fault of this file: one connection is lost, the others go on.
      log("error", "request/fault", reasonOf(error));
      response.destroy();
    });
  });

  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) => reject(cannotListen(options.listen, cause)));
    server.listen({ ...options.listen, backlog: 1024 }, () => {
      server.removeAllListeners("error");
      resolve();
    });
  });
  server.on("error", (error) => log("error", "server/error", { reason: error.message }));
  const bound = server.address() as AddressInfo | string;
  const address = typeof bound === "string" ? { path: bound } : { host: bound.address, port: bound.port };

  return {
    address,
    stopping: stopping.signal,
    connections: () => sockets.size,
    setSecureContext: (context) => {
      // Throws for a bad pair before anything is changed.
      (server as TlsServer).setSecureContext({ ...options.tls, ...context });
      authorities = authoritiesOf(context.ca ?? options.tls?.ca);
    },
    closeWhere: (test) => {
      let closed = 0;
      for (const [socket] of sockets) {
        const certificate = certificateOf(socket);
        if (certificate === null || !test(certificate)) continue;
        socket.destroy();
        closed++;
      }
      return closed;
    },
    stop: () => stop(server, stopping, limits.drain, log),
  };
}

/**
 * Stops listening, lets every answer under way end, and tells each connection to close after its answer.
 * An idle connection is left to its keep-alive time or the drain limit: closing it at once resets requests that are just on their way.
 */
async function stop(server: Server, stopping: AbortController, drain: number, log: Log): Promise<void> {
  if (stopping.signal.aborted) return;
  // Node closes idle connections inside close(); see above why not here.
  const closeIdle = server.closeIdleConnections.bind(server);
  server.closeIdleConnections = () => {};
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  stopping.abort(new HttpError("http/unavailable", "The server is stopping."));
  // Requests on their way arrive within a moment; what is idle after it can go, and what becomes idle later as well.
  const idle = setInterval(closeIdle, Math.min(500, drain));
  const end = setTimeout(() => {
    log("warn", "server/drain-ended", {});
    server.closeAllConnections();
  }, drain);
  await closed;
  clearInterval(idle);
  clearTimeout(end);
}

type Serving = {
  readonly handle: Handler;
  readonly log: Log;
  readonly secure: boolean;
  readonly stopping: AbortSignal;
  readonly certificate: () => ClientCertificate | null;
};

async function serve(request: IncomingMessage, response: ServerResponse, on: Serving): Promise<void> {
  const started = performance.now();
  const id = numbered();
  // Taken now: node:http lets go of the socket when the answer is done.
  const { socket } = request;
  const address = socket.remoteAddress ?? "";
  const gone = new AbortController();
  const notes: Call["notes"] = {};
  response.once("close", () => {
    if (!response.writableFinished) gone.abort(new HttpError("http/bad-request", "The caller has gone."));
  });
  response.on("error", () => {});
  const at = request.url!.indexOf("?");
  const path = at < 0 ? request.url! : request.url!.slice(0, at);
  let code: string | null = null;
  try {
    if (request.url!.length > 2048) {
      throw new HttpError("http/too-long-address", "The request's address is longer than 2048 characters.");
    }
    if (!path.startsWith("/"))
      throw new HttpError("http/bad-request", "The request's address is not a path.");
    const answer = await on.handle({
      id,
      method: request.method!,
      path,
      query: at < 0 ? "" : request.url!.slice(at + 1),
      headers: request.headers,
      address,
      certificate: on.certificate(),
      signal: gone.signal,
      body: (limit) => readBody(request, limit),
      notes,
    });
    if (on.stopping.aborted && !response.headersSent) response.setHeader("connection", "close");
    if ("stream" in answer) {
      setSafeHeaders(response, id, on.secure);
      await answer.stream(response);
    } else {
      respond(
        response,
        id,
        on.secure,
        answer.status,
        answer.headers ?? {},
        answer.body,
        request.method === "HEAD",
      );
    }
  } catch (error) {
    if (!request.complete) await drainBriefly(request);
    const shown = respondError(response, id, error, on.secure);
    code = shown.code;
    if (shown.status >= 500) on.log("error", "request/failed", { request: id, ...reasonOf(error) });
  }
  // A body that nobody read would be read as the next request's start, or keep the connection waiting.
  if (!request.complete) {
    if (!response.headersSent) response.setHeader("connection", "close");
    response.once("finish", () => socket.destroySoon());
  }
  on.log("info", "request", {
    request: id,
    method: request.method!,
    path: path.slice(0, 300),
    status: response.statusCode,
    ms: Math.round(performance.now() - started),
    address,
    ...notes,
    ...(code === null ? {} : { code }),
  });
}

function reasonOf(error: unknown): { reason: string; stack: string } {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  return { reason: String(error).slice(0, 500), stack: stack.slice(0, 2000) };
}

async function readBody(request: IncomingMessage, limit: number): Promise<Uint8Array> {
  const tooLarge = (): HttpError =>
    new HttpError("http/too-large", `The request's body is larger than the allowed ${limit} bytes.`, {
      limit,
    });
  // Said before a byte of it is read, when the caller is honest about the length.
  if (Number(request.headers["content-length"] ?? "0") > limit) throw tooLarge();
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      length += part.length;
      if (length > limit) throw tooLarge();
      parts.push(part);
    }
  } catch (cause) {
    if (cause instanceof HttpError) throw cause;
    throw new HttpError(
      "http/bad-request",
      "The request's body ended before it was complete.",
      {},
      { cause },
    );
  }
  return new Uint8Array(Buffer.concat(parts));
}

/**
 * Closing with unread bytes resets the connection, and the caller never sees why it was refused.
 * So a little more is read and thrown away; who sends more than that gets the reset.
 */
async function drainBriefly(request: IncomingMessage): Promise<void> {
  let left = DRAIN_BYTES;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, DRAIN_MS);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    request.on("data", (part: Buffer) => {
      left -= part.length;
      if (left < 0) done();
    });
    request.once("end", done);
    request.once("close", done);
    request.resume();
  });
}

const ONE_WRITE = 12 * 1024;
const DRAIN_BYTES = 2 * 1024 * 1024;
const DRAIN_MS = 1000;

function readCertificate(
  socket: TLSSocket,
  authorities: readonly X509Certificate[],
): ClientCertificate | null {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return null;
  const notAfter = Date.parse(certificate.validTo);
  const spki = sha256Hex(certificate.publicKey.export({ type: "spki", format: "der" }));
  // `authorized` covers chain, dates and purpose at the handshake; the status of the device is looked up on every request.
  if (socket.authorized) return { spki, notAfter, expired: false };
  // `authorizationError` names one fault of several: a stranger's certificate that has expired too reads like an expired one of ours.
  const ours = authorities.some((ca) => certificate.checkIssued(ca) && certificate.verify(ca.publicKey));
  return ours && notAfter < Date.now() ? { spki, notAfter, expired: true } : null;
}

function authoritiesOf(ca: ServerOptions["ca"]): readonly X509Certificate[] {
  const texts = ca === undefined ? [] : Array.isArray(ca) ? ca : [ca];
  return texts.map((text) => new X509Certificate(text));
}

/** OWASP's list for an API that no browser page belongs to. */
function setSafeHeaders(response: ServerResponse, id: string, secure: boolean): void {
  response.setHeader("x-request-id", id);
  response.setHeader("x-content-type-options", "nosniff");
  response.setHeader("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
  response.setHeader("referrer-policy", "no-referrer");
  if (secure) response.setHeader("strict-transport-security", "max-age=31536000");
}

function respond(
  response: ServerResponse,
  id: string,
  secure: boolean,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array | null,
  head: boolean,
): void {
  setSafeHeaders(response, id, secure);
  response.statusCode = status;
  response.setHeader("cache-control", "no-store");
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  if (body !== null) response.setHeader("content-length", body.length);
  if (head || body === null) response.end();
  // One write, and one TLS record, with the header fields; node:http joins texts only.
  else if (body.length <= ONE_WRITE)
    response.end(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("latin1"), "latin1");
  else response.end(body);
}

function respondError(
  response: ServerResponse,
  id: string,
  thrown: unknown,
  secure: boolean,
): { status: number; code: string } {
  const { status, error, headers } = presentable(thrown);
  if (response.headersSent) {
    // The answer had begun: only a cut connection can say that it is not whole.
    response.destroy();
    return { status, code: error.code };
  }
  const body = toUtf8(
    `${JSON.stringify({ code: error.code, message: error.message.slice(0, 2000), request: id })}\n`,
  );
  // What the caller still sends is not worth reading.
  const close = !response.req.complete ? { connection: "close" } : {};
  respond(
    response,
    id,
    secure,
    status,
    { "content-type": "application/json", ...close, ...headers },
    body,
    response.req.method === "HEAD",
  );
  return { status, code: error.code };
}

/** Requests that node:http could not read, or that came too slowly, get the same form of answer. */
function refuseUnreadable(error: NodeJS.ErrnoException, socket: Socket, log: Log): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const failure =
    error.code === "HPE_HEADER_OVERFLOW"
      ? new HttpError("http/headers-too-large", "The request's header fields are too large.")
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? new HttpError("http/too-slow", "The request did not arrive in time.")
        : new HttpError("http/bad-request", "The request is not valid HTTP.");
  const { status } = presentable(failure);
  const id = numbered();
  const body = `${JSON.stringify({ code: failure.code, message: failure.message, request: id })}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${status === 408 ? "Request Timeout" : status === 431 ? "Request Header Fields Too Large" : "Bad Request"}\r\n` +
      `connection: close\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => socket.destroy(),
  );
  log("info", "request/unreadable", { request: id, address: socket.remoteAddress ?? "", code: failure.code });
}

/**
 * What counts as one caller: an IPv4 address, or the /64 of an IPv6 address, since everybody has a whole one of those.
 */
export function peerKey(address: string): string {
  const plain = address.replace(/%.*$/, "").toLowerCase();
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(plain);
  if (mapped !== null) return mapped[1]!;
  if (!plain.includes(":")) return plain;
  const [head, tail] = plain.split("::") as [string, string | undefined];
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  const groups = [...left, ...Array.from({ length: zeros }, () => "0"), ...right];
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}

function numbered(): string {
  return toHex(systemRandom.bytes(8));
}

function cannotListen(listen: Listen, cause: NodeJS.ErrnoException): HttpError {
  const where = "path" in listen ? listen.path : `${listen.host}:${listen.port}`;
  const why: { readonly [code: string]: string } = {
    EADDRINUSE: "another program listens there",
    EACCES: "this user may not listen there; ports below 1024 need a right of their own",
    EADDRNOTAVAIL: "it is no address of this machine",
    ENOTFOUND: "no such host is known",
  };
  return new HttpError(
    "http/cannot-listen",
    `${where} cannot be listened to: ${why[cause.code ?? ""] ?? cause.message}.`,
    { where, reason: cause.code ?? "" },
    { cause, hint: "Stop that program, or give another place with --listen (or --admin)." },
  );
}
