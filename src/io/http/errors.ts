// What can be wrong with a request, and the HTTP status that says so.

import { BytesError } from "../../core/bytes.ts";
import { GrowthError } from "../../core/growth.ts";
import { DsseError } from "../../core/dsse.ts";
import { FAILED, REFUSED, UNREACHABLE, UpkeepError, type Facts, type Traits } from "../../core/errors.ts";
import { JsonError } from "../../core/json.ts";
import { SchemaError } from "../../core/schema.ts";
import { DerError } from "../../der/errors.ts";
import { FleetError, type FleetErrorCode } from "../../fleet/errors.ts";
import { LicenseError, type LicenseErrorCode } from "../../license/errors.ts";
import { IdentityError } from "../../identity/errors.ts";
import { MessageError } from "../../message/errors.ts";
import { ReportError } from "../../report/errors.ts";

export type HttpErrorCode =
  | "http/bad-request"
  | "http/cannot-listen"
  | "http/no-certificate"
  | "http/certificate-expired"
  | "http/authority-revoked"
  | "http/unknown-device"
  | "http/not-found"
  | "http/method-not-allowed"
  | "http/too-slow"
  | "http/too-large"
  | "http/too-long-address"
  | "http/wrong-media-type"
  | "http/bad-range"
  | "http/expectation"
  | "http/headers-too-large"
  | "http/too-many"
  | "http/internal"
  | "http/unavailable";

export const HTTP_ERRORS = {
  "http/bad-request": REFUSED,
  "http/cannot-listen": FAILED,
  "http/no-certificate": REFUSED,
  "http/certificate-expired": REFUSED,
  "http/authority-revoked": REFUSED,
  "http/unknown-device": REFUSED,
  "http/not-found": REFUSED,
  "http/method-not-allowed": REFUSED,
  "http/too-slow": UNREACHABLE,
  "http/too-large": REFUSED,
  "http/too-long-address": REFUSED,
  "http/wrong-media-type": REFUSED,
  "http/bad-range": REFUSED,
  "http/expectation": REFUSED,
  "http/headers-too-large": REFUSED,
  "http/too-many": { nature: "transient", exit: "refused" },
  "http/internal": FAILED,
  "http/unavailable": UNREACHABLE,
} satisfies Traits<HttpErrorCode>;

export class HttpError extends UpkeepError<HttpErrorCode> {
  protected override get traits(): Traits<HttpErrorCode> {
    return HTTP_ERRORS;
  }

  /** Header fields the answer needs, such as `allow` or `retry-after`. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: HttpErrorCode,
    message: string,
    facts: Facts = {},
    options: { cause?: unknown; hint?: string; headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(code, message, facts, options);
    this.headers = options.headers ?? {};
  }
}

/** RFC 9110 section 15, RFC 6585. */
const STATUS: { readonly [C in HttpErrorCode]: number } = {
  "http/bad-request": 400,
  "http/no-certificate": 401,
  "http/certificate-expired": 401,
  "http/authority-revoked": 401,
  "http/unknown-device": 403,
  "http/not-found": 404,
  "http/method-not-allowed": 405,
  "http/too-slow": 408,
  "http/too-large": 413,
  "http/too-long-address": 414,
  "http/wrong-media-type": 415,
  "http/bad-range": 416,
  "http/expectation": 417,
  "http/too-many": 429,
  "http/headers-too-large": 431,
  "http/internal": 500,
  "http/unavailable": 503,
  "http/cannot-listen": 500,
};

type StoreCode = Extract<FleetErrorCode, `fleet/store-${string}`>;
/** What the fleet refuses; its other codes are for its operator, not for callers. */
const FLEET: { readonly [C in Exclude<FleetErrorCode, StoreCode>]?: number } = {
  "fleet/token-unknown": 403,
  "fleet/token-used": 403,
  "fleet/token-expired": 403,
  "fleet/device-pending": 403,
  "fleet/device-revoked": 403,
  "fleet/key-in-use": 409,
  "fleet/bad-proof": 400,
  "fleet/clocks-differ": 409,
  "fleet/quota": 429,
};
/** Where the records are kept, and as whom, is nobody's business out there: all of these are told alike. */
const STORE: { readonly [C in StoreCode]: true } = {
  "fleet/store-in-use": true,
  "fleet/store-corrupt": true,
  "fleet/store-missing": true,
  "fleet/store-newer": true,
  "fleet/store-full": true,
  "fleet/store-unavailable": true,
  "fleet/store-denied": true,
  "fleet/store-certificate": true,
  "fleet/store-foreign": true,
  "fleet/store-not-empty": true,
};

/** What a license refuses, by what it says about the caller; the rest is about what the caller sent. */
const LICENSE: { readonly [C in LicenseErrorCode]?: number } = {
  "license/key-mismatch": 401,
  "license/bad-webhook": 401,
  "license/unknown": 404,
  "license/bad-challenge": 409,
  "license/no-seat": 409,
  "license/seat-held": 409,
  "license/revoked": 403,
  "license/expired": 403,
  "license/storage": 403,
  "license/trial-used": 403,
  "license/transfer-limit": 403,
  "license/not-entitled": 403,
  "license/no-lease-key": 503,
};

/** Seconds after which a caller may find the records again. */
const STORE_WAIT = "15";

/** Rooms whose errors speak of what the caller sent. */
const CALLERS_FAULT = [
  BytesError,
  DerError,
  DsseError,
  GrowthError,
  IdentityError,
  JsonError,
  MessageError,
  ReportError,
  SchemaError,
] as const;

export function statusOf(error: UpkeepError): number {
  if (error instanceof HttpError) return STATUS[error.code];
  if (error instanceof FleetError)
    return isStoreTrouble(error) ? 503 : ((FLEET as { readonly [code: string]: number })[error.code] ?? 500);
  if (error instanceof LicenseError) return LICENSE[error.code] ?? 400;
  if (error instanceof MessageError && error.code === "message/too-large") return 413;
  return CALLERS_FAULT.some((room) => error instanceof room) ? 400 : 500;
}

function isStoreTrouble(error: FleetError): boolean {
  return Object.hasOwn(STORE, error.code);
}

/** The error in the form that may leave this machine: a fault of our own shows no detail. */
export function presentable(error: unknown): {
  status: number;
  error: UpkeepError;
  headers: Readonly<Record<string, string>>;
} {
  if (error instanceof UpkeepError) {
    const status = statusOf(error);
    const headers = error instanceof HttpError ? error.headers : {};
    if (error instanceof FleetError && isStoreTrouble(error)) {
      const sentence = "The server cannot use its records now; try again later.";
      const shown = new FleetError(error.code, sentence, {}, { cause: error });
      return { status, error: shown, headers: { "retry-after": STORE_WAIT } };
    }
    if (status !== 500) return { status, error, headers };
  }
  const hidden = new HttpError(
    "http/internal",
    "The server could not answer; its log says why, under the request's number.",
    {},
    { cause: error },
  );
  return { status: 500, error: hidden, headers: {} };
}
