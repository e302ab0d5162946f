// Time-stamp requests over HTTP: one POST, bounded in time and size.

import { collect } from "../../core/bytes.ts";
import { REPLY_LIMIT, type TimestampTransport } from "../../artifact/timestamp-request.ts";

/** Authorities speak plain HTTP for the most part; what they send is signed and checked. Redirects are followed by none: they lead to web pages. */
export function httpTimestamps(timeoutMs = 20_000): TimestampTransport {
  return {
    post: async (url, contentType, body) => {
      const response = await fetch(url, {
        method: "POST",
        body: Buffer.from(body),
        headers: { "content-type": contentType, accept: "application/timestamp-reply, */*" },
        redirect: "error",
        signal: AbortSignal.timeout(timeoutMs),
      }).catch((cause: unknown) => {
        const why =
          cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : String(cause);
        throw new Error(`cannot be reached (${why})`, { cause });
      });
      const answer = response.body === null ? new Uint8Array(0) : await collect(response.body, REPLY_LIMIT);
      const wait = Number(response.headers.get("retry-after") ?? "");
      return { status: response.status, body: answer, ...(wait > 0 ? { retryAfter: wait } : {}) };
    },
  };
}
