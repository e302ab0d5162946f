// What the server answers about licenses: activations, renewals inside a check-in, receipts and usage, and the hook of payments.

import { createHmac, timingSafeEqual } from "node:crypto";
import { fromBase64, fromHex, fromUtf8, toBase64, toHex, toUtf8 } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { UpkeepError } from "../../core/errors.ts";
import { MINUTE, SECOND } from "../../core/instant.ts";
import { parseJson } from "../../core/json.ts";
import type { DsseSigner } from "../../core/dsse.ts";
import type { Random } from "../../core/random.ts";
import { checkSchema, z } from "../../core/schema.ts";
import { activate, newChallenge } from "../../fleet/licenses/activate.ts";
import { switchOptions } from "../../fleet/licenses/books.ts";
import type { Mint } from "../../fleet/licenses/mint.ts";
import { renewLease } from "../../fleet/licenses/renew.ts";
import { takeReceipt, takeUsage } from "../../fleet/licenses/usage.ts";
import { Quotas } from "../../fleet/quota.ts";
import type { Device } from "../../fleet/records.ts";
import type { FleetStore, StoreRecords } from "../../fleet/store.ts";
import type { Answer, Call } from "../../io/http/server.ts";
import { parseTufKey, type PublicKey } from "../../keys/public-key.ts";
import { openActivation, openReceipt, openUsage } from "../../license/device-documents.ts";
import { LicenseError } from "../../license/errors.ts";
import { licenseIdSchema } from "../../license/terms.ts";
import {
  readAsked,
  type LicenseAnswered,
  type LicenseAsked,
  type LicenseVerdict,
} from "../../message/licenses.ts";
import type { AnswerOf, RequestOf } from "../../message/routes.ts";
import { tooMany } from "./quota-errors.ts";
import type { Metrics } from "./metrics.ts";

export type LicenseApiOptions = {
  readonly store: FleetStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  /** The online lease key; null where this server leases nothing. */
  readonly leases: DsseSigner | null;
  /** The secret that payments are announced under; null while there is none. */
  readonly webhookSecret: () => Promise<Uint8Array | null>;
};

export const WEBHOOK_PATH = "/v1/license/webhook";
const WEBHOOK_LIMIT = 16 * 1024;
/** How far apart the clocks of a payment service and this server may be. */
const WEBHOOK_SKEW = 5 * MINUTE;
/** Documents of one answer together: the rest of the leases comes with the next check-in. */
const SECTION = 512 * 1024;

const eventSchema = z.strictObject({
  /** Each event counts once, however often it is delivered. */
  id: z.string().check(z.regex(/^[A-Za-z0-9_.-]{1,128}$/, "expected an id")),
  license: licenseIdSchema,
  enable: z.exactOptional(z.array(z.string()).check(z.maxLength(32))),
  disable: z.exactOptional(z.array(z.string()).check(z.maxLength(32))),
});

export type LicenseApi = {
  challenge(device: Device): Promise<AnswerOf<"licenseChallenge">>;
  activate(
    call: Call,
    request: RequestOf<"licenseActivate">,
    device: Device,
  ): Promise<AnswerOf<"licenseActivate">>;
  reports(request: RequestOf<"licenseReports">, device: Device): Promise<AnswerOf<"licenseReports">>;
  /** Undefined where nothing was asked. Never throws: the rest of the check-in goes on. */
  section(call: Call, asked: unknown, device: Device): Promise<readonly LicenseAnswered[] | undefined>;
  webhook(call: Call): Promise<Answer>;
};

