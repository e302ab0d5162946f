// The wake-up: "check now", and nothing else can be said with it.

import { z } from "../core/schema.ts";

/** Bytes of one event's data, and of one line of the stream. */
export const WAKE_LIMIT = 256;

/**
 * One event. There is no field for a place, a version or a command, and an unknown field makes it invalid: a server can make a device check, never steer it.
 * `seq` grows by server-side wake-ups; a device ignores a number it has already acted on.
 */
export const wakeSchema = z.strictObject({
  type: z.literal("check"),
  seq: z.number().check(z.int(), z.minimum(0), z.maximum(Number.MAX_SAFE_INTEGER)),
});
export type Wake = z.infer<typeof wakeSchema>;

/** The long-poll form answers 200 with a wake-up, or 204 when none came within `wait` seconds. */
export const wakeQuerySchema = z.strictObject({
  after: z.exactOptional(z.string().check(z.regex(/^(?:0|[1-9]\d{0,14})$/, "expected a whole number"))),
  wait: z.exactOptional(
    z.string().check(z.regex(/^(?:[1-9]|[1-9]\d|1\d\d|2\d\d|300)$/, "expected 1 to 300 seconds")),
  ),
});
export type WakeQuery = z.infer<typeof wakeQuerySchema>;

/** One server-sent event, ready for the socket. */
export function wakeEvent(wake: Wake): string {
  return `id: ${wake.seq}\nevent: check\ndata: ${JSON.stringify(wake)}\n\n`;
}
