// HPKE in base mode (RFC 9180): bytes that only the holder of one X25519 key can read. Who sent them is somebody else's proof.

import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  type KeyObject,
} from "node:crypto";
import { concat, toBase64Url, toUtf8 } from "../core/bytes.ts";
import { KeyError } from "./errors.ts";

/** Bytes of an X25519 key, of an encapsulated key, and of the randomness that makes either (RFC 9180 7.1). */
export const HPKE_KEY_LENGTH = 32;
/** Bytes that a sealed text is longer than its plain one. */
export const HPKE_TAG_LENGTH = 16;

/** RFC 9180 7.3. The first is there for the official vectors. */
const AEADS = {
  "aes-128-gcm": { id: 1, keyLength: 16 },
  "aes-256-gcm": { id: 2, keyLength: 32 },
} as const;
export type Aead = keyof typeof AEADS;

const KEM_ID = 0x0020;
const KDF_ID = 0x0001;
const NONCE_LENGTH = 12;
/** RFC 9180 5: mode_base. */
const BASE = Uint8Array.of(0);
const EMPTY = new Uint8Array(0);

export type HpkeKeys = { readonly privateKey: Uint8Array; readonly publicKey: Uint8Array };

export type Sealed = { readonly enc: Uint8Array; readonly ciphertext: Uint8Array };

/** What both sides have to say alike. */
export type HpkeTerms = {
  readonly info: Uint8Array;
  readonly aad: Uint8Array;
  readonly aead?: Aead;
};

/** RFC 9180 7.1.3, DeriveKeyPair of X25519: the key that `secret`, 32 unpredictable bytes, makes. Throws `key/malformed`. */
export function hpkeKeysOf(secret: Uint8Array): HpkeKeys {
  if (secret.length < HPKE_KEY_LENGTH) throw malformed("the secret is shorter than 32 bytes");
  const prk = labeledExtract(KEM_SUITE, EMPTY, "dkp_prk", secret);
  const privateKey = labeledExpand(KEM_SUITE, prk, "sk", EMPTY, HPKE_KEY_LENGTH);
  return { privateKey, publicKey: publicKeyOf(privateKey) };
}

/**
 * Seals one text for the holder of `recipient`. `secret`: 32 unpredictable bytes that are used for this text alone.
 * Throws `key/malformed` for what is no usable X25519 key.
 */
export function hpkeSeal(
  recipient: Uint8Array,
  secret: Uint8Array,
  plaintext: Uint8Array,
  terms: HpkeTerms,
): Sealed {
  const { privateKey, publicKey: enc } = hpkeKeysOf(secret);
  const shared = sharedSecret(agree(privateKey, recipient), enc, recipient);
  const { name, key, nonce } = schedule(shared, terms);
  const cipher = createCipheriv(name, key, nonce, { authTagLength: HPKE_TAG_LENGTH });
  cipher.setAAD(terms.aad);
  const body = concat([cipher.update(plaintext), cipher.final()]);
  return { enc, ciphertext: concat([body, cipher.getAuthTag()]) };
}

/**
 * The text, or null when it was not sealed for this key in these terms, or a bit of it is not as it was. Not a byte is handed out before
 * the tag was checked.
 */
export function hpkeOpen(privateKey: Uint8Array, sealed: Sealed, terms: HpkeTerms): Uint8Array | null {
  const { enc, ciphertext } = sealed;
  if (enc.length !== HPKE_KEY_LENGTH || ciphertext.length < HPKE_TAG_LENGTH) return null;
  let dh: Uint8Array;
  try {
    dh = agree(privateKey, enc);
  } catch {
    // A point of small order agrees with every key on nothing (RFC 9180 7.1.4).
    return null;
  }
  const { name, key, nonce } = schedule(sharedSecret(dh, enc, publicKeyOf(privateKey)), terms);
  const decipher = createDecipheriv(name, key, nonce, { authTagLength: HPKE_TAG_LENGTH });
  decipher.setAAD(terms.aad);
  decipher.setAuthTag(ciphertext.subarray(-HPKE_TAG_LENGTH));
  try {
    // `final` throws before what `update` gave is looked at by anybody.
    return concat([decipher.update(ciphertext.subarray(0, -HPKE_TAG_LENGTH)), decipher.final()]);
  } catch {
    return null;
  }
}

