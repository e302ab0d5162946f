// A web server on loopback that misbehaves as told: endless bodies, drips, cuts, lies about length and range, redirects, bombs.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { gzipSync } from "node:zlib";

/** What to do instead of an honest answer. */
export type Fault =
  /** Bytes without end, without a length. */
  | { readonly kind: "endless" }
  /** `bytes` every `every` milliseconds. */
  | { readonly kind: "drip"; readonly bytes: number; readonly every: number }
  /** The first `bytes` of the range, then silence. */
  | { readonly kind: "stall"; readonly bytes: number }
  /** The first `bytes` of the range, then the connection is cut; `times` times, honest afterwards. */
  | { readonly kind: "cut"; readonly bytes: number; readonly times?: number }
  /** No answer at all. */
  | { readonly kind: "silence" }
  | { readonly kind: "status"; readonly status: number }
  | { readonly kind: "redirect"; readonly to: string }
  /** A gzip body of zeros that grows a thousandfold. */
  | { readonly kind: "gzip-bomb"; readonly megabytes: number }
  /** 206 for another range than asked. */
  | { readonly kind: "wrong-range" }
  /** 200 and the whole file, whatever range was asked for. */
  | { readonly kind: "no-ranges" }
  /** A length that is larger or smaller by `by`. */
  | { readonly kind: "wrong-length"; readonly by: number }
  /** A friendly page with status 200, as hotels send. */
  | { readonly kind: "captive-portal" }
  /** These bytes instead. */
  | { readonly kind: "bytes"; readonly bytes: Uint8Array };

export type FaultServer = {
  readonly url: string;
  /** By path, percent-encoded, without the leading slash. */
  readonly files: Map<string, Uint8Array>;
  readonly faults: Map<string, Fault>;
  /** `GET path` or `GET path @offset`. */
  readonly requests: string[];
  /** Connections that are open now. */
  readonly sockets: ReadonlySet<Socket>;
  /** Bytes of bodies handed to the system so far. */
  readonly sent: () => number;
  close(): Promise<void>;
};

export async function startFaultServer(
  files: Iterable<readonly [string, Uint8Array]> = [],
  tls?: { readonly cert: string; readonly key: string; readonly ca?: string },
): Promise<FaultServer> {
  const served = files instanceof Map ? (files as Map<string, Uint8Array>) : new Map(files);
  const faults = new Map<string, Fault>();
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const count = { sent: 0 };

  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    const path = (request.url ?? "/").slice(1);
    const offset = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    requests.push(offset === 0 ? `GET ${path}` : `GET ${path} @${offset}`);
    response.on("error", () => undefined);
    void answer(response, served.get(path), faults.get(path), offset, count, () => {
      const fault = faults.get(path);
      if (fault?.kind !== "cut" || fault.times === undefined) return;
      if (fault.times <= 1) faults.delete(path);
      else faults.set(path, { ...fault, times: fault.times - 1 });
    });
  };
  const server =
    tls === undefined
      ? createServer(handle)
      : createTlsServer(
          { ...tls, ...(tls.ca === undefined ? {} : { requestCert: true }), minVersion: "TLSv1.3" },
          handle,
        );
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    files: served,
    faults,
    requests,
    sockets,
    sent: () => count.sent,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

const bombs = new Map<number, Uint8Array>();

/** Made once: packing it takes longer than sending it. */
function bombOf(megabytes: number): Uint8Array {
  const bomb = bombs.get(megabytes) ?? gzipSync(new Uint8Array(megabytes * 1024 * 1024));
  bombs.set(megabytes, bomb);
  return bomb;
}

async function answer(
  response: ServerResponse,
  file: Uint8Array | undefined,
  fault: Fault | undefined,
  asked: number,
  count: { sent: number },
  used: () => void,
): Promise<void> {
  const send = async (bytes: Uint8Array): Promise<void> => {
    if (response.destroyed) return;
    count.sent += bytes.length;
    if (!response.write(bytes)) {
      await new Promise<void>((resolve) => {
        const go = (): void => {
          response.off("drain", go).off("close", go);
          resolve();
        };
        response.on("drain", go).on("close", go);
      });
    }
  };
  switch (fault?.kind) {
    case "silence":
      return;
    case "status":
      response.writeHead(fault.status).end();
      return;
    case "redirect":
      response.writeHead(302, { location: fault.to }).end();
      return;
    case "captive-portal":
      response
        .writeHead(200, { "content-type": "text/html" })
        .end("<html><h1>Welcome to the Grand Hotel</h1></html>");
      return;
    case "gzip-bomb": {
      const bomb = bombOf(fault.megabytes);
      response.writeHead(200, { "content-encoding": "gzip", "content-length": bomb.length });
      await send(bomb);
      response.end();
      return;
    }
    case "endless": {
      response.writeHead(200);
      const block = new Uint8Array(64 * 1024).fill(0x20);
      while (!response.destroyed) await send(block);
      return;
    }
  }
  const whole = fault?.kind === "bytes" ? fault.bytes : file;
  if (whole === undefined) {
    response.writeHead(404).end();
    return;
  }
  const offset = fault?.kind === "no-ranges" || asked > whole.length ? 0 : asked;
  const rest = whole.subarray(offset);
  const by = fault?.kind === "wrong-length" ? fault.by : 0;
  const shift = fault?.kind === "wrong-range" ? 1 : 0;
  response.writeHead(offset > 0 || shift > 0 ? 206 : 200, {
    "content-length": rest.length + by,
    ...(offset > 0 || shift > 0
      ? { "content-range": `bytes ${offset + shift}-${whole.length - 1}/${whole.length}` }
      : {}),
  });
  switch (fault?.kind) {
    case "drip":
      for (let at = 0; at < rest.length && !response.destroyed; at += fault.bytes) {
        await send(rest.subarray(at, at + fault.bytes));
        await delay(fault.every);
      }
      response.end();
      return;
    case "stall":
      await send(rest.subarray(0, fault.bytes));
      return;
    case "cut":
      await send(rest.subarray(0, fault.bytes));
      // What was written is on its way before the cut.
      await delay(5);
      used();
      response.destroy();
      return;
    case "wrong-length":
      await send(fault.by < 0 ? rest.subarray(0, rest.length + fault.by) : rest);
      if (fault.by > 0) response.destroy();
      else response.end();
      return;
    default:
      await send(rest);
      response.end();
  }
}
