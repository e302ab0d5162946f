// The admin plane: health and metrics, on an address of its own that devices never see.

import { toUtf8 } from "../../core/bytes.ts";
import { HttpError } from "../../io/http/errors.ts";
import type { Handler } from "../../io/http/server.ts";
import type { Metrics } from "./metrics.ts";

export function adminPlane(parts: {
  readonly metrics: Metrics;
  /** Brings the gauges up to date. */
  readonly gauge: () => Promise<void>;
  /** Null when ready, else what is missing. */
  readonly notReady: () => string | null;
  /** The alarms as an Atom feed. */
  readonly feed: () => Promise<string>;
}): Handler {
  const { metrics, gauge, notReady, feed } = parts;
  return async (call) => {
    if (call.method !== "GET" && call.method !== "HEAD") {
      throw new HttpError(
        "http/method-not-allowed",
        "The admin plane is read only.",
        {},
        { headers: { allow: "GET, HEAD" } },
      );
    }
    if (call.path === "/metrics") {
      await gauge();
      const headers = { "content-type": "text/plain; version=0.0.4; charset=utf-8" };
      return { status: 200, headers, body: toUtf8(metrics.text()) };
    }
    if (call.path === "/alarms.atom") {
      const headers = { "content-type": "application/atom+xml; charset=utf-8" };
      return { status: 200, headers, body: toUtf8(await feed()) };
    }
    if (call.path === "/healthz") return plain(200, "ok");
    if (call.path === "/readyz") {
      const missing = notReady();
      return missing === null ? plain(200, "ready") : plain(503, missing);
    }
    throw new HttpError("http/not-found", "There is nothing at this address.");
  };
}

function plain(
  status: number,
  text: string,
): { status: number; headers: Record<string, string>; body: Uint8Array } {
  return { status, headers: { "content-type": "text/plain; charset=utf-8" }, body: toUtf8(`${text}\n`) };
}
