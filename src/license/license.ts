// The license: what a customer bought, signed offline by a threshold of the issuer's keys (spec/license.md).

import { signEnvelope, verifyEnvelope, type DsseSigner } from "../core/dsse.ts";
import { checkWritten, needing, readGrowing } from "../core/growth.ts";
import { parseInstant } from "../core/instant.ts";
import { parseJson, type Json } from "../core/json.ts";
import { instantSchema, nameSchema, z } from "../core/schema.ts";
import { stableJson } from "../core/stable-json.ts";
import { lineSchema } from "../message/common.ts";
import type { DocumentKeys } from "../release/trusted-keys.ts";
import { LicenseError } from "./errors.ts";
import {
  count,
  fallbackSchema,
  featuresSchema,
  KINDS,
  leaseTermsSchema,
  LICENSE_LIMIT,
  licenseIdSchema,
  optionSchema,
  policySchema,
  seatsSchema,
  updatesSchema,
} from "./terms.ts";

/** Closed but for `needs`: passing over a part of it would grant something else than was signed (spec/growth.md). */
export const licenseSchema = z.strictObject({
  ...needing,
  id: licenseIdSchema,
  /** 1, 2, 3, …: a device never goes back to a lower one. */
  rev: count(1, Number.MAX_SAFE_INTEGER),
  product: nameSchema,
  kind: z.enum(KINDS),
  /** Who bought it, in the vendor's words. */
  customer: lineSchema(128),
  issued: instantSchema,
  notBefore: instantSchema,
  expires: z.nullable(instantSchema),
  /** Of kind `trial` only: days from the first lease of a device. */
  trialDays: z.exactOptional(count(1, 366)),
  features: featuresSchema,
  fallback: fallbackSchema,
  options: z.exactOptional(z.record(nameSchema, optionSchema)),
  updates: updatesSchema,
  seats: seatsSchema,
  lease: leaseTermsSchema,
  policy: policySchema,
});
export type License = Readonly<z.infer<typeof licenseSchema>>;

/** The payload's bytes, one spelling for one license. Errors: `schema/invalid`, `license/incoherent`. */
export function serializeLicense(license: License): Uint8Array {
  return stableJson(checkLicense(checkWritten(licenseSchema, license, "license")) as unknown as Json);
}

/** Errors: `schema/invalid`, `license/incoherent`. */
export function signLicense(license: License, signers: readonly DsseSigner[]): Promise<Uint8Array> {
  return signEnvelope("license", serializeLicense(license), signers);
}

/**
 * The only way from bytes to a license that may be acted on: type, signatures of the issuer's threshold, closed form, product.
 * Errors: `dsse/*`, `json/*`, `growth/needs-newer`, `schema/invalid`, `license/incoherent`, `license/wrong-product`.
 */
export function openLicense(
  bytes: Uint8Array,
  issuers: DocumentKeys,
  expected: { readonly product: string },
  known?: readonly string[],
): License {
  const { body } = verifyEnvelope(bytes, "license", issuers.keys, {
    limit: LICENSE_LIMIT,
    threshold: issuers.threshold,
  });
  const license = parseLicense(body, known);
  if (license.product !== expected.product) {
    throw new LicenseError(
      "license/wrong-product",
      `The license ${license.id} is for ${license.product} and grants nothing of ${expected.product}.`,
      { license: license.id, product: license.product, expected: expected.product },
    );
  }
  return license;
}

/** A payload's bytes. Errors: `json/*`, `growth/needs-newer`, `schema/invalid`, `license/incoherent`. */
export function parseLicense(body: Uint8Array, known?: readonly string[]): License {
  return checkLicense(readGrowing(licenseSchema, parseJson(body), "license", known));
}

function checkLicense(license: License): License {
  const wrong = incoherence(license);
  if (wrong === null) return license;
  throw new LicenseError("license/incoherent", `The license contradicts itself: ${wrong}.`, {
    license: license.id,
  });
}

function incoherence({
  kind,
  expires,
  trialDays,
  notBefore,
  lease,
  features,
  fallback,
}: License): string | null {
  if (kind === "subscription" && expires === null) return "a subscription has no end";
  if (kind === "perpetual" && expires !== null) return "a perpetual license ends";
  if ((kind === "trial") !== (trialDays !== undefined))
    return "trialDays goes with trials, and only with them";
  if (expires !== null && parseInstant(expires) <= parseInstant(notBefore)) return "it ends before it begins";
  if (lease.renewSeconds > lease.ttlSeconds) return "leases are renewed after they ended";
  for (const [name, value] of Object.entries(fallback.features)) {
    const full = features[name];
    if (full === undefined) return `the fallback grants ${name}, which the license does not`;
    if (typeof full !== typeof value) return `${name} is an amount in one place and a feature in another`;
    if (typeof full === "number" && full < (value as number)) return `the fallback grants more of ${name}`;
  }
  return null;
}
