// The check-in: the device asks what it should run; the server answers with a signed assignment and when to ask again.

import { sha256Schema, z } from "../core/schema.ts";
import { ASSIGNMENT_LIMIT, MAX_COMPONENTS } from "./assignment.ts";
import { base64Schema, nonceSchema, platformSchema, repeated, runningSchema } from "./common.ts";

export const CHECK_IN_LIMIT = 32 * 1024;
/** Seconds. Bounds of the interval a server may ask for; a device clamps to them as well. */
export const MIN_INTERVAL = 10;
export const MAX_INTERVAL = 86_400;

/**
 * A header field in which a device names what it understands of newer answers, so that those who do not are not sent it: words with commas
 * between them. Servers of before pass over it.
 */
export const UNDERSTANDS_HEADER = "upkeep-understands";
/** `followUntil` in assignments. */
export const UNDERSTANDS_FOLLOWING = "follow-until";

export function understands(header: string | readonly string[] | undefined, word: string): boolean {
  return typeof header === "string" && header.split(",").some((one) => one.trim() === word);
}

/**
 * What the device says about itself here is for the operator's eyes: no decision of the server depends on it,
 * so a forged or mistaken version cannot keep an update away.
 */
export const checkInRequestSchema = z.strictObject({
  nonce: nonceSchema,
  platform: platformSchema,
  components: z.array(runningSchema).check(
    z.maxLength(MAX_COMPONENTS),
    z.refine((list) => repeated(list.map((c) => c.product)).length === 0, "a product appears twice"),
  ),
  /** SHA-256 of the TUF timestamp file the device trusts now; shows who is frozen at an old one. */
  timestamp: z.exactOptional(sha256Schema),
});
export type CheckInRequest = z.infer<typeof checkInRequestSchema>;

export const checkInAnswerSchema = z.strictObject({
  /** DSSE envelope of kind `assignment`, base64. */
  assignment: base64Schema(ASSIGNMENT_LIMIT),
  /** Seconds until the next scheduled check-in; the device adds its own jitter. */
  interval: z.number().check(z.int(), z.minimum(MIN_INTERVAL), z.maximum(MAX_INTERVAL)),
  /** Newest wake-up sequence that concerns this device: where its wake-up stream should start. */
  seq: z.number().check(z.int(), z.minimum(0)),
});
export type CheckInAnswer = z.infer<typeof checkInAnswerSchema>;
