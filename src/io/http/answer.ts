// How answers are written: safe header fields, one write for small bodies, one form for every failure.

import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { toHex, toUtf8 } from "../../core/bytes.ts";
import { HttpError, presentable } from "./errors.ts";
import type { Log } from "../system/log.ts";
import { systemRandom } from "../system/random.ts";

const ONE_WRITE = 12 * 1024;
/** Milliseconds to take the answer to what was no request. */
const READ_WITHIN = 2000;

/** OWASP's list for an API that no browser page belongs to. */
export function setSafeHeaders(response: ServerResponse, id: string, secure: boolean): void {
  response.setHeader("x-request-id", id);
  response.setHeader("x-content-type-options", "nosniff");
  response.setHeader("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
  response.setHeader("referrer-policy", "no-referrer");
  if (secure) response.setHeader("strict-transport-security", "max-age=31536000");
}

export function respond(
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

export function respondError(
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
export function refuseUnreadable(error: NodeJS.ErrnoException, socket: Socket, log: Log): void {
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
  // Who does not read the answer must not keep the connection by it.
  setTimeout(() => socket.destroy(), READ_WITHIN).unref();
  log("info", "request/unreadable", { request: id, address: socket.remoteAddress ?? "", code: failure.code });
}

/** The number of a request, which its answer and its log line carry. */
export function numbered(): string {
  return toHex(systemRandom.bytes(8));
}
