// The device's side of the HTTP interface: typed by the route table, limited in size and time, deaf to redirects.

import { request as httpsRequest } from "node:https";
import type { IncomingMessage } from "node:http";
import { collect, toUtf8, BytesError } from "../../core/bytes.ts";
import { UpkeepError, type Facts } from "../../core/errors.ts";
import type { Schema } from "../../core/schema.ts";
import { MAX_INTERVAL } from "../../message/check-in.ts";
import { GrowthError } from "../../core/growth.ts";
import { readGrowingMessage } from "../../message/common.ts";
import {
  FAILURE_LIMIT,
  failureSchema,
  ROUTES,
  WAKE_PATH,
  type AnswerOf,
  type RequestOf,
  type Route,
  type RouteName,
} from "../../message/routes.ts";
import {
  readWakeEvent,
  SEALED_EVENT_LIMIT,
  SEALED_HEADER,
  WAKE_LIMIT,
  wakeSchema,
  type SealedEvent,
  type Wake,
} from "../../message/wake.ts";
import { TunnelAgent } from "../connection/connect.ts";
import { placeName, type Place } from "../connection/failure.ts";
import { DIRECT, type Proxies } from "../connection/proxies.ts";
import { ServerClientError, serverFailure } from "./server-failure.ts";
import { connectOptions, type ClientIdentity, type ServerIdentity } from "./tls.ts";

/** Milliseconds for a whole call, and for a silent wake-up stream (three heartbeats). */
const CALL_TIMEOUT = 30_000;
const SILENCE = 65_000;

export interface ServerClient {
  call<N extends RouteName>(name: N, request: RequestOf<N>, signal?: AbortSignal): Promise<AnswerOf<N>>;
  /** Wake-ups after the given sequence number, until the server ends the stream. Comments keep it alive and are not shown. */
  wakes(
    after: number | null,
    signal?: AbortSignal,
    /** Asks for sealed messages: the number of theirs up to which checks were made. */
    sealedAfter?: number | null,
  ): AsyncGenerator<Wake | SealedEvent, void, undefined>;
  close(): void;
}

/** Errors: `identity/wrong-authority`. */
export function openServerClient(
  server: ServerIdentity,
  client?: ClientIdentity,
  proxies: Proxies = DIRECT,
): ServerClient {
  const tls = connectOptions(server, client);
  // No session is kept: see `connectOptions`.
  const agent = new TunnelAgent({ ...tls, keepAlive: true, maxSockets: 4, timeout: CALL_TIMEOUT }, proxies);
  const place = { host: server.host, port: server.port };

  const send = (
    method: "GET" | "POST",
    path: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array | null,
    signal: AbortSignal,
  ): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const request = httpsRequest({ ...tls, agent, method, path, headers, signal }, resolve);
      request.once("error", (cause) => reject(serverFailure(cause, place, signal)));
      request.end(body ?? undefined);
    });

  return {
    call: async (name, request, signal) => {
      // The row's types are those of `name`; TypeScript does not follow them through the union.
      const row = ROUTES[name] as unknown as Route<RequestOf<typeof name>, AnswerOf<typeof name>>;
      const body = toUtf8(JSON.stringify(request));
      const limited = timeLimit(place, CALL_TIMEOUT, signal);
      try {
        const headers = {
          "content-type": "application/json",
          accept: "application/json",
          "content-length": String(body.length),
          // RFC 9110 section 6.6.1. A server whose clock differs too much issues no certificate.
          date: new Date().toUTCString(),
        };
        const response = await send(row.method, row.path, headers, body, limited.signal);
        return await answerOf(response, row.answer, row.answerLimit, place, limited.signal);
      } finally {
        limited.clear();
      }
    },
    wakes: async function* (after, signal, sealedAfter = null) {
      const limited = timeLimit(place, SILENCE, signal);
      const start = {
        ...(after === null ? {} : { "last-event-id": String(after) }),
        ...(sealedAfter === null ? {} : { [SEALED_HEADER]: String(sealedAfter) }),
      };
      try {
        const response = await send(
          "GET",
          WAKE_PATH,
          { accept: "text/event-stream", ...start },
          null,
          limited.signal,
        );
        if (response.statusCode !== 200)
          await answerOf(response, wakeSchema, WAKE_LIMIT, place, limited.signal);
        if (!/^text\/event-stream\b/.test(response.headers["content-type"] ?? "")) {
          response.destroy();
          throw badAnswer(placeName(place), "it is not a stream of events");
        }
        response.socket.setTimeout(0);
        yield* events(response, limited, place);
      } finally {
        limited.clear();
      }
    },
    close: () => agent.destroy(),
  };
}

