// The wake-up: "check now", and nothing else can be said with it.

import { toBase64, toUtf8 } from "../core/bytes.ts";
import { z } from "../core/schema.ts";
import { readMessage } from "./common.ts";
import { SEALED_LENGTH } from "./sealed-length.ts";

/** The one name of events that devices act on. */
export const WAKE_EVENT = "check";
/** Bytes of one event's data, and of one line of the stream. */
export const WAKE_LIMIT = 256;

/**
 * One event. There is no member for a place, a version or a command, and an unknown member makes it invalid, for ever: it grows by
 * events of other names, which older devices pass over.
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
  /** The long poll of a device that opens sealed messages: the next one whose number is greater. */
  sealed: z.exactOptional(z.string().check(z.regex(/^(?:0|[1-9]\d{0,14})$/, "expected a whole number"))),
  wait: z.exactOptional(
    z.string().check(z.regex(/^(?:[1-9]|[1-9]\d|1\d\d|2\d\d|300)$/, "expected 1 to 300 seconds")),
  ),
});
export type WakeQuery = z.infer<typeof wakeQuerySchema>;

/** The name of events that carry a sealed message (spec/message.md), for devices that asked for them. */
export const SEALED_EVENT = "sealed";
/** The header field by which a device asks for sealed messages: the number up to which it has made the checks that they asked for. */
export const SEALED_HEADER = "upkeep-sealed-after";
/** Bytes of such an event's data: base64 of a message. */
export const SEALED_EVENT_LIMIT = Math.ceil(SEALED_LENGTH / 3) * 4;

/** A message as it came: proved by itself, whatever brought it. */
export type SealedEvent = { readonly type: "sealed"; readonly bytes: Uint8Array };

export function sealedEvent(bytes: Uint8Array): string {
  return `event: ${SEALED_EVENT}\ndata: ${toBase64(bytes)}\n\n`;
}

/** One server-sent event, ready for the socket. */
export function wakeEvent(wake: Wake): string {
  return `id: ${wake.seq}\nevent: ${WAKE_EVENT}\ndata: ${JSON.stringify(wake)}\n\n`;
}

/**
 * One block of the stream. Null for what is none of this device's business: comments, and events of other names, which later servers send to
 * later devices. A `check` that is no valid wake-up is an error. Errors: those of `readMessage`.
 */
export function readWakeEvent(block: string): Wake | SealedEvent | null {
  const lines = block.split("\n");
  const field = (name: string): string[] =>
    lines
      .filter((line) => line.startsWith(`${name}:`))
      .map((line) => line.slice(name.length + 1).trimStart());
  const data = field("data");
  const named = field("event").at(-1) ?? WAKE_EVENT;
  if (data.length === 1 && named === SEALED_EVENT) {
    // What is no base64 is judged with everything else that is no message: it ends no stream.
    return { type: "sealed", bytes: new Uint8Array(Buffer.from(data[0]!, "base64")) };
  }
  if (data.length === 0 || named !== WAKE_EVENT) return null;
  return readMessage(toUtf8(data.join("\n")), wakeSchema, "wake-up", WAKE_LIMIT);
}
