// The device plane: which request goes where, and what has to be true before it gets there.

import { toUtf8 } from "../../core/bytes.ts";
import { KNOWN_FEATURES } from "../../core/features.ts";
import type { Program } from "../../core/growth.ts";
import { checkSchema, type Schema } from "../../core/schema.ts";
import { Quotas } from "../../fleet/quota.ts";
import type { Clock } from "../../core/clock.ts";
import type { Device } from "../../fleet/records.ts";
import { HttpError } from "../../io/http/errors.ts";
import type { Answer, Call, Handler } from "../../io/http/server.ts";
import { peerKey } from "../../io/http/request.ts";
import type { StaticFiles } from "../../io/http/static-files.ts";
import type { TransferBudget } from "../../io/http/transfer-budget.ts";
import type { WakeHub } from "../../io/http/wake-hub.ts";
import { readGrowingMessage } from "../../message/common.ts";
import { openApi } from "../../message/openapi.ts";
import { ROUTES, WAKE_PATH, type Route, type RouteName } from "../../message/routes.ts";
import { SEALED_HEADER, wakeQuerySchema, type WakeQuery } from "../../message/wake.ts";
import type { Api } from "./api.ts";
import type { Entitlements } from "./entitlements.ts";
import type { FleetView } from "./fleet-view.ts";
import { WEBHOOK_PATH, type LicenseApi } from "./license-api.ts";
import type { PostOffice } from "./post-office.ts";
import { tooMany } from "./quota-errors.ts";

type AnyRoute = Route<unknown, unknown>;
type AnyHandler = (call: Call, request: unknown, device: Device | null) => Promise<object>;

const REPOSITORY = "/repository/";

