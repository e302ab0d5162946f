// Tickets: what the deciding process hands to a key's process, so that the key signs only what was decided.

import { createHmac, createSecretKey, type KeyObject } from "node:crypto";
import { canonicalJson } from "../../core/canonical-json.ts";
import { equalBytes, fromBase64, toBase64 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { SECOND, type Instant } from "../../core/instant.ts";
import type { Json } from "../../core/json.ts";
import { lengthSchema, sha256Schema, z, checkSchema } from "../../core/schema.ts";
import { SCHEMES, type Scheme } from "../../keys/scheme.ts";
import { SigningError } from "../errors.ts";

/** A ticket is used at once; the span covers a queue in front of a slow token. */
export const TICKET_LIFETIME = 60 * SECOND;
/** Signed attributes, TUF metadata, checkpoints: nothing longer is ever signed. */
export const MAX_MESSAGE = 768 * 1024;

const ticketSchema = z.strictObject({
  key: z.string(),
  scheme: z.enum(Object.keys(SCHEMES) as [Scheme, ...Scheme[]]),
  sha256: sha256Schema,
  length: lengthSchema,
  /** Number of the intent in the audit log; one signature per intent. */
  intent: lengthSchema,
  expires: lengthSchema,
  mac: z.string(),
});
export type Ticket = z.infer<typeof ticketSchema>;

export function issueTicket(
  macKey: Uint8Array,
  given: {
    readonly key: string;
    readonly scheme: Scheme;
    readonly message: Uint8Array;
    readonly intent: number;
    readonly now: Instant;
  },
): Ticket {
  const body = {
    key: given.key,
    scheme: given.scheme,
    sha256: sha256Hex(given.message),
    length: given.message.length,
    intent: given.intent,
    expires: given.now + TICKET_LIFETIME,
  };
  return { ...body, mac: macOf(macKey, body) };
}

/** What the key's process checks before it touches the key. `used` remembers intents. Errors: `signing/bad-ticket`. */
export function checkTicket(
  macKey: Uint8Array,
  value: Json,
  given: {
    readonly key: string;
    readonly schemes: readonly Scheme[];
    readonly message: Uint8Array;
    readonly now: Instant;
    readonly used: Map<number, Instant>;
  },
): Ticket {
  const refuse = (what: string): SigningError =>
    new SigningError("signing/bad-ticket", `The key was not used: ${what}.`, { key: given.key });
  const ticket = checkSchema(ticketSchema, value, "ticket");
  const { mac, ...body } = ticket;
  let offered: Uint8Array;
  try {
    offered = fromBase64(mac);
  } catch (cause) {
    throw new SigningError("signing/bad-ticket", "The ticket is malformed.", {}, { cause });
  }
  if (!equalBytes(fromBase64(macOf(macKey, body)), offered)) throw refuse("the ticket is forged");
  if (ticket.key !== given.key) throw refuse("the ticket is for another key");
  if (!given.schemes.includes(ticket.scheme)) throw refuse(`this key does not sign with ${ticket.scheme}`);
  if (ticket.expires <= given.now) throw refuse("the ticket expired");
  if (given.message.length > MAX_MESSAGE || ticket.length !== given.message.length)
    throw refuse("the length is another one");
  if (ticket.sha256 !== sha256Hex(given.message))
    throw refuse("the bytes are others than those that were decided");
  for (const [intent, expires] of given.used) {
    if (expires > given.now) break;
    given.used.delete(intent);
  }
  if (given.used.has(ticket.intent)) throw refuse("the ticket was used before");
  given.used.set(ticket.intent, ticket.expires);
  return ticket;
}

function macOf(macKey: Uint8Array, body: Omit<Ticket, "mac">): string {
  return toBase64(
    createHmac("sha256", secretOf(macKey))
      .update(canonicalJson(body as unknown as Json))
      .digest(),
  );
}

/** Keys are kept as objects: given bytes, Node makes one anew for each MAC, which costs four times the MAC itself. */
const secrets = new WeakMap<Uint8Array, KeyObject>();

function secretOf(macKey: Uint8Array): KeyObject {
  const known = secrets.get(macKey);
  if (known !== undefined) return known;
  const made = createSecretKey(macKey);
  secrets.set(macKey, made);
  return made;
}