async function answerOf<T>(
  response: IncomingMessage,
  schema: Schema<T>,
  limit: number,
  server: Place,
  signal: AbortSignal,
): Promise<T> {
  const place = placeName(server);
  const ok = response.statusCode === 200;
  let body: Uint8Array;
  try {
    body = await collect(response, ok ? limit : FAILURE_LIMIT);
  } catch (cause) {
    response.destroy();
    if (cause instanceof BytesError) throw badAnswer(place, "it is longer than allowed", cause);
    throw serverFailure(cause, server, signal);
  }
  if (!ok) throw refusal(response, body, place);
  try {
    return readGrowingMessage(body, schema, "answer of the server", limit);
  } catch (cause) {
    if (cause instanceof GrowthError) throw cause;
    throw badAnswer(place, cause instanceof Error ? cause.message : "it cannot be read", cause);
  }
}

/** What a person at the device can do about a refusal; the wire carries no hints. */
const HINTS: { readonly [code: string]: string } = {
  "fleet/token-expired": "Ask for a new token: `upkeep token new` on the operator's machine makes one.",
  "fleet/token-used": "Ask for a new token. If no device of yours used this one, say so: somebody else did.",
  "fleet/token-unknown":
    "Check that the token was copied whole and that it was made for this server, or ask for a new one.",
  "fleet/device-pending":
    "Ask an operator to approve it: `upkeep device list --state pending` shows it there.",
  "fleet/device-revoked":
    "An operator revoked this device. To bring it back, enroll it again with a new token and new keys.",
  "fleet/key-in-use": "These keys belong to a device already: enroll with an empty data folder.",
  "http/unknown-device": "The server does not know this device's key: enroll it again with a new token.",
  "http/certificate-expired": "The device was away for more than a year: enroll it again with a new token.",
  "http/too-many": "Wait a moment and try again.",
};

function refusal(response: IncomingMessage, body: Uint8Array, place: string): ServerClientError {
  const status = response.statusCode ?? 0;
  const seconds = Number(response.headers["retry-after"]);
  // Capped: otherwise whoever answers once could keep a device away for years.
  const retry: Facts =
    Number.isFinite(seconds) && seconds > 0 ? { retryAfter: Math.min(Math.ceil(seconds), MAX_INTERVAL) } : {};
  try {
    const { code, message, request } = readGrowingMessage(body, failureSchema, "refusal", FAILURE_LIMIT);
    const hint = HINTS[code];
    return new ServerClientError(
      "server/refused",
      `The server at ${place} refused: ${message}`,
      { place, status, code, request, ...retry },
      hint === undefined ? {} : { hint },
    );
  } catch {
    return new ServerClientError("server/refused", `The server at ${place} answered with status ${status}.`, {
      place,
      status,
      ...retry,
    });
  }
}

/** Splits a stream into events: those of other names are for newer devices; a `check` that is no valid wake-up ends it with an error. */
async function* events(
  response: IncomingMessage,
  limited: { readonly signal: AbortSignal; again(): void },
  server: Place,
): AsyncGenerator<Wake | SealedEvent, void, undefined> {
  const place = placeName(server);
  let rest = "";
  response.setEncoding("utf8");
  try {
    for await (const part of response as AsyncIterable<string>) {
      limited.again();
      rest += part;
      for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
        const block = rest.slice(0, end);
        rest = rest.slice(end + 2);
        const wake = readWakeEvent(block);
        if (wake !== null) yield wake;
      }
      if (rest.length > SEALED_EVENT_LIMIT + WAKE_LIMIT * 4)
        throw badAnswer(place, "an event is longer than allowed");
    }
  } catch (cause) {
    if (cause instanceof ServerClientError) throw cause;
    if (cause instanceof UpkeepError) throw badAnswer(place, cause.message, cause);
    throw serverFailure(cause, server, limited.signal);
  } finally {
    response.destroy();
  }
}

function badAnswer(place: string, what: string, cause?: unknown): ServerClientError {
  return new ServerClientError(
    "server/bad-answer",
    `The answer of the server at ${place} is refused: ${what}`,
    { place },
    { cause },
  );
}

function timeLimit(
  place: Place,
  ms: number,
  outer?: AbortSignal,
): { readonly signal: AbortSignal; again(): void; clear(): void } {
  const own = new AbortController();
  const slow = (): void =>
    own.abort(
      new ServerClientError(
        "server/slow",
        `The server at ${placeName(place)} was silent for ${ms / 1000} seconds.`,
        { ...place, ms },
        { hint: "It is overloaded, or something on the way lets connections begin and passes nothing on." },
      ),
    );
  let timer = setTimeout(slow, ms);
  timer.unref();
  const stop = (): void => own.abort(outer!.reason);
  if (outer?.aborted === true) stop();
  outer?.addEventListener("abort", stop, { once: true });
  return {
    signal: own.signal,
    again: () => {
      clearTimeout(timer);
      timer = setTimeout(slow, ms);
      timer.unref();
    },
    clear: () => {
      clearTimeout(timer);
      outer?.removeEventListener("abort", stop);
    },
  };
}
