// What client, gateway and signer say to each other outside of the inner session: greetings, and why a gateway closes.

import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { parseJson } from "../../core/json.ts";
import { checkSchema, nameSchema, z, type Schema } from "../../core/schema.ts";
import { SigningError, type SigningErrorCode } from "../errors.ts";

const clientHello = z.strictObject({
  role: z.literal("client"),
  /** A signer's name, or `*` for any. */
  signer: z.union([z.literal("*"), nameSchema]),
  /** Seconds to wait in line for a signer; the gateway's own limit holds as well. */
  wait: z.optional(z.int().check(z.minimum(0), z.maximum(300))),
});
const signerHello = z.strictObject({ role: z.literal("signer"), signer: nameSchema });
export type ClientHello = z.infer<typeof clientHello>;
export type SignerHello = z.infer<typeof signerHello>;

const openForClient = z.strictObject({
  signer: nameSchema,
  /** Bytes that the session may move, both ways. */
  bytes: z.int().check(z.minimum(64 * 1024)),
  idle: z.int().check(z.minimum(1)),
});
const openForSigner = z.strictObject({
  address: z.string().check(z.maxLength(64)),
  identity: z.string().check(z.maxLength(64)),
  idle: z.int().check(z.minimum(1)),
});
export type OpenForClient = z.infer<typeof openForClient>;
export type OpenForSigner = z.infer<typeof openForSigner>;

/** Errors: `signing/refused`. */
export function readClientHello(payload: Uint8Array): ClientHello {
  return read(clientHello, payload, "signing/refused");
}
export function readSignerHello(payload: Uint8Array): SignerHello {
  return read(signerHello, payload, "signing/refused");
}
/** Errors: `signing/bad-frame`. */
export function readOpenForClient(payload: Uint8Array): OpenForClient {
  return read(openForClient, payload, "signing/bad-frame");
}
export function readOpenForSigner(payload: Uint8Array): OpenForSigner {
  return read(openForSigner, payload, "signing/bad-frame");
}

export function encodeGreeting(
  greeting: ClientHello | SignerHello | OpenForClient | OpenForSigner,
): Uint8Array {
  return toUtf8(JSON.stringify(greeting));
}

function read<T>(schema: Schema<T>, payload: Uint8Array, code: SigningErrorCode): T {
  try {
    return checkSchema(schema, parseJson(payload), "greeting");
  } catch (cause) {
    throw new SigningError(code, "The greeting cannot be read.", {}, { cause });
  }
}

/** Why a gateway closes a connection, and what that means for a client. */
const REASONS = {
  "over-budget": "signing/over-budget",
  "not-allowed": "signing/refused",
  "bad-greeting": "signing/refused",
  "no-signer": "signing/unreachable",
  "too-many-wait": "signing/unreachable",
  stopping: "signing/unreachable",
  ended: "signing/unreachable",
} as const satisfies { readonly [reason: string]: SigningErrorCode };
export type CloseReason = keyof typeof REASONS;

const MAX_REASON = 200;

/** `reason: sentence` as the payload of a close frame. */
export function encodeClose(reason: CloseReason, sentence: string): Uint8Array {
  return toUtf8(`${reason}: ${sentence}`.slice(0, MAX_REASON));
}

/** The gateway is not trusted: an unknown reason, or none, is a connection that broke. */
export function closeError(payload: Uint8Array): SigningError {
  let text = "";
  try {
    text = fromUtf8(payload.subarray(0, MAX_REASON));
  } catch {
    // Not text: no reason.
  }
  const word = text.split(":")[0]!;
  const code = Object.hasOwn(REASONS, word) ? REASONS[word as CloseReason] : "signing/unreachable";
  // It is shown on a terminal.
  const shown = text.replaceAll(/[^\x20-\x7e]/g, "?");
  return new SigningError(
    code,
    `The gateway closed the connection: ${shown === "" ? "no reason given" : shown}`,
  );
}
