// What can be wrong with a request, and the HTTP status that says so.

import { UpkeepError, type Facts } from "../../core/errors.ts";

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

export class HttpError extends UpkeepError<HttpErrorCode> {
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

/** RFC 9110 section 15, RFC 6585. Codes that are not here answer 400 when the request caused them, else 500. */
const STATUS: { readonly [code: string]: number } = {
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
  "message/too-large": 413,
  "fleet/token-unknown": 403,
  "fleet/token-used": 403,
  "fleet/token-expired": 403,
  "fleet/device-revoked": 403,
  "fleet/key-in-use": 409,
  "fleet/bad-proof": 400,
  "fleet/clocks-differ": 409,
  "fleet/quota": 429,
  "fleet/store-full": 503,
  "fleet/store-unavailable": 503,
  "fleet/store-corrupt": 503,
  "fleet/store-denied": 503,
  "fleet/store-certificate": 503,
  "fleet/store-foreign": 503,
};

/** Seconds after which a caller may find the records again. */
const STORE_WAIT = "15";

/** Rooms whose errors speak of what the caller sent. */
const CALLERS_FAULT = /^(?:json|bytes|schema|message|report|identity|dsse|der|x509)\//;

export function statusOf(code: string): number {
  return STATUS[code] ?? (CALLERS_FAULT.test(code) ? 400 : 500);
}

/** The error in the form that may leave this machine: a fault of our own shows no detail. */
export function presentable(error: unknown): {
  status: number;
  error: UpkeepError;
  headers: Readonly<Record<string, string>>;
} {
  if (error instanceof UpkeepError) {
    const status = statusOf(error.code);
    const headers = error instanceof HttpError ? error.headers : {};
    // Where the records are kept, and as whom, is nobody's business out there.
    if (error.code.startsWith("fleet/store-")) {
      const sentence = "The server cannot use its records now; try again later.";
      const told = new UpkeepError(error.code, sentence, {}, { cause: error });
      return { status: 503, error: told, headers: { "retry-after": STORE_WAIT } };
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