export function devicePlane(parts: {
  readonly api: Api;
  readonly licenses: LicenseApi;
  readonly entitlements: Pick<Entitlements, "admit">;
  readonly files: StaticFiles;
  readonly hub: WakeHub;
  readonly view: FleetView;
  readonly office: PostOffice;
  readonly clock: Clock;
  readonly version: string;
  readonly transfers: TransferBudget;
  readonly sharedAddresses?: readonly string[];
}): Handler {
  const { api, licenses, entitlements, files, hub, view, office, clock, transfers } = parts;
  const table = new Map(
    Object.entries(ROUTES).map(([name, row]) => [
      row.path as string,
      { row: row as unknown as AnyRoute, handler: api.handlers[name as RouteName] as unknown as AnyHandler },
    ]),
  );
  const server: Program = { version: parts.version, features: [...KNOWN_FEATURES] };
  const streams = new Quotas({ burst: 10, refillMs: 3000 });
  const shared = new Set((parts.sharedAddresses ?? []).map(peerKey));
  /** Many devices are behind a shared address: there a caller without a certificate is nobody in particular. */
  const sendFile = async (call: Call, path: string): Promise<Answer> => {
    const [device, address] = [call.certificate?.spki ?? null, peerKey(call.address)];
    if (device === null && shared.has(address)) return files.answer(call, path);
    transfers.check(device, address);
    const answer = await files.answer(call, path);
    if (!("stream" in answer)) return answer;
    return {
      stream: (response) => transfers.carry(device, address, response, () => answer.stream(response)),
    };
  };
  const description = toUtf8(JSON.stringify(openApi(parts.version), null, 1));

  return async (call) => {
    if (call.path.startsWith(REPOSITORY)) {
      const path = call.path.slice(REPOSITORY.length);
      if (!/^(?:metadata|targets)\//.test(path)) throw notFound();
      await entitlements.admit(path, () => api.identify(call));
      return sendFile(call, path);
    }
    if (call.path === WAKE_PATH) {
      only(call, "GET");
      const device = await api.identify(call);
      const wait = streams.take(device.id, clock.monotonic());
      if (wait > 0) throw tooMany("wake-up streams of this device", wait);
      return wakeAnswer(call, device, hub, view, office);
    }
    if (call.path === "/v1/openapi.json") {
      only(call, "GET", "HEAD");
      return { status: 200, headers: { "content-type": "application/json" }, body: description };
    }
    if (call.path === WEBHOOK_PATH) {
      only(call, "POST");
      needJson(call);
      return licenses.webhook(call);
    }
    const entry = table.get(call.path);
    if (entry === undefined) throw notFound();
    const { row, handler } = entry;
    only(call, row.method);
    if (call.query !== "") throw new HttpError("http/bad-request", "This call takes no query.");
    needJson(call);
    // Who it is before what it says: strangers cost no parsing.
    const device = row.caller === "anyone" ? null : await api.identify(call, row.caller);
    const body = await call.body(row.requestLimit);
    const request = readGrowingMessage(body, row.request, "request", row.requestLimit);
    const answer = await handler(call, request, device);
    return {
      status: 200,
      headers: { "content-type": "application/json" },
      body: toUtf8(`${JSON.stringify({ server, ...answer })}\n`),
    };
  };
}

function wakeAnswer(call: Call, device: Device, hub: WakeHub, view: FleetView, office: PostOffice): Answer {
  const query = readQuery(call.query);
  const asked = call.headers[SEALED_HEADER];
  const sealedAfter = wakeNumber(typeof asked === "string" ? asked : undefined);
  const last = call.headers["last-event-id"];
  const after = wakeNumber(typeof last === "string" ? last : query.after);
  if (!hub.hasRoom(device.id)) {
    throw new HttpError(
      "http/unavailable",
      "Too many devices wait already; poll instead and try later.",
      {},
      {
        headers: { "retry-after": "300" },
      },
    );
  }
  const newest = view.newestWake(device);
  // What was asked while the device was away goes out as soon as it listens.
  const catchUp = (): Promise<number> => office.deliver(hub.addressees(device.id));
  if (query.wait === undefined) {
    return {
      stream: async (response) => {
        const done = hub.stream(device, response, { after, newest, sealedAfter });
        if (sealedAfter !== null) await catchUp();
        await done;
      },
    };
  }
  const ms = Number(query.wait) * 1000;
  if (query.sealed !== undefined) return sealedPoll(call, device, hub, Number(query.sealed), ms, catchUp);
  return {
    stream: async (response) => {
      response.socket?.setTimeout(ms + 10_000);
      const wake = await hub.wait(device, { after: after ?? newest, newest }, ms, call.signal);
      response.setHeader("cache-control", "no-store");
      if (wake === null) {
        response.writeHead(204).end();
        return;
      }
      response.setHeader("content-type", "application/json");
      response.end(`${JSON.stringify(wake)}\n`);
    },
  };
}

/** The long-poll form of sealed messages: 200 with the bytes of one, or 204. */
function sealedPoll(
  call: Call,
  device: Device,
  hub: WakeHub,
  after: number,
  ms: number,
  catchUp: () => Promise<number>,
): Answer {
  return {
    stream: async (response) => {
      response.socket?.setTimeout(ms + 10_000);
      const next = hub.waitSealed(device, after, ms, call.signal);
      await catchUp();
      const message = await next;
      response.setHeader("cache-control", "no-store");
      if (message === null) {
        response.writeHead(204).end();
        return;
      }
      response.setHeader("content-type", "application/vnd.upkeep.sealed-message");
      response.end(message);
    },
  };
}

function wakeNumber(text: string | undefined): number | null {
  if (text === undefined) return null;
  const { after } = checkSchema(wakeQuerySchema, { after: text }, "last event id");
  return Number(after);
}

function readQuery(query: string): WakeQuery {
  const pairs = [...new URLSearchParams(query)];
  if (new Set(pairs.map(([name]) => name)).size !== pairs.length) {
    throw new HttpError("http/bad-request", "A query parameter stands twice.");
  }
  return checkSchema(wakeQuerySchema as Schema<WakeQuery>, Object.fromEntries(pairs), "query");
}

function only(call: Call, ...methods: readonly string[]): void {
  if (methods.includes(call.method)) return;
  throw new HttpError(
    "http/method-not-allowed",
    `This address answers to ${methods.join(" and ")} only.`,
    {},
    {
      headers: { allow: methods.join(", ") },
    },
  );
}

/** A browser cannot be made to send this media type across sites without asking first. */
function needJson(call: Call): void {
  const type = (call.headers["content-type"] ?? "").toLowerCase().replace(/\s/g, "");
  if (type === "application/json" || type === "application/json;charset=utf-8") return;
  throw new HttpError("http/wrong-media-type", "The request's body has to be application/json.");
}

function notFound(): HttpError {
  return new HttpError("http/not-found", "There is nothing at this address.");
}
