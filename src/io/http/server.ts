// The HTTP server: node:http(s) with a limit on everything, request numbers, log lines, and a stop that drops nobody.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer, type ServerOptions } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { numbered, refuseUnreadable, respond, respondError, setSafeHeaders } from "./answer.ts";
import { Connections, type ConnectionLimits } from "./connections.ts";
import { HttpError } from "./errors.ts";
import {
  authoritiesOf,
  drainBriefly,
  readBody,
  readCertificate,
  type ClientCertificate,
  type Issuers,
} from "./request.ts";
import { calm, type Log } from "../system/log.ts";

export type HttpLimits = ConnectionLimits & {
  /** Connections at once, in all. */
  readonly connections: number;
  /** Milliseconds for all header fields, and for the whole request. */
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
  sharedAddresses: [],
  handshakes: { burst: 500, refillMs: 20 },
  unfinished: 2_500,
  handshake: 10_000,
  headers: 10_000,
  request: 20_000,
  keepAlive: 15_000,
  idle: 60_000,
  headerBytes: 16 * 1024,
  drain: 10_000,
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
  /** Open connections, those whose handshake is not done, and those that were turned away since the start. */
  connections(): { readonly open: number; readonly unfinished: number; readonly refused: number };
  /** New certificate and trusted CAs for new connections; a bad pair throws and the old one stays (facts of node:tls). */
  setSecureContext(options: Pick<ServerOptions, "key" | "cert" | "ca">, issuers?: readonly string[]): void;
  /** Closes the connections a verdict on their certificate concerns. */
  closeWhere(test: (certificate: ClientCertificate) => boolean): number;
  stop(): Promise<void>;
};

type Listen = { readonly host: string; readonly port: number } | { readonly path: string };

export async function startHttpServer(options: {
  readonly listen: Listen;
  readonly tls?: ServerOptions;
  /** PEM: authorities that are known, also when `tls.ca` does not believe them; `tls.ca` when not given. */
  readonly issuers?: readonly string[];
  readonly limits?: Partial<HttpLimits>;
  readonly log: Log;
  readonly handle: Handler;
}): Promise<HttpServer> {
  const limits = { ...HTTP_LIMITS, ...options.limits };
  const { log } = options;
  const stopping = new AbortController();
  const sockets = new Map<Socket, { certificate: ClientCertificate | null | undefined }>();
  const secure = options.tls !== undefined;
  const connections = new Connections(limits, secure);
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
  const over = "path" in options.listen ? "path" : "tcp";
  server.on("connection", (socket: Socket) => {
    if (sockets.has(socket)) return;
    const refused = connections.admit(socket, over);
    if (refused !== null) calmly("warn", "connection/refused", refused);
  });
  const track = (socket: Socket): void => {
    sockets.set(socket, { certificate: undefined });
    socket.once("close", () => sockets.delete(socket));
    if (secure) connections.shaken(socket);
  };
  server.on(secure ? "secureConnection" : "connection", track);
  server.on("drop", (data) => calmly("warn", "connection/dropped", { address: data?.remoteAddress ?? "" }));
  server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
    calmly("info", "tls/refused", {
      address: socket.remoteAddress ?? "",
      reason: error.message.slice(0, 200),
    });
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    // A handshake that failed or timed out comes here too: nothing can be said on such a socket, and its end never comes by itself.
    if (sockets.has(socket)) refuseUnreadable(error, socket, calmly);
    else socket.destroy();
  });

  const issuersOf = (ca: ServerOptions["ca"], known?: readonly string[]): Issuers => ({
    believed: authoritiesOf(ca),
    known: authoritiesOf(known),
  });
  let issuers = issuersOf(options.tls?.ca, options.issuers);
  const certificateOf = (socket: Socket): ClientCertificate | null => {
    const entry = sockets.get(socket);
    if (entry === undefined || !secure) return null;
    entry.certificate ??= readCertificate(socket as TLSSocket, issuers);
    return entry.certificate;
  };

  server.on("checkExpectation", (_request: IncomingMessage, response: ServerResponse) => {
    respondError(
      response,
      numbered(),
      new HttpError("http/expectation", "This server knows no expectation but 100-continue."),
      secure,
    );
  });
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request;
    serve(request, response, {
      handle: options.handle,
      log,
      secure,
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
    connections: () => ({
      open: connections.open,
      unfinished: connections.unfinished,
      refused: connections.refused,
    }),
    setSecureContext: (context, known) => {
      // Throws for a bad pair before anything is changed.
      (server as TlsServer).setSecureContext({ ...options.tls, ...context });
      issuers = issuersOf(context.ca ?? options.tls?.ca, known);
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
    stop: () => stop(server, stopping, connections, limits.drain, log),
  };
}

/**
 * Stops listening, lets every answer under way end, and tells each connection to close after its answer.
 * An idle connection is left to its keep-alive time or the drain limit: closing it at once resets requests that are just on their way.
 */
async function stop(
  server: Server,
  stopping: AbortController,
  connections: Connections,
  drain: number,
  log: Log,
): Promise<void> {
  if (stopping.signal.aborted) return;
  // Node closes idle connections inside close(); see above why not here.
  const closeIdle = server.closeIdleConnections.bind(server);
  server.closeIdleConnections = () => {};
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  stopping.abort(new HttpError("http/unavailable", "The server is stopping."));
  // Requests on their way arrive within a moment; what is idle after it can go, and what becomes idle later as well.
  const idle = setInterval(
    () => {
      closeIdle();
      // Node counts a connection as idle only after its handshake; who did not finish that by now has nothing under way.
      connections.end(false);
    },
    Math.min(500, drain),
  );
  const end = setTimeout(() => {
    log("warn", "server/drain-ended", { connections: connections.open });
    connections.end(true);
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

function cannotListen(listen: Listen, cause: NodeJS.ErrnoException): HttpError {
  const where = "path" in listen ? listen.path : `${listen.host}:${listen.port}`;
  const why: { readonly [code: string]: string } = {
    EADDRINUSE: "another program listens there",
    EACCES: "this user may not listen there; ports below 1024 need an additional right",
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
