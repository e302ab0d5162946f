// The document that says when updates are activated: lines, of which the first that fits a product and a kind of update decides.

import { DAY, SECOND, parseInstant, type Instant } from "../core/instant.ts";
import { checkSchema, instantSchema, nameSchema, versionSchema, z } from "../core/schema.ts";
import type { Json } from "../core/json.ts";
import { hoursListSchema } from "./hours.ts";
import { KINDS, WHENS, type Kind } from "./policy-words.ts";

export { KINDS, WHENS, type Kind, type When } from "./policy-words.ts";

const whole = (least: number, most: number) => z.number().check(z.int(), z.minimum(least), z.maximum(most));
const YEAR = (366 * DAY) / SECOND;

const deadlineSchema = z
  .strictObject({
    /** Seconds after the device learned of the release. */
    within: z.exactOptional(whole(60, YEAR)),
    by: z.exactOptional(instantSchema),
    /** Seconds before the deadline at which people are warned. */
    warn: z.exactOptional(z.array(whole(1, YEAR)).check(z.minLength(1), z.maxLength(8))),
    /** `install`: the update is activated. `stop`: and the old version does not run until it is. */
    after: z.exactOptional(z.enum(["install", "stop"])),
    /** The deadline passes interlocks as well; without it an interlock that says no is waited for. */
    overInterlocks: z.exactOptional(z.boolean()),
  })
  .check(
    z.refine(
      ({ within, by }) => (within === undefined) !== (by === undefined),
      "expected one of within and by",
    ),
  );
export type Deadline = Readonly<z.infer<typeof deadlineSchema>>;

/** What makes an update wait, beside `when`. Absent members ask nothing. */
const conditions = {
  /** Only within one of these. */
  windows: z.exactOptional(hoursListSchema),
  /** Never within one of these. */
  activeHours: z.exactOptional(hoursListSchema),
  /** Nobody touched a terminal for so long. */
  idleSeconds: z.exactOptional(whole(0, 86_400)),
  /** Load average of the last minute for each processor, in percent. */
  maxLoad: z.exactOptional(whole(1, 100_000)),
  /** Percent, on battery. 101: never on battery. */
  minBattery: z.exactOptional(whole(0, 101)),
  /** False: neither fetched nor activated over a metered link. */
  metered: z.exactOptional(z.boolean()),
};

/* A line commands, so it is closed: a part that is passed over would be another command. */
export const lineSchema = z.strictObject({
  products: z.exactOptional(z.array(nameSchema).check(z.minLength(1), z.maxLength(64))),
  kinds: z.exactOptional(z.array(z.enum(KINDS)).check(z.minLength(1), z.maxLength(KINDS.length))),
  when: z.enum(WHENS),
  ...conditions,
  deadline: z.exactOptional(deadlineSchema),
  /** `block`: at a start of the device the product is brought up to date before its old version serves. */
  atStart: z.exactOptional(z.enum(["background", "block"])),
  /** With `block`: seconds after which the old version serves all the same; 0 waits without end. */
  atStartSeconds: z.exactOptional(whole(0, 86_400)),
  /** With `block`: a version from which on the installed one serves at once. */
  servesFrom: z.exactOptional(versionSchema),
});
export type Line = Readonly<z.infer<typeof lineSchema>>;

export const MAX_LINES = 64;

export const policySchema = z.strictObject({
  format: z.literal(1),
  lines: z.array(lineSchema).check(z.maxLength(MAX_LINES)),
});
export type Policy = Readonly<z.infer<typeof policySchema>>;

/** Errors: `schema/invalid`. */
export function parsePolicy(value: Json): Policy {
  return checkSchema(policySchema, value, "activation policy");
}

/** The first line that fits; null if none does. */
export function lineFor(policy: Policy | null, product: string, kind: Kind): Line | null {
  const fits = ({ products, kinds }: Line): boolean =>
    products?.includes(product) !== false && kinds?.includes(kind) !== false;
  return policy?.lines.find(fits) ?? null;
}

/** When the deadline of a release ends that the device learned of at `since`. */
export function dueAt({ within, by }: Deadline, since: Instant): Instant {
  return by === undefined ? since + within! * SECOND : parseInstant(by);
}
