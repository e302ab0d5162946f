// What a device says under its own key: a request for a seat, the receipt for one given back, and how much was used (spec/activation.md).

import { sha256Hex } from "../core/digest.ts";
import {
  signEnvelope,
  verifyEnvelope,
  type DocumentKind,
  type DsseSigner,
  type DsseVerifier,
} from "../core/dsse.ts";
import { checkWritten, needing, readGrowing } from "../core/growth.ts";
import { parseJson, type Json } from "../core/json.ts";
import { instantSchema, nameSchema, sha256Schema, z, type Schema } from "../core/schema.ts";
import { stableJson } from "../core/stable-json.ts";
import { deviceIdSchema, nonceSchema } from "../message/common.ts";
import { LicenseError } from "./errors.ts";
import {
  activationIdSchema,
  confirmationSchema,
  count,
  LICENSE_LIMIT,
  licenseIdSchema,
  tokenSchema,
} from "./terms.ts";

/** A claim code as people type it: 5 groups of 5 characters without those that look alike. */
export const claimSchema = z
  .string()
  .check(z.regex(/^[2-9A-HJ-NP-Z]{5}(?:-[2-9A-HJ-NP-Z]{5}){4}$/, "expected a code such as 7KQ2M-…"));

/** Hints of what the machine is, as keyed digests: for people who look into an alarm, never a reason to refuse. */
const hintsSchema = z.array(sha256Schema).check(z.maxLength(8));

const activationRequestSchema = z.strictObject({
  ...needing,
  requestId: tokenSchema,
  device: deviceIdSchema,
  cnf: confirmationSchema,
  product: nameSchema,
  /** One of both. */
  claim: z.exactOptional(claimSchema),
  license: z.exactOptional(licenseIdSchema),
  /** The server's challenge; null in a request that goes by file. */
  challenge: z.nullable(nonceSchema),
  clientNonce: tokenSchema,
  storage: z.enum(["software", "tpm"]),
  hints: hintsSchema,
});
export type ActivationRequest = Readonly<z.infer<typeof activationRequestSchema>>;

const receiptSchema = z.strictObject({
  ...needing,
  device: deviceIdSchema,
  license: licenseIdSchema,
  activation: activationIdSchema,
  /** The lease that is given up: it counts here no more. */
  lease: sha256Schema,
  seq: count(1, Number.MAX_SAFE_INTEGER),
  at: instantSchema,
});
export type DeactivationReceipt = Readonly<z.infer<typeof receiptSchema>>;

const usageSchema = z.strictObject({
  ...needing,
  device: deviceIdSchema,
  license: licenseIdSchema,
  activation: activationIdSchema,
  /** Counters since the activation, which only grow: a report that arrives twice changes nothing. */
  used: z.record(nameSchema, count(0, Number.MAX_SAFE_INTEGER)),
  /** Of features that were asked for and not granted. */
  refused: z.record(nameSchema, count(0, Number.MAX_SAFE_INTEGER)),
  /** Steps of the clock by more than a day that were noticed. */
  clockSteps: count(0, Number.MAX_SAFE_INTEGER),
  at: instantSchema,
});
export type UsageReport = Readonly<z.infer<typeof usageSchema>>;

type Form<T> = { readonly kind: DocumentKind; readonly schema: Schema<T>; readonly what: string };
const ACTIVATION: Form<ActivationRequest> = {
  kind: "activation-request",
  schema: activationRequestSchema,
  what: "activation request",
};
const RECEIPT: Form<DeactivationReceipt> = {
  kind: "deactivation-receipt",
  schema: receiptSchema,
  what: "deactivation receipt",
};
const USAGE: Form<UsageReport> = { kind: "usage-report", schema: usageSchema, what: "usage report" };

export const signActivation = (request: ActivationRequest, key: DsseSigner) => sign(ACTIVATION, request, key);
export const signReceipt = (receipt: DeactivationReceipt, key: DsseSigner) => sign(RECEIPT, receipt, key);
export const signUsage = (usage: UsageReport, key: DsseSigner) => sign(USAGE, usage, key);

type By = { readonly key: DsseVerifier; readonly device: string };

/**
 * The signature of the device's enrolled key is the proof of possession; the connection alone proves nothing here.
 * Errors: `license/key-mismatch`, `dsse/*`, `schema/invalid`, `license/incoherent`.
 */
export function openActivation(bytes: Uint8Array, by: By): ActivationRequest {
  const request = open(ACTIVATION, bytes, by);
  if (request.cnf.spkiSha256 !== sha256Hex(by.key.spki)) throw mismatch(by.device);
  if ((request.claim === undefined) === (request.license === undefined))
    throw new LicenseError(
      "license/incoherent",
      "An activation names a claim code or a license, one of both.",
    );
  return request;
}

/** Errors: as `openActivation`. */
export const openReceipt = (bytes: Uint8Array, by: By): DeactivationReceipt => open(RECEIPT, bytes, by);
export const openUsage = (bytes: Uint8Array, by: By): UsageReport => open(USAGE, bytes, by);

function sign<T>({ kind, schema, what }: Form<T>, value: T, key: DsseSigner): Promise<Uint8Array> {
  return signEnvelope(kind, stableJson(checkWritten(schema, value, what) as Json), [key]);
}

function open<T extends { readonly device: string }>(form: Form<T>, bytes: Uint8Array, by: By): T {
  let body: Uint8Array;
  try {
    ({ body } = verifyEnvelope(bytes, form.kind, [by.key], { limit: LICENSE_LIMIT }));
  } catch (cause) {
    if ((cause as { code?: string }).code === "dsse/no-valid-signature") throw mismatch(by.device, cause);
    throw cause;
  }
  const value = readGrowing(form.schema, parseJson(body), form.what);
  if (value.device !== by.device) throw mismatch(by.device);
  return value;
}

function mismatch(device: string, cause?: unknown): LicenseError {
  return new LicenseError(
    "license/key-mismatch",
    `The document was not signed by the enrolled key of ${device}, or speaks of another device.`,
    { device },
    { cause },
  );
}

/** The device of a document that came by file, before anything of it is trusted: for finding the key that has to have signed it. */
export function unverifiedDevice(bytes: Uint8Array): string | null {
  try {
    const { payload } = parseJson(bytes) as { payload: string };
    const { device } = parseJson(Buffer.from(payload, "base64")) as { device: string };
    return z.safeParse(deviceIdSchema, device).success ? device : null;
  } catch {
    return null;
  }
}
