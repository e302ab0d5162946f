// The vocabulary of licenses: ids, features, seats, and what a license says about leases, updates and misuse.

import { instantSchema, nameSchema, sha256Schema, z } from "../core/schema.ts";

/** Bytes of any document of this room, envelope included. */
export const LICENSE_LIMIT = 64 * 1024;

const id = (prefix: string) =>
  z.string().check(z.regex(new RegExp(`^${prefix}-[0-9a-f]{16}$`), `expected ${prefix}- and 16 hex digits`));
export const licenseIdSchema = id("lic");
export const activationIdSchema = id("act");
export const leaseIdSchema = id("lse");
/** Idempotency keys and chain nonces: 16 random bytes. */
export const tokenSchema = z.string().check(z.regex(/^[0-9a-f]{32}$/, "expected 32 lower-case hex digits"));

export const count = (least: number, most: number) =>
  z.number().check(z.int(), z.minimum(least), z.maximum(most));

/** What is granted: `true`, or how much. There is no `false`: what is absent is not granted. */
export const featuresSchema = z
  .record(nameSchema, z.union([z.literal(true), count(0, Number.MAX_SAFE_INTEGER)]))
  .check(z.refine((features) => Object.keys(features).length <= 256, "more than 256 features"));
export type Features = Readonly<Record<string, true | number>>;

export const fallbackSchema = z.strictObject({ features: featuresSchema });

/** Which releases come with it. An instant is an end; null, which has to be written, is none. */
export const updatesSchema = z.strictObject({
  until: z.nullable(instantSchema),
  editions: z.array(nameSchema).check(z.maxLength(32)),
});
export type Updates = Readonly<z.infer<typeof updatesSchema>>;

/** What was paid for can switch this on; the vendor's server chooses, and only among what the issuer signed. */
export const optionSchema = z.strictObject({
  features: featuresSchema,
  updates: z.exactOptional(updatesSchema),
});
export type Option = Readonly<z.infer<typeof optionSchema>>;

export const SEAT_MODELS = ["node-locked", "floating", "site"] as const;
export const seatsSchema = z.strictObject({
  /** `node-locked`: until it is given back. `floating`: until its lease has ended. `site`: any number; `max` is what is reported. */
  model: z.enum(SEAT_MODELS),
  max: count(1, 1_000_000),
  /** Further seats, `factor` in percent of `max`, for so many days; 0 for none. */
  overagePercent: count(0, 1000),
  overageDays: count(0, 365),
});
export type Seats = Readonly<z.infer<typeof seatsSchema>>;

export const leaseTermsSchema = z.strictObject({
  ttlSeconds: count(60, 366 * 86_400),
  renewSeconds: count(10, 366 * 86_400),
  graceSeconds: count(0, 366 * 86_400),
  /** Longest life of a lease that goes to a device by file; 0 where none may. */
  offlineSeconds: count(0, 10 * 366 * 86_400),
});
export type LeaseTerms = Readonly<z.infer<typeof leaseTermsSchema>>;

export const KINDS = ["subscription", "perpetual", "trial", "community"] as const;
export type LicenseKind = (typeof KINDS)[number];

export const policySchema = z.strictObject({
  /** After its end: `degrade` to the fallback, or go on and `warn`. */
  onExpiry: z.enum(["degrade", "warn"]),
  /** Two copies of one device: `meter` takes a seat for each, `warn` only says so, `restrict` leaves the fallback. */
  onClone: z.enum(["meter", "warn", "restrict"]),
  /** How a device has to keep its key. */
  storage: z.enum(["any", "tpm"]),
  transfersPer30Days: count(0, 1000),
});
export type Policy = Readonly<z.infer<typeof policySchema>>;

/** SHA-256 of the SubjectPublicKeyInfo of the key that a lease is bound to (RFC 7800 calls this a confirmation). */
export const confirmationSchema = z.strictObject({ spkiSha256: sha256Schema });

export const NOTICES = [
  "expires-soon",
  "expired",
  "overage",
  "clone",
  "restored",
  "not-entitled",
  "trial",
  "renewal-overdue",
] as const;
/** Something a person should know; whether anything changes stands in the lease, never here. */
export const noticeSchema = z.strictObject({
  code: z.enum(NOTICES),
  until: z.exactOptional(instantSchema),
});
export type LicenseNotice = Readonly<z.infer<typeof noticeSchema>>;
