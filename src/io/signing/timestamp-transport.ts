// Time-stamp requests over HTTP: one POST, bounded in time and size.

import { HungError, REPLY_LIMIT, type TimestampTransport } from "../../artifact/timestamp-request.ts";
import { exchange } from "../connection/exchange.ts";
import { ConnectionError } from "../connection/failure.ts";
import type { Proxies } from "../connection/proxies.ts";

/** After this a person wants to know what is being waited for. */
const PATIENCE_MS = 3000;

/**
 * Authorities speak plain HTTP for the most part; what they send is signed and checked. Redirects are followed by none: they lead to web pages.
 * `slow` is called once with an authority that does not answer soon.
 */
export function httpTimestamps(
  proxies: Proxies,
  timeoutMs = 20_000,
  slow: (url: string) => void = () => {},
): TimestampTransport {
  return {
    post: async (url, contentType, body) => {
      const waiting = setTimeout(() => slow(url), PATIENCE_MS);
      try {
        const reply = await exchange({
          url,
          method: "POST",
          body,
          headers: { "content-type": contentType, accept: "application/timestamp-reply, */*" },
          limit: REPLY_LIMIT,
          timeout: timeoutMs,
          proxies,
        });
        const wait = Number(reply.headers["retry-after"] ?? "");
        return { status: reply.status, body: reply.body, ...(wait > 0 ? { retryAfter: wait } : {}) };
      } catch (error) {
        // What each authority answered is one clause of one sentence; who has no other gets the hint with it.
        if (!(error instanceof ConnectionError)) throw error;
        if (error.kind === "slow")
          throw new HungError(`gave no answer within ${Math.round(timeoutMs / 1000)} seconds`, {
            cause: error,
          });
        throw new Error(`${error.message} ${error.hint ?? ""}`.trimEnd().replace(/\.$/, ""), {
          cause: error,
        });
      } finally {
        clearTimeout(waiting);
      }
    },
  };
}
