// The HTTP interface as data: one row per call gives the server its validation and limits, the client its types, and OpenAPI its text.

import { growing, needing } from "../core/growth.ts";
import { z, type Schema } from "../core/schema.ts";
import { checkInAnswerSchema, checkInRequestSchema, CHECK_IN_LIMIT } from "./check-in.ts";
import { codeSchema, textSchema } from "./common.ts";
import {
  ENROLL_LIMIT,
  enrollAnswerSchema,
  enrollRequestSchema,
  renewAnswerSchema,
  renewRequestSchema,
} from "./enroll.ts";
import {
  activateAnswerSchema,
  activateRequestSchema,
  challengeAnswerSchema,
  challengeRequestSchema,
  LICENSE_BODY_LIMIT,
  licenseReportsAnswerSchema,
  licenseReportsRequestSchema,
} from "./licenses.ts";
import { reportsAnswerSchema, reportsRequestSchema, REPORTS_LIMIT } from "./reports.ts";

/**
 * Who may call: anyone (what they bring decides), a device that showed its certificate and is not revoked,
 * or such a device even if its certificate has expired while it was switched off.
 */
export type Caller = "anyone" | "device" | "device-even-expired";

export type Route<Request, Answer> = {
  readonly method: "POST";
  readonly path: `/v1/${string}`;
  readonly summary: string;
  readonly caller: Caller;
  readonly request: Schema<Request>;
  /** Bytes of the request's body. */
  readonly requestLimit: number;
  readonly answer: Schema<Answer>;
  /** Bytes of the answer's body. */
  readonly answerLimit: number;
};

function route<Request, Answer>(row: Route<Request, Answer>): Route<Request, Answer> {
  return row;
}

export const ROUTES = {
  enroll: route({
    method: "POST",
    path: "/v1/enroll",
    summary: "Exchange a one-time token for a device certificate.",
    caller: "anyone",
    request: enrollRequestSchema,
    requestLimit: ENROLL_LIMIT,
    answer: enrollAnswerSchema,
    answerLimit: ENROLL_LIMIT * 2,
  }),
  checkIn: route({
    method: "POST",
    path: "/v1/check-in",
    summary: "Ask what this device should run.",
    caller: "device",
    request: checkInRequestSchema,
    requestLimit: CHECK_IN_LIMIT,
    answer: checkInAnswerSchema,
    answerLimit: 1024 * 1024,
  }),
  reports: route({
    method: "POST",
    path: "/v1/reports",
    summary: "Deliver signed reports.",
    caller: "device",
    request: reportsRequestSchema,
    requestLimit: REPORTS_LIMIT,
    answer: reportsAnswerSchema,
    answerLimit: 64 * 1024,
  }),
  renew: route({
    method: "POST",
    path: "/v1/certificate",
    summary: "Renew the device certificate with a new key; also up to a year after it has expired.",
    caller: "device-even-expired",
    request: renewRequestSchema,
    requestLimit: ENROLL_LIMIT,
    answer: renewAnswerSchema,
    answerLimit: ENROLL_LIMIT * 2,
  }),
  licenseChallenge: route({
    method: "POST",
    path: "/v1/license/challenge",
    summary: "Ask for a number that one activation has to sign.",
    caller: "device",
    request: challengeRequestSchema,
    requestLimit: 1024,
    answer: challengeAnswerSchema,
    answerLimit: 4096,
  }),
  licenseActivate: route({
    method: "POST",
    path: "/v1/license/activate",
    summary: "Take a seat of a license for this device.",
    caller: "device",
    request: activateRequestSchema,
    requestLimit: LICENSE_BODY_LIMIT,
    answer: activateAnswerSchema,
    answerLimit: LICENSE_BODY_LIMIT * 2,
  }),
  licenseReports: route({
    method: "POST",
    path: "/v1/license/reports",
    summary: "Deliver signed receipts of seats given back, and usage reports.",
    caller: "device",
    request: licenseReportsRequestSchema,
    requestLimit: LICENSE_BODY_LIMIT * 2,
    answer: licenseReportsAnswerSchema,
    answerLimit: 64 * 1024,
  }),
} as const;

export type Routes = typeof ROUTES;
export type RouteName = keyof Routes;
export type RequestOf<N extends RouteName> = Routes[N] extends { readonly request: Schema<infer R> }
  ? R
  : never;
export type AnswerOf<N extends RouteName> = Routes[N] extends { readonly answer: Schema<infer A> }
  ? A
  : never;

/** The wake-up stream stands beside the table because its answer is a stream. */
export const WAKE_PATH = "/v1/wake";

/** The body of every answer that is not a success. */
export const failureSchema = growing({
  ...needing,
  code: codeSchema,
  message: textSchema(2000),
  /** Names the line in the server's log. */
  request: z.string().check(z.regex(/^[0-9a-f]{16}$/, "expected 16 lower-case hex digits")),
});
export type Failure = z.infer<typeof failureSchema>;
export const FAILURE_LIMIT = 8 * 1024;
