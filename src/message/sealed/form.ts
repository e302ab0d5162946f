// The form of a sealed message: fixed size, a header that names a key, and bytes that only this key can read (spec/message.md).

import { concat, fromHex, toHex, toUtf8 } from "../../core/bytes.ts";
import { payloadType, preAuthEncoding, type DsseSigner, type DsseVerifier } from "../../core/dsse.ts";
import { HPKE_KEY_LENGTH, HPKE_TAG_LENGTH, hpkeOpen, hpkeSeal } from "../../keys/hpke.ts";
import { MessageError } from "../errors.ts";
import { messageKeyId } from "../message-key.ts";
import { SEALED_LENGTH } from "../sealed-length.ts";
import { BODY_LIMIT, writeBody, type MessageBody } from "./body.ts";

const MAGIC = toUtf8("SM");
const VERSION = 1;
/** DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. */
const SUITE = 2;
const HEADER_LENGTH = 20;
const SIGNATURE_LENGTH = 64;
/** Two bytes of length, a signature, a body, zeros. */
const PLAIN_LENGTH = SEALED_LENGTH - HEADER_LENGTH - HPKE_KEY_LENGTH - HPKE_TAG_LENGTH;

/** The only part that others can read: which key it is for, which says nothing to who does not know whose key that is. */
export type SealedHeader = { readonly version: number; readonly suite: number; readonly key: string };

/** Null for bytes that are no sealed message of a form that is known here. */
export function readHeader(bytes: Uint8Array): SealedHeader | null {
  if (bytes.length !== SEALED_LENGTH) return null;
  if (bytes[0] !== MAGIC[0] || bytes[1] !== MAGIC[1] || bytes[2] !== VERSION || bytes[3] !== SUITE)
    return null;
  return { version: VERSION, suite: SUITE, key: toHex(bytes.subarray(4, HEADER_LENGTH)) };
}

/** HPKE's `info`: a message of one fleet is nothing in another. `fleet`: SHA-256 of the repository's first root, hex. */
function infoOf(fleet: string): Uint8Array {
  return toUtf8(`upkeep/sealed-message/v1|${fleet}`);
}

/** `body` without what the sealing itself says: who it is from, and for which key. */
export type Unaddressed = MessageBody extends infer B
  ? B extends MessageBody
    ? Omit<B, "from" | "key">
    : never
  : never;

/**
 * Seals one message for one device. `secret`: 32 unpredictable bytes, used for nothing else.
 * Errors: `message/cannot-seal` for a messenger whose key is not Ed25519, `key/malformed`, `schema/invalid`.
 */
export async function sealMessage(
  message: Unaddressed,
  to: { readonly key: Uint8Array; readonly fleet: string },
  messenger: DsseSigner,
  secret: Uint8Array,
): Promise<Uint8Array> {
  const key = messageKeyId(to.key);
  const body = writeBody({ ...message, from: messenger.publicKey.keyid, key } as MessageBody);
  const signature = await messenger.sign(preAuthEncoding(payloadType("message"), body));
  if (signature.length !== SIGNATURE_LENGTH) {
    throw new MessageError(
      "message/cannot-seal",
      `The messenger's key makes signatures of ${signature.length} bytes; a sealed message has room for one of ${SIGNATURE_LENGTH}, as Ed25519 makes it.`,
      { length: signature.length },
    );
  }
  const header = concat([MAGIC, Uint8Array.of(VERSION, SUITE), fromHex(key)]);
  const plain = new Uint8Array(PLAIN_LENGTH);
  plain.set([body.length >> 8, body.length & 0xff]);
  plain.set(signature, 2);
  plain.set(body, 2 + SIGNATURE_LENGTH);
  const { enc, ciphertext } = hpkeSeal(to.key, secret, plain, { info: infoOf(to.fleet), aad: header });
  return concat([header, enc, ciphertext]);
}

/** What the envelope held: not yet whose words they are. */
export type Unsealed = { readonly signature: Uint8Array; readonly body: Uint8Array };

/** `cannot-open`: sealed for another key or fleet, or changed on the way. `bad-padding`: sealed by a program that does not know the form. */
export function unseal(
  bytes: Uint8Array,
  by: { readonly privateKey: Uint8Array; readonly fleet: string },
): Unsealed | "cannot-open" | "bad-padding" {
  const enc = bytes.subarray(HEADER_LENGTH, HEADER_LENGTH + HPKE_KEY_LENGTH);
  const ciphertext = bytes.subarray(HEADER_LENGTH + HPKE_KEY_LENGTH);
  const terms = { info: infoOf(by.fleet), aad: bytes.subarray(0, HEADER_LENGTH) };
  const plain = hpkeOpen(by.privateKey, { enc, ciphertext }, terms);
  if (plain === null) return "cannot-open";
  const length = (plain[0]! << 8) | plain[1]!;
  const start = 2 + SIGNATURE_LENGTH;
  if (length === 0 || length > BODY_LIMIT) return "bad-padding";
  if (plain.subarray(start + length).some((byte) => byte !== 0)) return "bad-padding";
  return { signature: plain.subarray(2, start), body: plain.subarray(start, start + length) };
}

/** The messenger whose signature this is, of those that are trusted; null for anybody else's. */
export function signerOf<V extends DsseVerifier>(
  { signature, body }: Unsealed,
  messengers: readonly V[],
): V | null {
  const signed = preAuthEncoding(payloadType("message"), body);
  return messengers.find((messenger) => messenger.verify(signed, signature)) ?? null;
}
