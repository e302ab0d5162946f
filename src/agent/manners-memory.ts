// What the agent remembers of manners: what was learned when, the owner's holds and answers, the group's policy, and what time it is.

import type { UpdateStanding } from "../message/check-in.ts";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { formatInstant, parseInstant, type Instant } from "../core/instant.ts";
import { parseJsonText, type Json } from "../core/json.ts";
import { checkSchema, instantSchema, nameSchema, sha256Schema, versionSchema, z } from "../core/schema.ts";
import { anchorSchema } from "../manners/known-time.ts";
import { KINDS, policySchema } from "../manners/policy.ts";

/** A product, or all of them. */
export const scopeSchema = z.union([nameSchema, z.literal("*")]);

const answerSchema = z.strictObject({
  choice: z.enum(["accept", "later", "skip"]),
  /** When a "later" is over. */
  until: z.nullable(instantSchema),
  at: instantSchema,
});

/** A release that this device learned of and has not activated yet; one for each product, and one for its repair. */
const pendingSchema = z.strictObject({
  product: nameSchema,
  version: versionSchema,
  manifestSha256: sha256Schema,
  kind: z.enum(KINDS),
  /** When the first release was learned of that has been waiting since; a newer one that takes its place does not begin again. */
  since: instantSchema,
  /** The same of the first one that closes a security hole. */
  securitySince: z.nullable(instantSchema),
  warned: z
    .array(z.strictObject({ lead: z.number().check(z.int(), z.minimum(1)), at: instantSchema }))
    .check(z.maxLength(64)),
  answer: z.nullable(answerSchema),
  /** When people were last asked by the owner's executable; null if they were not. */
  prompted: z.nullable(instantSchema),
  /** The policy's deadline passed, by signed time: the old version does not run. */
  overdue: z.boolean(),
});
export type Pending = z.infer<typeof pendingSchema>;
export type Answer = z.infer<typeof answerSchema>;

const memorySchema = z.strictObject({
  format: z.literal(1),
  anchor: z.nullable(anchorSchema),
  /** As the server signed it last. */
  policy: z.nullable(policySchema),
  /** Products that the server holds back, each with its word. */
  serverHolds: z.record(nameSchema, z.string().check(z.maxLength(64))),
  holds: z
    .array(z.strictObject({ scope: scopeSchema, until: z.nullable(instantSchema) }))
    .check(z.maxLength(256)),
  optedOut: z.array(scopeSchema).check(z.maxLength(256)),
  pending: z.array(pendingSchema).check(z.maxLength(256)),
});
export type MannersMemory = z.infer<typeof memorySchema>;

export const EMPTY_MEMORY: MannersMemory = {
  format: 1,
  anchor: null,
  policy: null,
  serverHolds: {},
  holds: [],
  optedOut: [],
  pending: [],
};

const LIMIT = 1024 * 1024;

/** Null for a file that cannot be read: what it said is lost, and people hear of it. Errors: `disk/*`. */
export async function loadMemory(disk: Disk, path: string): Promise<MannersMemory | null> {
  const bytes = await readOrNull(disk, path, LIMIT);
  if (bytes === null) return EMPTY_MEMORY;
  try {
    return checkSchema(memorySchema, parseJsonText(fromUtf8(bytes)), "memory of manners");
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

/** Errors: `disk/*`. */
export async function saveMemory(disk: Disk, path: string, memory: MannersMemory): Promise<void> {
  await writeAtomic(disk, path, toUtf8(`${JSON.stringify(memory as Json)}\n`), 0o600);
}

/** What is pending after a release was learned of: the first `since` stays, and what closes a hole stays what it is. */
export function withAim(
  pending: readonly Pending[],
  aim: Pick<Pending, "product" | "version" | "manifestSha256" | "kind">,
  now: Instant,
): readonly Pending[] {
  const before = pending.find((one) => isSameSubject(one, aim));
  if (before !== undefined && before.manifestSha256 === aim.manifestSha256 && before.kind === aim.kind)
    return pending;
  const at = formatInstant(now);
  const securitySince = before?.securitySince ?? (aim.kind === "security" ? at : null);
  const kind = aim.kind === "feature" && securitySince !== null ? "security" : aim.kind;
  const same = before?.manifestSha256 === aim.manifestSha256 ? before : undefined;
  const graver = before !== undefined && before.securitySince === null && securitySince !== null;
  const next: Pending = {
    ...aim,
    kind,
    since: before?.since ?? at,
    securitySince,
    // A warning of another deadline is none of this one.
    warned: graver ? [] : (before?.warned ?? []),
    answer: same?.answer ?? null,
    prompted: same?.prompted ?? null,
    overdue: before?.overdue ?? false,
  };
  return [...pending.filter((one) => one !== before), next];
}

export function isSameSubject(
  a: Pick<Pending, "product" | "kind">,
  b: Pick<Pending, "product" | "kind">,
): boolean {
  return a.product === b.product && (a.kind === "repair") === (b.kind === "repair");
}

/** When the clock of its deadline began. */
export function sinceOf(pending: Pending): Instant {
  return parseInstant(pending.kind === "security" ? (pending.securitySince ?? pending.since) : pending.since);
}

/** The owner's hold that ends last, of those that hold at `now`; `null` in `until` has no end. */
export function holdOn(
  { holds }: Pick<MannersMemory, "holds">,
  product: string,
  now: Instant,
): { readonly until: Instant | null } | null {
  const found = holds
    .filter(({ scope }) => scope === product || scope === "*")
    .map(({ until }) => (until === null ? null : parseInstant(until)))
    .filter((until) => until === null || until > now);
  if (found.length === 0) return null;
  return { until: found.includes(null) ? null : Math.max(...(found as number[])) };
}

export function isOptedOut({ optedOut }: Pick<MannersMemory, "optedOut">, product: string): boolean {
  return optedOut.includes(product) || optedOut.includes("*");
}

/** What the owner says of updates of the whole device: that of each component, where all of them agree. */
export function ownerStanding(
  memory: Pick<MannersMemory, "holds" | "optedOut">,
  products: readonly string[],
  now: Instant,
): UpdateStanding {
  const all = products.length === 0 ? ["*"] : products;
  if (all.every((product) => isOptedOut(memory, product))) return "opted-out";
  if (all.every((product) => isOptedOut(memory, product) || holdOn(memory, product, now) !== null))
    return "held";
  return "on";
}
