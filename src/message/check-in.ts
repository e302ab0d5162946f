// The check-in: the device asks what it should run; the server answers with a signed assignment and when to ask again.

import type { Feature } from "../core/features.ts";
import { growing, knows, needing, programSchema, type Program } from "../core/growth.ts";
import { sha256Schema, z } from "../core/schema.ts";
import { auditHeadSchema } from "./audit-head.ts";
import { keyIdSchema, messageKeySchema } from "./message-key.ts";
import { ASSIGNMENT_LIMIT, MAX_COMPONENTS } from "./assignment.ts";
import { base64Schema, codeSchema, nonceSchema, platformSchema, repeated, runningSchema } from "./common.ts";

export const CHECK_IN_LIMIT = 32 * 1024;
/** Seconds. Bounds of the interval a server may ask for; a device clamps to them as well. */
export const MIN_INTERVAL = 10;
export const MAX_INTERVAL = 86_400;

/** 16 unpredictable bytes in unpadded base64url. */
export const markSchema = z
  .string()
  .check(z.regex(/^[A-Za-z0-9_-]{21}[AQgw]$/, "expected 16 bytes in base64url"));

/** The header field in which devices named their features before they said `agent`: words with commas between them. */
export const UNDERSTANDS_HEADER = "upkeep-understands";

/** True if a device said in either way that it knows the word. */
export function understands(
  agent: Program | undefined,
  header: string | readonly string[] | undefined,
  word: Feature,
): boolean {
  if (knows(agent, word)) return true;
  return typeof header === "string" && header.split(",").some((one) => one.trim() === word);
}

export const UPDATE_STANDINGS = ["on", "held", "opted-out", "disabled"] as const;
export type UpdateStanding = (typeof UPDATE_STANDINGS)[number];

const lastingSchema = growing({
  code: codeSchema,
  /** The product it is about; empty when it is about none. */
  about: z.string().check(z.maxLength(64)),
});

/**
 * What the device says about itself here is for the operator's eyes: no decision of the server depends on it,
 * so a forged or mistaken version cannot keep an update away.
 */
export const checkInRequestSchema = growing({
  ...needing,
  agent: z.exactOptional(programSchema),
  nonce: nonceSchema,
  platform: platformSchema,
  components: z.array(runningSchema).check(
    z.maxLength(MAX_COMPONENTS),
    z.refine((list) => repeated(list.map((c) => c.product)).length === 0, "a product appears twice"),
  ),
  /** SHA-256 of the TUF timestamp file the device trusts now; shows who is frozen at an old one. */
  timestamp: z.exactOptional(sha256Schema),
  /**
   * The mark of the last answer that the device kept, null before the first. Two copies of a device bring back marks by turns
   * (fleet/clone.ts). A device that leaves it out is served all the same, and gets none.
   */
  mark: z.exactOptional(z.nullable(markSchema)),
  /** The newest head of the audit log that the device was given: the log has to hold it still. */
  auditHead: z.exactOptional(auditHeadSchema),
  /** Leases that are due (licenses.ts). It is read by itself: a fault in it touches nothing else. */
  licenses: z.exactOptional(z.unknown()),
  /** The key that messages to this device are to be sealed for; left out while the server has it. */
  messageKey: z.exactOptional(messageKeySchema),
  /** What the device's owner says of updates: they come, wait for now, are declined, or are switched off. */
  updates: z.exactOptional(z.enum(UPDATE_STANDINGS)),
  /** Alarms that last on the device: of what is not listed the server knows that it is over. */
  alarms: z.exactOptional(z.array(lastingSchema).check(z.maxLength(100))),
});
export type CheckInRequest = z.infer<typeof checkInRequestSchema>;

export const checkInAnswerSchema = growing({
  ...needing,
  server: z.exactOptional(programSchema),
  /** DSSE envelope of kind `assignment`, base64. */
  assignment: base64Schema(ASSIGNMENT_LIMIT),
  /** Seconds until the next scheduled check-in; the device adds its own jitter. */
  interval: z.number().check(z.int(), z.minimum(MIN_INTERVAL), z.maximum(MAX_INTERVAL)),
  /** Newest wake-up sequence that concerns this device: where its wake-up stream should start. */
  seq: z.number().check(z.int(), z.minimum(0)),
  /** To be brought back with the next question; given to devices that brought theirs. */
  mark: z.exactOptional(markSchema),
  /** Given to devices that know the word `audit-head`; they keep the highest. */
  auditHead: z.exactOptional(auditHeadSchema),
  /** To those who asked (licenses.ts), read by itself as well. */
  licenses: z.exactOptional(z.unknown()),
  /** Id of the message key that the server holds of this device; told to devices that know sealed messages. */
  messageKey: z.exactOptional(keyIdSchema),
  /** Newer versions that do not come with this device's license; for people. */
  notEntitled: z.exactOptional(z.unknown()),
});
export type CheckInAnswer = z.infer<typeof checkInAnswerSchema>;