/** The public half of a private X25519 key. Throws `key/malformed`. */
export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  const jwk = createPublicKey(privateObject(privateKey)).export({ format: "jwk" });
  return new Uint8Array(Buffer.from(jwk.x!, "base64url"));
}

// RFC 9180 4.1: Extract and Expand are those of HKDF (RFC 5869), with labels.
const KEM_SUITE = concat([toUtf8("KEM"), i2osp(KEM_ID)]);
const VERSION = toUtf8("HPKE-v1");

function labeledExtract(suite: Uint8Array, salt: Uint8Array, label: string, ikm: Uint8Array): Uint8Array {
  return hmac(salt, concat([VERSION, suite, toUtf8(label), ikm]));
}

function labeledExpand(
  suite: Uint8Array,
  prk: Uint8Array,
  label: string,
  info: Uint8Array,
  length: number,
): Uint8Array {
  // All that is asked for here fits into the first block of SHA-256.
  const labeled = concat([i2osp(length), VERSION, suite, toUtf8(label), info]);
  return hmac(prk, concat([labeled, Uint8Array.of(1)])).subarray(0, length);
}

/** RFC 9180 4.1, ExtractAndExpand of the KEM; 7.1: the context is both public keys. */
function sharedSecret(dh: Uint8Array, enc: Uint8Array, recipient: Uint8Array): Uint8Array {
  const prk = labeledExtract(KEM_SUITE, EMPTY, "eae_prk", dh);
  return labeledExpand(KEM_SUITE, prk, "shared_secret", concat([enc, recipient]), 32);
}

/** RFC 9180 5.1, KeySchedule in base mode; the nonce of the first and only text is the base nonce (5.2). */
function schedule(
  shared: Uint8Array,
  { info, aead = "aes-256-gcm" }: HpkeTerms,
): { readonly name: Aead; readonly key: Uint8Array; readonly nonce: Uint8Array } {
  const { id, keyLength } = AEADS[aead];
  const suite = concat([toUtf8("HPKE"), i2osp(KEM_ID), i2osp(KDF_ID), i2osp(id)]);
  const pskIdHash = labeledExtract(suite, EMPTY, "psk_id_hash", EMPTY);
  const infoHash = labeledExtract(suite, EMPTY, "info_hash", info);
  const context = concat([BASE, pskIdHash, infoHash]);
  const secret = labeledExtract(suite, shared, "secret", EMPTY);
  return {
    name: aead,
    key: labeledExpand(suite, secret, "key", context, keyLength),
    nonce: labeledExpand(suite, secret, "base_nonce", context, NONCE_LENGTH),
  };
}

function agree(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array {
  let dh: Uint8Array;
  try {
    const key = { kty: "OKP", crv: "X25519", x: toBase64Url(publicKey) };
    dh = new Uint8Array(
      diffieHellman({
        privateKey: privateObject(privateKey),
        publicKey: createPublicKey({ key, format: "jwk" }),
      }),
    );
  } catch (cause) {
    throw malformed("it is no usable X25519 key", cause);
  }
  if (dh.every((byte) => byte === 0)) throw malformed("it is a point of small order");
  return dh;
}

/** RFC 8410 section 7: the form of a private X25519 key, around its 32 bytes. */
const PKCS8_X25519 = new Uint8Array(Buffer.from("302e020100300506032b656e04220420", "hex"));

function privateObject(privateKey: Uint8Array): KeyObject {
  if (privateKey.length !== HPKE_KEY_LENGTH) throw malformed("a private key has 32 bytes");
  const key = Buffer.from(concat([PKCS8_X25519, privateKey]));
  return createPrivateKey({ key, format: "der", type: "pkcs8" });
}

function hmac(key: Uint8Array, message: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac("sha256", key).update(message).digest());
}

/** Two bytes, the high one first. */
function i2osp(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

function malformed(what: string, cause?: unknown): KeyError {
  return new KeyError("key/malformed", `The key for sealed messages cannot be used: ${what}.`, {}, { cause });
}
