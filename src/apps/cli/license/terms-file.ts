// The terms of a license as people write them: a TOML file or a stored plan, with defaults that are written down here and nowhere else.

import { parse as parseToml } from "smol-toml";
import { fromUtf8 } from "../../../core/bytes.ts";
import { DAY, formatInstant, parseInstant, type Instant } from "../../../core/instant.ts";
import type { Json } from "../../../core/json.ts";
import { checkSchema, nameSchema, z } from "../../../core/schema.ts";
import { LicenseError } from "../../../license/errors.ts";
import type { License } from "../../../license/license.ts";
import {
  count,
  featuresSchema,
  KINDS,
  leaseTermsSchema,
  policySchema,
  SEAT_MODELS,
} from "../../../license/terms.ts";
import type { Call } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";

const days = count(1, 36_600);
const updatesSchema = z.strictObject({
  days: z.exactOptional(days),
  editions: z.exactOptional(z.array(nameSchema)),
});

type Sparse<S extends Readonly<Record<string, z.ZodMiniType>>> = {
  [K in keyof S]: z.ZodMiniExactOptional<S[K]>;
};

/** Each member may be left out; none may be there and say nothing. */
function sparse<S extends Readonly<Record<string, z.ZodMiniType>>>(shape: S): Sparse<S> {
  return Object.fromEntries(
    Object.entries(shape).map(([name, one]) => [name, z.exactOptional(one)]),
  ) as unknown as Sparse<S>;
}

export const termsSchema = z.strictObject({
  product: nameSchema,
  kind: z.exactOptional(z.enum(KINDS)),
  /** Of the license, from its begin; for a perpetual one it is left out. */
  days: z.exactOptional(days),
  trialDays: z.exactOptional(count(1, 366)),
  features: z.exactOptional(featuresSchema),
  fallback: z.exactOptional(featuresSchema),
  options: z.exactOptional(
    z.record(
      nameSchema,
      z.strictObject({ features: z.exactOptional(featuresSchema), updates: z.exactOptional(updatesSchema) }),
    ),
  ),
  updates: z.exactOptional(updatesSchema),
  seats: z.exactOptional(
    z.strictObject({
      model: z.exactOptional(z.enum(SEAT_MODELS)),
      max: z.exactOptional(count(1, 1_000_000)),
      overagePercent: z.exactOptional(count(0, 1000)),
      overageDays: z.exactOptional(count(0, 365)),
    }),
  ),
  lease: z.exactOptional(z.strictObject(sparse(leaseTermsSchema.shape))),
  policy: z.exactOptional(z.strictObject(sparse(policySchema.shape))),
});
export type Terms = Readonly<z.infer<typeof termsSchema>>;

/** Errors: `license/bad-input`, `schema/invalid`. */
export function parseTerms(bytes: Uint8Array, what: string): Terms {
  let value: unknown;
  try {
    value = parseToml(fromUtf8(bytes));
  } catch (cause) {
    throw new LicenseError("license/bad-input", `The terms in ${what} are not TOML.`, { what }, { cause });
  }
  return checkSchema(termsSchema, value as Json, `terms in ${what}`);
}

/** What is the same for every license that does not say otherwise. A week without the server, and a month of grace after it. */
const LEASE = {
  ttlSeconds: 7 * 86_400,
  renewSeconds: 6 * 3600,
  graceSeconds: 30 * 86_400,
  offlineSeconds: 90 * 86_400,
};
const POLICY = { onExpiry: "degrade", onClone: "meter", storage: "any", transfersPer30Days: 3 } as const;

export type Who = {
  readonly id: string;
  readonly rev: number;
  readonly customer: string;
  readonly begins: Instant;
  readonly ends: Instant | null | undefined;
};

/** The license that terms amount to. `who.ends` is stronger than `days`. */
export function licenseOf(terms: Terms, who: Who, now: Instant): License {
  const kind =
    terms.kind ??
    (terms.trialDays !== undefined
      ? "trial"
      : terms.days === undefined && who.ends === undefined
        ? "perpetual"
        : "subscription");
  const ends =
    who.ends !== undefined ? who.ends : terms.days === undefined ? null : who.begins + terms.days * DAY;
  const updates = (wish: Terms["updates"]) => ({
    until: wish?.days === undefined ? null : formatInstant(who.begins + wish.days * DAY),
    editions: [...(wish?.editions ?? [])].toSorted(),
  });
  const options = Object.entries(terms.options ?? {}).map(([name, option]) => [
    name,
    {
      features: option.features ?? {},
      ...(option.updates === undefined ? {} : { updates: updates(option.updates) }),
    },
  ]);
  return {
    id: who.id,
    rev: who.rev,
    product: terms.product,
    kind,
    customer: who.customer,
    issued: formatInstant(now),
    notBefore: formatInstant(who.begins),
    expires: ends === null ? null : formatInstant(ends),
    ...(terms.trialDays === undefined ? {} : { trialDays: terms.trialDays }),
    features: terms.features ?? {},
    fallback: { features: terms.fallback ?? {} },
    ...(options.length === 0
      ? {}
      : { options: Object.fromEntries(options) as NonNullable<License["options"]> }),
    updates: updates(terms.updates),
    seats: { model: "node-locked", max: 1, overagePercent: 0, overageDays: 14, ...terms.seats },
    lease: { ...LEASE, ...terms.lease },
    policy: { ...POLICY, ...terms.policy },
  };
}

/** The options of the command line over a plan or a file. Errors: `cli/usage`. */
export function withOptions(call: Call, base: Terms): Terms {
  const features: Record<string, true | number> = { ...base.features };
  for (const word of call.list("feature")) {
    const match = /^([a-z0-9][a-z0-9.-]*)(?:=(\d{1,15}))?$/.exec(word);
    if (match === null)
      throw usage(`--feature takes NAME or NAME=NUMBER; "${word.slice(0, 60)}" is neither.`);
    features[match[1]!] = match[2] === undefined ? true : Number(match[2]);
  }
  const seats = call.whole("seats", 1, 1_000_000);
  const life = call.whole("days", 1, 36_600);
  return {
    ...base,
    features,
    ...(life === undefined ? {} : { days: life }),
    ...(seats === undefined ? {} : { seats: { ...base.seats, max: seats } }),
  };
}

/** Error: `cli/usage`. */
export function instantOf(call: Call, option: string): Instant | undefined {
  const text = call.text(option);
  if (text === undefined) return undefined;
  try {
    return parseInstant(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text);
  } catch {
    throw usage(`--${option} takes a date such as 2027-01-31, or 2027-01-31T12:00:00Z.`);
  }
}
