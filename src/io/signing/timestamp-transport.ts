// Time-stamp requests over HTTP: one POST, bounded in time and size.

import { collect } from "../../core/bytes.ts";
import { HungError, REPLY_LIMIT, type TimestampTransport } from "../../artifact/timestamp-request.ts";

/** After this a person wants to know what is being waited for. */
const PATIENCE_MS = 3000;

/**
 * Authorities speak plain HTTP for the most part; what they send is signed and checked. Redirects are followed by none: they lead to web pages.
 * `slow` hears once of an authority that lets us wait.
 */
export function httpTimestamps(
  timeoutMs = 20_000,
  slow: (url: string) => void = () => {},
): TimestampTransport {
  return {
    post: async (url, contentType, body) => {
      const signal = AbortSignal.timeout(timeoutMs);
      const waiting = setTimeout(() => slow(url), PATIENCE_MS);
      const failed = (cause: unknown): Error => {
        if (signal.aborted)
          return new HungError(`gave no answer within ${Math.round(timeoutMs / 1000)} seconds`, { cause });
        const why =
          cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : String(cause);
        return new Error(`cannot be reached (${why})`, { cause });
      };
      try {
        const response = await fetch(url, {
          method: "POST",
          body: Buffer.from(body),
          headers: { "content-type": contentType, accept: "application/timestamp-reply, */*" },
          redirect: "error",
          signal,
        }).catch((cause: unknown) => {
          throw failed(cause);
        });
        const answer =
          response.body === null
            ? new Uint8Array(0)
            : await collect(response.body, REPLY_LIMIT).catch((cause: unknown) => {
                throw signal.aborted ? failed(cause) : cause;
              });
        const wait = Number(response.headers.get("retry-after") ?? "");
        return { status: response.status, body: answer, ...(wait > 0 ? { retryAfter: wait } : {}) };
      } finally {
        clearTimeout(waiting);
      }
    },
  };
}
