// The assignment: what one device should run now, signed by the director key and bound to the question that asked for it.

import { signEnvelope, verifyEnvelope, type DsseSigner, type DsseVerifier } from "../core/dsse.ts";
import { toUtf8 } from "../core/bytes.ts";
import { formatInstant, MINUTE, parseInstant, type Instant } from "../core/instant.ts";
import { instantSchema, nameSchema, sha256Schema, versionSchema, z } from "../core/schema.ts";
import { deviceIdSchema, nonceSchema, readMessage, repeated } from "./common.ts";
import { MessageError } from "./errors.ts";
import { HOLD_REASONS } from "./hold-reasons.ts";

export type { HoldReason } from "./hold-reasons.ts";

export const MAX_COMPONENTS = 64;
/** Of the envelope. */
export const ASSIGNMENT_LIMIT = 64 * 1024;
/** How far a device's clock may be behind the server's. */
export const CLOCK_SKEW = 5 * MINUTE;

const place = { product: nameSchema, channel: nameSchema };

/** A release is named by version and by the SHA-256 of its `release.json` target, so it can only be one that TUF lists. */
const runSchema = z.strictObject({
  ...place,
  release: z.strictObject({ version: versionSchema, manifestSha256: sha256Schema }),
});
const holdSchema = z.strictObject({
  ...place,
  hold: z.strictObject({ reason: z.enum(HOLD_REASONS), until: z.exactOptional(instantSchema) }),
});

export const assignmentSchema = z.strictObject({
  device: deviceIdSchema,
  nonce: nonceSchema,
  issued: instantSchema,
  expires: instantSchema,
  components: z.array(z.union([runSchema, holdSchema])).check(
    z.maxLength(MAX_COMPONENTS),
    z.refine((list) => repeated(list.map((c) => c.product)).length === 0, "a product appears twice"),
  ),
});
export type Assignment = z.infer<typeof assignmentSchema>;
export type AssignedComponent = Assignment["components"][number];

/** Signs an assignment with the director key; returns the envelope. */
export async function signAssignment(assignment: Assignment, director: DsseSigner): Promise<Uint8Array> {
  return signEnvelope("assignment", toUtf8(JSON.stringify(assignment)), [director]);
}

/**
 * The one place where a device believes an assignment. `keys` are the director keys that TUF names.
 * Errors: `dsse/*`, `json/*`, `schema/invalid`, `message/wrong-device`, `message/wrong-nonce`, `message/expired`, `message/from-the-future`.
 */
export function openAssignment(
  envelope: Uint8Array,
  expected: {
    readonly keys: readonly DsseVerifier[];
    readonly device: string;
    readonly nonce: string;
    readonly now: Instant;
  },
): Assignment {
  const { body } = verifyEnvelope(envelope, "assignment", expected.keys, { limit: ASSIGNMENT_LIMIT });
  const assignment = readMessage(body, assignmentSchema, "assignment", ASSIGNMENT_LIMIT);
  if (assignment.device !== expected.device) {
    throw new MessageError(
      "message/wrong-device",
      `The assignment is for device ${assignment.device}, not for this one: either an answer was mixed up, or somebody passes on what was meant for another device.`,
      { expected: expected.device, found: assignment.device },
    );
  }
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
  if (parseInstant(assignment.issued) > now + CLOCK_SKEW) {
    throw new MessageError(
      "message/from-the-future",
      `The assignment was issued at ${assignment.issued}, but this device's clock says ${formatInstant(now)}: one of the two clocks is wrong.`,
      { issued: assignment.issued, now: formatInstant(now) },
    );
  }
  return assignment;
}
