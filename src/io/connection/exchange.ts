// One small question to a web server and its answer: bounded in size and time, through a proxy where one is meant, no redirects followed.

import { request as httpRequest, type IncomingMessage, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { BytesError, collect } from "../../core/bytes.ts";
import { proxyAway, proxyRefuses, timedOut, TunnelAgent } from "./connect.ts";
import { connectionError, placeName, placeOf } from "./failure.ts";
import type { Proxies } from "./proxies.ts";

export type Question = {
  readonly url: string;
  readonly method?: "GET" | "POST" | "PUT";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  /** Bytes of the answer. */
  readonly limit: number;
  /** Milliseconds for all of it. */
  readonly timeout: number;
  readonly proxies: Proxies;
};

export type Reply = {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Uint8Array;
};

/** Certificates are those that the system trusts. A redirect is an answer like another. Errors: `network/*`, `bytes/*` for too long an answer. */
export async function exchange(question: Question): Promise<Reply> {
  const url = new URL(question.url);
  const place = placeOf(url);
  const slow = new AbortController();
  const timer = setTimeout(() => slow.abort(timedOut("no answer in time")), question.timeout);
  const agent = url.protocol === "https:" ? new TunnelAgent({}, question.proxies) : null;
  try {
    const response = await send(url, question, agent, slow.signal);
    const body = await collect(response, question.limit);
    return { status: response.statusCode ?? 0, headers: response.headers, body };
  } catch (cause) {
    if (cause instanceof BytesError) throw cause;
    throw connectionError(slow.signal.aborted ? slow.signal.reason : cause, place);
  } finally {
    clearTimeout(timer);
    agent?.destroy();
  }
}

function send(
  url: URL,
  question: Question,
  agent: TunnelAgent | null,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { method = "GET", headers = {}, body } = question;
  const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
  return new Promise((resolve, reject) => {
    const way = wayTo(url, question.proxies, agent);
    const outgoing = way.send(
      { ...way.options, method, signal, headers: { ...headers, ...length, ...way.extra } },
      (response) => {
        const refused = way.refused(response);
        if (refused === null) return resolve(response);
        response.destroy();
        reject(refused);
      },
    );
    outgoing.on("error", (cause) => reject(way.failed(cause)));
    outgoing.end(body);
  });
}

export type WayTo = {
  readonly send: typeof httpRequest;
  readonly options: RequestOptions;
  /** Header fields that belong to the way. */
  readonly extra: Readonly<Record<string, string>>;
  /** What an error of the request says when it is the proxy that it was sent to. */
  failed(cause: Error): Error;
  /** Not null when it is the proxy that answered for itself. */
  refused(response: IncomingMessage): Error | null;
};

/**
 * How to ask for an address: over TLS by the agent's tunnel; in the clear directly, or with the whole address for a proxy
 * (RFC 9112 section 3.2.2). Errors: `ProxyFailure`.
 */
export function wayTo(url: URL, proxies: Proxies, agent: TunnelAgent | null): WayTo {
  const place = placeOf(url);
  const path = `${url.pathname}${url.search}`;
  const own = { extra: {}, failed: (cause: Error) => cause, refused: () => null };
  if (agent !== null)
    return { send: httpsRequest as typeof httpRequest, options: { ...place, path, agent }, ...own };
  const proxy = proxies.through("http", place);
  const direct = { ...place, path, agent: false } as const;
  if (proxy === null) return { send: httpRequest, options: direct, ...own };
  const { authorization } = proxy;
  return {
    send: proxy.secure ? (httpsRequest as typeof httpRequest) : httpRequest,
    options: { host: proxy.host, port: proxy.port, path: `${url.origin}${path}`, agent: false },
    extra: { host: url.host, ...(authorization === null ? {} : { "proxy-authorization": authorization }) },
    failed: (cause) => proxyAway(proxy, cause),
    // RFC 9110 section 15.5.8: no server but a proxy says this.
    refused: ({ statusCode }) => (statusCode === 407 ? proxyRefuses(proxy, placeName(place), 407) : null),
  };
}