export function licenseApi(options: LicenseApiOptions): LicenseApi {
  const { store, clock, random, metrics } = options;
  const activations = new Quotas({ burst: 20, refillMs: MINUTE });
  const hooks = new Quotas({ burst: 60, refillMs: SECOND });
  const spend = (quotas: Quotas, key: string, what: string): void => {
    const wait = quotas.take(key, clock.monotonic());
    if (wait > 0) throw tooMany(what, wait);
  };
  const mint = (): Mint => {
    if (options.leases !== null) return { signer: options.leases, random };
    throw new LicenseError(
      "license/no-lease-key",
      "This server has no lease key.",
      {},
      { hint: "Make one with `upkeep license keys`, and start the server again." },
    );
  };
  const inTransaction = <T>(work: (records: StoreRecords, now: number) => Promise<T>): Promise<T> => {
    const now = Math.floor(clock.now() / SECOND) * SECOND;
    return store.transaction((records) => work(records, now));
  };

  return {
    challenge: async (device) => {
      spend(activations, device.id, "activations of this device");
      return {
        challenge: await inTransaction((records, now) => newChallenge(records, now, device.id, { random })),
      };
    },
    activate: async (call, { request: envelope }, device) => {
      spend(activations, device.id, "activations of this device");
      const request = openActivation(fromBase64(envelope), { key: keyOf(device), device: device.id });
      const actor = `device:${device.id}`;
      const { license, lease } = await inTransaction((records, now) =>
        activate(records, now, mint(), { request, days: null, actor, address: call.address }),
      );
      metrics.count("upkeep_leases_total", { result: "activated" });
      return { license: toBase64(toUtf8(license)), lease: toBase64(toUtf8(lease)) };
    },
    reports: async ({ receipts, usage }, device) => {
      const by = { key: keyOf(device), device: device.id };
      const actor = `device:${device.id}`;
      return {
        receipts: await each(receipts, (bytes) => {
          const receipt = openReceipt(bytes, by);
          return inTransaction((records, now) => takeReceipt(records, now, receipt, { actor }));
        }),
        usage: await each(usage, (bytes) => {
          const report = openUsage(bytes, by);
          return inTransaction((records, now) => takeUsage(records, now, report));
        }),
      };
    },
    section: async (call, asked, device) => {
      if (asked === undefined) return undefined;
      const answers: LicenseAnswered[] = [];
      try {
        let bytes = 0;
        for (const one of readAsked(asked)) {
          const answer = await renewOne(one, device, call.address);
          bytes += (answer.lease?.length ?? 0) + (answer.license?.length ?? 0);
          if (bytes > SECTION) break;
          answers.push(answer);
        }
      } catch (error) {
        if (!(error instanceof UpkeepError)) throw error;
        call.notes["licenses"] = error.code;
      }
      return answers;
    },
    webhook: async (call) => {
      spend(hooks, call.address, "calls of the payment hook from this address");
      const body = await call.body(WEBHOOK_LIMIT);
      const secret = await options.webhookSecret();
      if (secret === null || !isSigned(call.headers["upkeep-signature"], body, secret, clock.now()))
        throw new LicenseError(
          "license/bad-webhook",
          "The call is not signed with this server's secret, or its time is more than five minutes off.",
        );
      const event = checkSchema(eventSchema, parseJson(body), "announcement of a payment");
      const { enable = [], disable = [] } = event;
      const done = await inTransaction(async (records, now) => {
        if (await records.webhookEvent(event.id)) return false;
        await records.addWebhookEvent(event.id, now);
        const by = { actor: `webhook:${event.id}`, now };
        await switchOptions(records, by, event.license, { enable, disable });
        return true;
      });
      const answer = { result: done ? "taken" : "known" };
      return {
        status: 200,
        headers: { "content-type": "application/json" },
        body: toUtf8(`${JSON.stringify(answer)}\n`),
      };
    },
  };

  async function renewOne(asked: LicenseAsked, device: Device, address: string): Promise<LicenseAnswered> {
    const { activation } = asked;
    try {
      const { lease, license } = await inTransaction((records, now) =>
        renewLease(records, now, mint(), device, asked, address),
      );
      metrics.count("upkeep_leases_total", { result: "renewed" });
      return {
        activation,
        lease: toBase64(toUtf8(lease)),
        ...(license === null ? {} : { license: toBase64(toUtf8(license)) }),
      };
    } catch (error) {
      metrics.count("upkeep_leases_total", { result: "refused" });
      if (error instanceof LicenseError) return { activation, ...verdictOf(error) };
      // Trouble of this server is no word about the license.
      if (error instanceof UpkeepError)
        return { activation, code: "license/later", message: "Try again later." };
      throw error;
    }
  }
}

function verdictOf({ code, message }: UpkeepError): { readonly code: string; readonly message: string } {
  return { code, message: message.slice(0, 500) };
}

async function each(
  documents: readonly string[],
  take: (bytes: Uint8Array) => Promise<unknown>,
): Promise<LicenseVerdict[]> {
  const verdicts: LicenseVerdict[] = [];
  for (const document of documents) {
    try {
      await take(fromBase64(document));
      verdicts.push({ code: null, message: "" });
    } catch (error) {
      if (!(error instanceof UpkeepError) || error.trait.nature === "transient") throw error;
      verdicts.push(verdictOf(error));
    }
  }
  return verdicts;
}

/** `t=SECONDS,v1=HEX`: HMAC-SHA256 under the secret, over the seconds, a dot, and the body as it came. */
export function signWebhook(body: Uint8Array, secret: Uint8Array, at: number): string {
  const seconds = Math.floor(at / SECOND);
  return `t=${seconds},v1=${toHex(macOf(seconds, body, secret))}`;
}

function isSigned(
  header: string | string[] | undefined,
  body: Uint8Array,
  secret: Uint8Array,
  now: number,
): boolean {
  const match = typeof header === "string" ? /^t=(\d{1,12}),v1=([0-9a-f]{64})$/.exec(header) : null;
  if (match === null) return false;
  const seconds = Number(match[1]);
  const good = timingSafeEqual(fromHex(match[2]!), macOf(seconds, body, secret));
  return good && Math.abs(now - seconds * SECOND) <= WEBHOOK_SKEW;
}

function macOf(seconds: number, body: Uint8Array, secret: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac("sha256", secret).update(`${seconds}.`).update(body).digest());
}

/** The secret as its file holds it: 32 bytes in hex on one line. */
export function readWebhookSecret(bytes: Uint8Array): Uint8Array {
  return fromHex(fromUtf8(bytes).trim());
}

function keyOf({ reportKey }: Pick<Device, "reportKey">): PublicKey {
  return parseTufKey({ keytype: "ed25519", scheme: "ed25519", keyval: { public: reportKey } });
}
