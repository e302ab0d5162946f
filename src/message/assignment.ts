// The assignment: what one device should run now, signed by the director key and bound to the question that asked for it.

import { signEnvelope, verifyEnvelope, type DsseSigner, type DsseVerifier } from "../core/dsse.ts";
import { toUtf8 } from "../core/bytes.ts";
import { checkWritten, growing, needing } from "../core/growth.ts";
import { DAY, formatInstant, MINUTE, parseInstant, type Instant } from "../core/instant.ts";
import { instantSchema, nameSchema, sha256Schema, versionSchema, z } from "../core/schema.ts";
import { policySchema } from "../manners/policy.ts";
import { deviceIdSchema, nonceSchema, readGrowingMessage, repeated } from "./common.ts";
import { MessageError } from "./errors.ts";
import { HOLD_REASONS } from "./hold-reasons.ts";

export type { HoldReason } from "./hold-reasons.ts";

export const MAX_COMPONENTS = 64;
/** Of the envelope. */
export const ASSIGNMENT_LIMIT = 64 * 1024;
/** How far a device's clock may be behind the server's. */
export const CLOCK_SKEW = 5 * MINUTE;
/** However far off `followUntil` is, a device goes by itself no longer than this after it was last told what to run. */
export const LONGEST_FOLLOWING = 90 * DAY;

const place = { product: nameSchema, channel: nameSchema };

/*
 * What runs and what is held stays closed: it commands, and a part of a command that is passed over is another command. It grows by members
 * that are sent to devices whose features name them.
 */

/** A release is named by version and by the SHA-256 of its `release.json` target, so it can only be one that TUF lists. */
const runSchema = z.strictObject({
  ...place,
  release: z.strictObject({ version: versionSchema, manifestSha256: sha256Schema }),
  /**
   * Until then a device that reaches no server may run what the channel's signed pointer names. Without it the release alone is meant, as one
   * that somebody pinned. Only devices with the feature `follow-until` are sent it: to the others an unknown member is a refusal.
   */
  followUntil: z.exactOptional(instantSchema),
});
const holdSchema = z.strictObject({
  ...place,
  hold: z.strictObject({ reason: z.enum(HOLD_REASONS), until: z.exactOptional(instantSchema) }),
});

export const assignmentSchema = growing({
  ...needing,
  device: deviceIdSchema,
  nonce: nonceSchema,
  issued: instantSchema,
  expires: instantSchema,
  components: z.array(z.union([runSchema, holdSchema])).check(
    z.maxLength(MAX_COMPONENTS),
    z.refine((list) => repeated(list.map((c) => c.product)).length === 0, "a product appears twice"),
  ),
  /** When the device's group has updates activated. Only devices with the feature `activation-policy` are sent it. */
  policy: z.exactOptional(policySchema),
});
export type Assignment = z.infer<typeof assignmentSchema>;
export type AssignedComponent = Assignment["components"][number];

/** Signs an assignment with the director key; returns the envelope. */
export async function signAssignment(assignment: Assignment, director: DsseSigner): Promise<Uint8Array> {
  checkWritten(assignmentSchema, assignment, "assignment");
  return signEnvelope("assignment", toUtf8(JSON.stringify(assignment)), [director]);
}

/**
 * The one place where a device believes an assignment. `keys` are the director keys that TUF names.
 * Errors: `dsse/*`, `json/*`, `growth/needs-newer`, `schema/invalid`, `message/wrong-device`, `message/wrong-nonce`, `message/expired`, `message/from-the-future`.
 */
export function openAssignment(
  envelope: Uint8Array,
  expected: {
    readonly keys: readonly DsseVerifier[];
    readonly device: string;
    readonly nonce: string;
    readonly now: Instant;
    /** The timestamp that this device trusts is valid until then: where the clock is behind, an assignment may be as late as this. */
    readonly freshUntil?: Instant | null;
    readonly known?: readonly string[];
  },
): Assignment {
  const assignment = openForDevice(envelope, expected);
  if (assignment.nonce !== expected.nonce) {
    throw new MessageError(
      "message/wrong-nonce",
      "The assignment answers another question than the one just asked: either it is an old answer replayed, or a server at fault.",
      { device: assignment.device, issued: assignment.issued },
    );
  }
  const { now } = expected;
  if (parseInstant(assignment.expires) <= now) {
    throw new MessageError(
      "message/expired",
      `The assignment expired at ${assignment.expires}; this device's clock says ${formatInstant(now)}.`,
      { expires: assignment.expires, now: formatInstant(now) },
    );
  }
  refuseFuture(assignment, Math.max(now, expected.freshUntil ?? now));
  return assignment;
}

/**
 * The one place where a device believes an assignment that it kept: it was the answer to a question once, and is judged by the keys that
 * TUF names now. It tells nothing but which channels may be followed (`mayFollow`), for the release that it names may be long out of date.
 * Errors: `dsse/*`, `json/*`, `growth/needs-newer`, `schema/invalid`, `message/wrong-device`, `message/from-the-future`.
 */
export function openKeptAssignment(
  envelope: Uint8Array,
  expected: {
    readonly keys: readonly DsseVerifier[];
    readonly device: string;
    readonly now: Instant;
    readonly known?: readonly string[];
  },
): Assignment {
  const assignment = openForDevice(envelope, expected);
  refuseFuture(assignment, expected.now);
  return assignment;
}

/** Until when a device may follow the component's channel by itself; null when it may not now. */
export function mayFollow(
  { issued }: Pick<Assignment, "issued">,
  component: AssignedComponent,
  now: Instant,
): Instant | null {
  if (!("release" in component) || component.followUntil === undefined) return null;
  const until = Math.min(parseInstant(component.followUntil), parseInstant(issued) + LONGEST_FOLLOWING);
  return now < until ? until : null;
}

function openForDevice(
  envelope: Uint8Array,
  expected: {
    readonly keys: readonly DsseVerifier[];
    readonly device: string;
    readonly known?: readonly string[];
  },
): Assignment {
  const { body } = verifyEnvelope(envelope, "assignment", expected.keys, { limit: ASSIGNMENT_LIMIT });
  const assignment = readGrowingMessage(
    body,
    assignmentSchema,
    "assignment",
    ASSIGNMENT_LIMIT,
    expected.known,
  );
  if (assignment.device !== expected.device) {
    throw new MessageError(
      "message/wrong-device",
      `The assignment is for device ${assignment.device}, not for this one: either an answer was mixed up, or somebody passes on what was meant for another device.`,
      { expected: expected.device, found: assignment.device },
    );
  }
  return assignment;
}

/**
 * An answer that carries the nonce of the question is no older than the question, whatever the clock says, so a clock that is behind is no
 * reason to do without updates. How far ahead the answer may be is bounded by what else was signed: no honest server issues assignments under
 * metadata that has expired.
 */
function refuseFuture({ issued }: Assignment, now: Instant): void {
  if (parseInstant(issued) <= now + CLOCK_SKEW) return;
  throw new MessageError(
    "message/from-the-future",
    `The assignment was issued at ${issued}, but this device's clock says ${formatInstant(now)}: one of the two clocks is wrong.`,
    { issued, now: formatInstant(now) },
  );
}
