// The conversation inside the inner TLS session: length-delimited JSON messages under closed schemas.

import { parseJson } from "../../core/json.ts";
import { toUtf8 } from "../../core/bytes.ts";
import { checkSchema, lengthSchema, nameSchema, z } from "../../core/schema.ts";
import { lineSchema } from "../audit/entry.ts";
import { SigningError } from "../errors.ts";
import { gather } from "./frame.ts";
import { idSchema } from "../request/operation.ts";
import { MAX_REQUEST } from "../request/request.ts";

/** Base64 of the largest request and some room. */
export const MAX_MESSAGE_BYTES = Math.ceil((MAX_REQUEST * 4) / 3) + 4096;
/** Bytes of a table in one message. */
export const MAX_PART = 256 * 1024;
export const EXPORTER_LABEL = "EXPORTER-upkeep-signing-session-v1";
/** Name that both certificates of the inner session carry; identity is the key, never the name. */
export const INNER_NAME = "signer.upkeep.internal";

const secret = z.string().check(z.maxLength(16 * 1024));
const base64 = z.string().check(z.maxLength(MAX_MESSAGE_BYTES), z.regex(/^[A-Za-z0-9+/]*={0,2}$/));

const callSchema = z.discriminatedUnion("type", [
  /** `versions`: what the client speaks; the signer picks the highest it knows (`versions.ts`). */
  z.strictObject({
    seq: lengthSchema,
    type: z.literal("hello"),
    versions: z.array(z.int()).check(z.maxLength(32)),
    client: lineSchema,
  }),
  z.discriminatedUnion("method", [
    z.strictObject({ seq: lengthSchema, type: z.literal("sign-in"), method: z.literal("key") }),
    z.strictObject({
      seq: lengthSchema,
      type: z.literal("sign-in"),
      method: z.literal("password"),
      user: lineSchema,
      password: secret,
      code: z.string().check(z.maxLength(16)),
    }),
    z.strictObject({
      seq: lengthSchema,
      type: z.literal("sign-in"),
      method: z.literal("oidc"),
      token: secret,
    }),
  ]),
  z.strictObject({ seq: lengthSchema, type: z.literal("certificates") }),
  z.strictObject({ seq: lengthSchema, type: z.literal("sign"), envelope: base64 }),
  /** The same envelope as `sign`: what would become of it. */
  z.strictObject({ seq: lengthSchema, type: z.literal("preview"), envelope: base64 }),
  z.strictObject({ seq: lengthSchema, type: z.literal("status"), request: idSchema }),
  /** The next part of a table that an answer of the state `table` asked for. */
  z.strictObject({
    seq: lengthSchema,
    type: z.literal("table"),
    request: idSchema,
    offset: lengthSchema,
    part: base64.check(z.maxLength(Math.ceil(MAX_PART / 3) * 4)),
  }),
  z.strictObject({ seq: lengthSchema, type: z.literal("pending") }),
  z.strictObject({ seq: lengthSchema, type: z.literal("approve"), envelope: base64 }),
]);

export type SignIn =
  | { readonly method: "key" }
  | { readonly method: "password"; readonly user: string; readonly password: string; readonly code: string }
  | { readonly method: "oidc"; readonly token: string };
export type CallBody =
  | { readonly type: "hello"; readonly versions: readonly number[]; readonly client: string }
  | ({ readonly type: "sign-in" } & SignIn)
  | { readonly type: "certificates" }
  | { readonly type: "sign"; readonly envelope: string }
  | { readonly type: "preview"; readonly envelope: string }
  | { readonly type: "status"; readonly request: string }
  | { readonly type: "table"; readonly request: string; readonly offset: number; readonly part: string }
  | { readonly type: "pending" }
  | { readonly type: "approve"; readonly envelope: string };
export type CallMessage = { readonly seq: number } & CallBody;

/** A certificate as a client is told about it: everything it needs to prepare a request and to check the reply. */
const offeredSchema = z.strictObject({
  name: nameSchema,
  scheme: lineSchema,
  schemes: z.array(lineSchema),
  operations: z.array(lineSchema),
  /** PEM, leaf first; absent for a key without certificate. */
  chain: z.optional(z.string()),
  /** Base64 SubjectPublicKeyInfo. */
  spki: z.string(),
  expires: z.optional(lineSchema),
});
export type OfferedCertificate = z.infer<typeof offeredSchema>;

const pendingSchema = z.strictObject({
  request: idSchema,
  requestHash: z.string(),
  user: lineSchema,
  certificate: lineSchema,
  operation: lineSchema,
  file: lineSchema,
  digest: lineSchema,
  address: lineSchema,
  since: lineSchema,
  expires: lineSchema,
  needed: lengthSchema,
  have: lengthSchema,
  release: z.optional(
    z.strictObject({
      root: z.string(),
      size: lengthSchema,
      index: lengthSchema,
      nonce: z.optional(z.string()),
    }),
  ),
});
export type PendingRequest = z.infer<typeof pendingSchema>;

