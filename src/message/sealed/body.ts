// What a sealed message can say: look, tell, look whom to trust, renew your certificate. Nothing else can be said in it.

import { toUtf8 } from "../../core/bytes.ts";
import { DAY, formatInstant, MINUTE, parseInstant, type Instant } from "../../core/instant.ts";
import { instantSchema, sha256Schema, z } from "../../core/schema.ts";
import { deviceIdSchema, readMessage } from "../common.ts";
import { keyIdSchema } from "../message-key.ts";

/** `update-check`: check as by schedule. `report`: send an inventory. `refresh-trust`: read signed metadata. `rotate-certificate`: renew it. */
export const MESSAGE_KINDS = ["update-check", "report", "refresh-trust", "rotate-certificate"] as const;
export type MessageKind = (typeof MESSAGE_KINDS)[number];

/** When a device follows an `update-check`. */
export const MESSAGE_TIMES = ["now", "idle", "next-start", "ask"] as const;
export type MessageTime = (typeof MESSAGE_TIMES)[number];

/** How long a message may be good. */
export const MESSAGE_LIFE = DAY;
/** What the clocks of a sender and a device may differ by. */
export const MESSAGE_SKEW = 5 * MINUTE;
/** Seconds over which the devices that get a message may be spread. */
export const MAX_SPLAY = 3600;

const whole = (most: number) => z.number().check(z.int(), z.minimum(0), z.maximum(most));
const common = {
  /** Key id of the messenger, as trust/keys.json names it. */
  from: sha256Schema,
  to: deviceIdSchema,
  /** Which of the device's keys it was sealed for: signed, so that nobody seals it again for another. */
  key: keyIdSchema,
  id: z.string().check(z.regex(/^[0-9a-f]{32}$/, "expected 32 lower-case hex digits")),
  /** Grows with every order of this messenger; by it a message counts once. Milliseconds since 1970 of the order, or one above the last. */
  counter: whole(Number.MAX_SAFE_INTEGER),
  issued: instantSchema,
  expires: instantSchema,
  /** The version of the TUF timestamp that the sender knows: a device that finds an older one is kept from the news. */
  timestamp: z.exactOptional(whole(Number.MAX_SAFE_INTEGER)),
};

/** Closed for ever, whatever grows elsewhere: no member holds a place, a version, a name or a command. */
export const messageBodySchema = z.discriminatedUnion("kind", [
  z.strictObject({
    ...common,
    kind: z.literal("update-check"),
    when: z.enum(MESSAGE_TIMES),
    splay: z.exactOptional(whole(MAX_SPLAY)),
  }),
  z.strictObject({ ...common, kind: z.enum(["report", "refresh-trust", "rotate-certificate"]) }),
]);
export type MessageBody = z.infer<typeof messageBodySchema>;

/** What an operator asks for, before it is addressed to a device. */
export type MessageAsk =
  | { readonly kind: "update-check"; readonly when: MessageTime; readonly splay?: number }
  | { readonly kind: Exclude<MessageKind, "update-check"> };

/** Bytes of a body at most; the fixed size of a message has room for it. */
export const BODY_LIMIT = 702;

/** Errors: `json/*`, `schema/invalid`, `message/too-large`. */
export function readBody(bytes: Uint8Array): MessageBody {
  return readMessage(bytes, messageBodySchema, "message", BODY_LIMIT);
}

export function writeBody(body: MessageBody): Uint8Array {
  const bytes = toUtf8(JSON.stringify(body));
  // What every device would refuse is not sent.
  readBody(bytes);
  return bytes;
}

/** Why a body is not followed, by time alone; null when nothing is in the way. */
export type TimeFault = "expired" | "from-the-future" | "lives-too-long";

/**
 * `now` is the device's time, never before what signed metadata proves. A device whose clock is behind cannot tell a message of now from one
 * of later: such a message counts if it is `newer` than every one before it, which it can be only once.
 */
export function judgeTimes(body: MessageBody, now: Instant, newer: boolean): TimeFault | null {
  const [issued, expires] = [parseInstant(body.issued), parseInstant(body.expires)];
  if (expires <= issued || expires - issued > MESSAGE_LIFE) return "lives-too-long";
  // A number from far ahead would silence every later message.
  if (body.counter > issued + MESSAGE_SKEW) return "from-the-future";
  if (expires <= now) return "expired";
  if (issued > now + MESSAGE_SKEW && !newer) return "from-the-future";
  return null;
}

/** The times of a message that is made now: to the second, as instants are written. */
export function lifeFrom(now: Instant, life: number = MESSAGE_LIFE): Pick<MessageBody, "issued" | "expires"> {
  return { issued: formatInstant(now), expires: formatInstant(now + Math.min(life, MESSAGE_LIFE)) };
}
