// The lease: for a while, this device may use what the license grants; signed by the online lease key, bound to one device key (spec/lease.md).

import { fromBase64 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { signEnvelope, verifyEnvelope, type DsseSigner, type DsseVerifier } from "../core/dsse.ts";
import { checkWritten, needing, readGrowing } from "../core/growth.ts";
import { parseInstant, SECOND } from "../core/instant.ts";
import { parseJson, type Json } from "../core/json.ts";
import { checkSchema, instantSchema, nameSchema, sha256Schema, z } from "../core/schema.ts";
import { stableJson } from "../core/stable-json.ts";
import { deviceIdSchema } from "../message/common.ts";
import type { DocumentKeys } from "../release/trusted-keys.ts";
import { featuresWithin, isWithin, mostOf } from "./entitlements.ts";
import { LicenseError } from "./errors.ts";
import { openLicense, type License } from "./license.ts";
import {
  activationIdSchema,
  confirmationSchema,
  count,
  fallbackSchema,
  featuresSchema,
  leaseIdSchema,
  LICENSE_LIMIT,
  licenseIdSchema,
  noticeSchema,
  tokenSchema,
  updatesSchema,
} from "./terms.ts";

export const LEASE_STATUSES = ["active", "trial", "restricted", "revoked"] as const;

export const leaseSchema = z.strictObject({
  ...needing,
  id: leaseIdSchema,
  license: licenseIdSchema,
  rev: count(1, Number.MAX_SAFE_INTEGER),
  activation: activationIdSchema,
  product: nameSchema,
  device: deviceIdSchema,
  cnf: confirmationSchema,
  /** 1, 2, 3, … of this activation; a device never takes a lower one. */
  seq: count(1, Number.MAX_SAFE_INTEGER),
  /** SHA-256 of the envelope of the lease before; null in the first. */
  prev: z.nullable(sha256Schema),
  /** Brought back with the next renewal: two copies of a device show by it. */
  chainNonce: tokenSchema,
  /** That of the question: an answer to another question is not taken. */
  clientNonce: tokenSchema,
  /** The server's time, under its signature. */
  issued: instantSchema,
  renewAfter: instantSchema,
  expires: instantSchema,
  /** Without contact everything stays until then. */
  graceUntil: instantSchema,
  /** When the right itself ends: the license's, or the trial's; null for never. */
  until: z.nullable(instantSchema),
  status: z.enum(LEASE_STATUSES),
  features: featuresSchema,
  fallback: fallbackSchema,
  updates: updatesSchema,
  seat: z.strictObject({ slot: count(1, 10_000_000), of: count(1, 1_000_000) }),
  notices: z.array(noticeSchema).check(z.maxLength(16)),
});
export type Lease = Readonly<z.infer<typeof leaseSchema>>;

/** Errors: `schema/invalid`. */
export function signLease(lease: Lease, signer: DsseSigner): Promise<Uint8Array> {
  const body = stableJson(checkWritten(leaseSchema, lease, "lease") as unknown as Json);
  return signEnvelope("lease", body, [signer]);
}

/** A license and a lease of it that were verified together. */
export type Granted = { readonly license: License; readonly lease: Lease; readonly leaseSha256: string };

/** A grant's keys: who may issue licenses of this product, and who may lease them. */
export type LicenseKeys = { readonly issuers: DocumentKeys; readonly leases: DocumentKeys };

export type Expected = {
  readonly product: string;
  /** The device's key; null where only its digest can be asked for later (an application, before the agent has answered). */
  readonly key: DsseVerifier | null;
  /** Of the question that this answers; null for what was kept or came by file. */
  readonly clientNonce: string | null;
  /** What is in force: nothing older is taken. */
  readonly before: Pick<Granted, "license" | "lease"> | null;
};

/**
 * The one place where a lease is trusted. In this order: the license by the issuer's threshold; the lease by a lease key; that it is one of
 * this license and revision; that it grants nothing the issuer did not sign; that it is this device's; that it answers this question;
 * that it is no older one. Errors: `dsse/*`, `schema/invalid`, `growth/needs-newer`, `license/*`.
 */
export function openGrant(
  documents: { readonly license: Uint8Array; readonly lease: Uint8Array },
  keys: LicenseKeys,
  expected: Expected,
  known?: readonly string[],
): Granted {
  const license = openLicense(documents.license, keys.issuers, expected, known);
  const { body } = verifyEnvelope(documents.lease, "lease", keys.leases.keys, {
    limit: LICENSE_LIMIT,
    threshold: keys.leases.threshold,
  });
  const lease = readGrowing(leaseSchema, parseJson(body), "lease", known);
  refuseOtherLicense(lease, license);
  refuseExcess(lease, license);
  refuseOtherKey(lease, expected.key);
  refuseOtherQuestion(lease, expected.clientNonce);
  refuseOlder(lease, license, expected.before);
  return { license, lease, leaseSha256: sha256Hex(documents.lease) };
}

function refuseOtherLicense(lease: Lease, license: License): void {
  const same = lease.license === license.id && lease.rev === license.rev && lease.product === license.product;
  if (same) return;
  throw new LicenseError(
    "license/wrong-license",
    `The lease is one of ${lease.license} revision ${lease.rev}, and came with ${license.id} revision ${license.rev}.`,
    { lease: lease.id, license: license.id },
  );
}

/** A stolen lease key grants nothing beyond what some license of the issuer says, and for no longer. */
function refuseExcess(lease: Lease, license: License): void {
  const issued = parseInstant(lease.issued);
  const expires = parseInstant(lease.expires);
  const grace = parseInstant(lease.graceUntil);
  const { ttlSeconds, graceSeconds, offlineSeconds } = license.lease;
  const longest = Math.max(ttlSeconds, offlineSeconds);
  const wrong = !isWithin(lease, mostOf(license))
    ? "it grants what the license does not"
    : !featuresWithin(lease.fallback.features, license.fallback.features)
      ? "its fallback is not the license's"
      : expires - issued > longest * SECOND || grace - expires > graceSeconds * SECOND
        ? "it lasts longer than the license says"
        : expires < issued || grace < expires
          ? "its times are out of order"
          : !endsInTime(lease, license)
            ? "it goes on after the license has ended"
            : null;
  if (wrong === null) return;
  throw new LicenseError("license/exceeds", `The lease ${lease.id} is refused: ${wrong}.`, {
    lease: lease.id,
    license: license.id,
  });
}

function endsInTime({ until, issued }: Lease, { expires, trialDays }: License): boolean {
  if (until === null) return expires === null && trialDays === undefined;
  if (expires !== null && parseInstant(until) > parseInstant(expires)) return false;
  // A trial that has not begun is no trial: its end is counted from a lease, never from later than this one.
  return trialDays === undefined || parseInstant(until) <= parseInstant(issued) + trialDays * 86_400 * SECOND;
}

function refuseOtherKey({ cnf, id }: Lease, key: DsseVerifier | null): void {
  if (key === null || cnf.spkiSha256 === sha256Hex(key.spki)) return;
  throw new LicenseError(
    "license/not-for-this-device",
    "The lease is bound to the key of another device: it was copied.",
    { lease: id },
    { hint: "Activate the license on this device." },
  );
}

function refuseOtherQuestion({ clientNonce, id }: Lease, asked: string | null): void {
  if (asked === null || clientNonce === asked) return;
  throw new LicenseError(
    "license/wrong-nonce",
    "The lease answers another question: it was recorded earlier.",
    {
      lease: id,
    },
  );
}

function refuseOlder(lease: Lease, license: License, before: Expected["before"]): void {
  if (before === null || before.license.id !== license.id) return;
  const older =
    license.rev < before.license.rev ||
    (lease.activation === before.lease.activation && lease.seq < before.lease.seq);
  if (!older) return;
  throw new LicenseError(
    "license/older",
    `Revision ${license.rev}, lease ${lease.seq}, is older than what is in force (revision ${before.license.rev}, lease ${before.lease.seq}).`,
    { license: license.id },
  );
}

/** What a lease says, before or without its signature: for asking for the next one, never for granting anything. */
export function unverifiedLease(envelope: Uint8Array): Lease | null {
  try {
    const { payload } = parseJson(envelope) as { readonly payload: string };
    return checkSchema(leaseSchema, parseJson(fromBase64(payload)), "lease");
  } catch {
    return null;
  }
}