const signedSchema = z.strictObject({
  state: z.literal("signed"),
  request: idSchema,
  /** Base64: a CMS message, or the bare signature of a raw request. */
  reply: base64,
  /** C2SP tlog-proof of the result entry. */
  receipt: z.string(),
});
const waitingSchema = z.strictObject({
  state: z.literal("pending"),
  request: idSchema,
  needed: lengthSchema,
  have: lengthSchema,
  expires: lineSchema,
});
/** The request is allowed; its table of page hashes has to come first, from `received` on. Then the request is sent again. */
const tableSchema = z.strictObject({ state: z.literal("table"), request: idSchema, received: lengthSchema });
export type SignOutcome =
  | z.infer<typeof signedSchema>
  | z.infer<typeof waitingSchema>
  | z.infer<typeof tableSchema>;

const answers = {
  hello: z.strictObject({ version: z.int(), signer: nameSchema, log: lineSchema, time: lineSchema }),
  "sign-in": z.strictObject({ user: lineSchema, roles: z.array(lineSchema), until: lineSchema }),
  certificates: z.strictObject({ certificates: z.array(offeredSchema) }),
  sign: z.discriminatedUnion("state", [signedSchema, waitingSchema, tableSchema]),
  preview: z.strictObject({
    outcome: z.enum(["allow", "ask", "deny"]),
    rule: z.optional(lineSchema),
    needed: z.optional(lengthSchema),
    reasons: z
      .array(z.strictObject({ rule: lineSchema, check: lineSchema, reason: lineSchema }))
      .check(z.maxLength(1000)),
  }),
  status: z.discriminatedUnion("state", [signedSchema, waitingSchema, tableSchema]),
  table: z.strictObject({ received: lengthSchema }),
  pending: z.strictObject({ requests: z.array(pendingSchema) }),
  approve: z.strictObject({ subject: lineSchema, have: lengthSchema }),
} as const;
export type Answers = { readonly [T in CallBody["type"]]: z.infer<(typeof answers)[T]> };

const replySchema = z.discriminatedUnion("ok", [
  z.strictObject({ seq: lengthSchema, ok: z.literal(true), answer: z.unknown() }),
  z.strictObject({
    seq: lengthSchema,
    ok: z.literal(false),
    code: lineSchema,
    message: z.string().check(z.maxLength(4096)),
    /** The signer vouches that no signature came of this call and none will: another signer may be asked. */
    signed: z.optional(z.literal(false)),
  }),
]);
export type ReplyMessage =
  | { readonly seq: number; readonly ok: true; readonly answer: Answers[CallBody["type"]] }
  | {
      readonly seq: number;
      readonly ok: false;
      readonly code: string;
      readonly message: string;
      readonly signed?: false;
    };

/** Errors: `json/*`, `schema/invalid`. */
export function parseCall(bytes: Uint8Array): CallMessage {
  return checkSchema(callSchema, parseJson(bytes), "message to the signer");
}

export function parseReply(bytes: Uint8Array): ReplyMessage {
  return checkSchema(replySchema, parseJson(bytes), "reply of the signer") as ReplyMessage;
}

export function checkAnswer<T extends CallBody["type"]>(type: T, answer: unknown): Answers[T] {
  return checkSchema(answers[type] as never, answer as never, `reply of the signer to ${type}`);
}

/** length (4, big-endian) || JSON */
export function encodeMessage(message: CallMessage | ReplyMessage): Uint8Array {
  const body = toUtf8(JSON.stringify(message));
  if (body.length > MAX_MESSAGE_BYTES) throw tooLong(body.length);
  const bytes = new Uint8Array(4 + body.length);
  new DataView(bytes.buffer).setUint32(0, body.length);
  bytes.set(body, 4);
  return bytes;
}

/** Cuts a byte stream into messages, refusing an announced length before it is waited for. */
export class MessageReader {
  #parts: Uint8Array[] = [];
  #buffered = 0;
  #needed = 4;
  #length: number | null = null;

  *push(part: Uint8Array): Generator<Uint8Array> {
    gather(this.#parts, part);
    this.#buffered += part.length;
    while (this.#buffered >= this.#needed) {
      const all = this.#parts.length === 1 ? this.#parts[0]! : new Uint8Array(Buffer.concat(this.#parts));
      const head = all.subarray(0, this.#needed);
      const rest = all.subarray(this.#needed);
      this.#parts = rest.length > 0 ? [rest] : [];
      this.#buffered = rest.length;
      if (this.#length === null) {
        this.#length = new DataView(head.buffer, head.byteOffset, 4).getUint32(0);
        if (this.#length > MAX_MESSAGE_BYTES) throw tooLong(this.#length);
        this.#needed = this.#length;
      } else {
        this.#length = null;
        this.#needed = 4;
        yield head;
      }
    }
  }
}

function tooLong(length: number): SigningError {
  return new SigningError(
    "signing/bad-frame",
    `A message of ${length} bytes is longer than the allowed ${MAX_MESSAGE_BYTES}.`,
    {
      length,
    },
  );
}
