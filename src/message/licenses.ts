// What device and server say to each other about licenses; the signed documents inside are the license room's, and opaque here.

import { growing, needing } from "../core/growth.ts";
import type { Json } from "../core/json.ts";
import { checkSchema, nameSchema, versionSchema, z } from "../core/schema.ts";
import { base64Schema, codeSchema, nonceSchema, textSchema } from "./common.ts";

/** Bytes of one signed document. */
const DOCUMENT = 64 * 1024;
export const LICENSE_BODY_LIMIT = 128 * 1024;
/** Licensed products of one device. */
export const MAX_LICENSES = 16;

const activation = z.string().check(z.regex(/^act-[0-9a-f]{16}$/, "expected act- and 16 hex digits"));
const token = z.string().check(z.regex(/^[0-9a-f]{32}$/, "expected 32 lower-case hex digits"));

const askedSchema = growing({
  activation,
  rev: z.number().check(z.int(), z.minimum(1)),
  chainNonce: token,
  requestId: token,
  clientNonce: token,
  /** Keyed digest of the start of this machine: says that two renewals are of one run, and nothing else. */
  boot: token,
});
export const licensesAskedSchema = z.array(askedSchema).check(z.maxLength(MAX_LICENSES));
export type LicenseAsked = z.infer<typeof askedSchema>;

const answeredSchema = growing({
  activation,
  /** One of `lease` and `code`. */
  lease: z.exactOptional(base64Schema(DOCUMENT)),
  /** Where the device has another revision. */
  license: z.exactOptional(base64Schema(DOCUMENT)),
  code: z.exactOptional(codeSchema),
  message: z.exactOptional(textSchema(500)),
});
export const licensesAnswerSchema = z.array(answeredSchema).check(z.maxLength(MAX_LICENSES));
export type LicenseAnswered = z.infer<typeof answeredSchema>;

/** The part of a check-in about licenses, and of its answer. Errors: `schema/invalid`, which is of no concern to the rest of the check-in. */
export const readAsked = (value: unknown): readonly LicenseAsked[] =>
  checkSchema(licensesAskedSchema, value as Json, "part about licenses of the check-in");
export const readAnswered = (value: unknown): readonly LicenseAnswered[] =>
  checkSchema(licensesAnswerSchema, value as Json, "part about licenses of the answer");

const notEntitledSchema = z
  .array(growing({ product: nameSchema, version: versionSchema, message: textSchema(500) }))
  .check(z.maxLength(64));
/** Errors: `schema/invalid`. */
export const readNotEntitled = (value: unknown) =>
  checkSchema(notEntitledSchema, (value ?? []) as Json, "list of what is not offered");

export const challengeRequestSchema = growing({ ...needing });
export const challengeAnswerSchema = growing({ ...needing, challenge: nonceSchema });

export const activateRequestSchema = growing({ ...needing, request: base64Schema(DOCUMENT) });
export const activateAnswerSchema = growing({
  ...needing,
  license: base64Schema(DOCUMENT),
  lease: base64Schema(DOCUMENT),
});

export const licenseReportsRequestSchema = growing({
  ...needing,
  receipts: z.array(base64Schema(8 * 1024)).check(z.maxLength(16)),
  usage: z.array(base64Schema(8 * 1024)).check(z.maxLength(16)),
});
const verdictSchema = z.strictObject({ code: z.nullable(codeSchema), message: textSchema(500) });
export const licenseReportsAnswerSchema = growing({
  ...needing,
  /** In the order of the request; `code` is null for what was taken. */
  receipts: z.array(verdictSchema).check(z.maxLength(16)),
  usage: z.array(verdictSchema).check(z.maxLength(16)),
});
export type LicenseVerdict = z.infer<typeof verdictSchema>;
