// A public key with its one scheme: parsed from the TUF form, identified by its TUF key id, able to verify.

import { constants, createPublicKey, verify as cryptoVerify, type KeyObject } from "node:crypto";
import { canonicalJson } from "../core/canonical-json.ts";
import { concat, fromHex, toHex } from "../core/bytes.ts";
import { sha256Hex, sha512 } from "../core/digest.ts";
import { isJsonObject, type Json, type JsonObject } from "../core/json.ts";
import { KeyError } from "./errors.ts";
import { isScheme, SCHEMES, type KeyType, type Scheme } from "./scheme.ts";

/** The TUF form of a key (TUF 4.2): what is hashed into the key id, unknown members included. */
export type TufKey = JsonObject;

/** Satisfies `DsseVerifier`. */
export interface PublicKey {
  readonly keyid: string;
  readonly keytype: KeyType;
  readonly scheme: Scheme;
  /** SubjectPublicKeyInfo, DER. Two keys are the same key if these bytes are the same, whatever their ids say. */
  readonly spki: Uint8Array;
  /** The TUF form it was parsed from or would be written as. */
  readonly tuf: TufKey;
  /** False for a signature that does not fit, of whatever shape; never throws. */
  verify(message: Uint8Array, signature: Uint8Array): boolean;
}

/**
 * Parses the TUF form. `keyid`, when given, is kept as it is: metadata of others may use other id rules (TUF 4.2, TAP 12),
 * and nothing is trusted by id alone. Errors: `key/malformed`, `key/unknown-scheme`, `key/mismatch`, `key/weak`.
 */
export function parseTufKey(value: Json, keyid?: string): PublicKey {
  if (!isJsonObject(value)) throw malformed("it is not an object");
  const { keytype, scheme, keyval } = value;
  if (typeof keytype !== "string" || typeof scheme !== "string" || !isJsonObject(keyval)) {
    throw malformed("keytype, scheme or keyval is missing or of the wrong type");
  }
  if (!isScheme(scheme)) {
    throw new KeyError("key/unknown-scheme", `The signature scheme "${scheme.slice(0, 40)}" is not known.`, {
      scheme: scheme.slice(0, 40),
    });
  }
  const info = SCHEMES[scheme];
  // POUF-1 and older repositories spell the ECDSA key type as the scheme.
  const typeFits = keytype === info.keytype || (info.keytype === "ecdsa" && keytype === scheme);
  if (!typeFits) {
    throw new KeyError(
      "key/mismatch",
      `The key type "${keytype.slice(0, 40)}" does not go with the scheme ${scheme}.`,
      { scheme },
    );
  }
  const text = keyval["public"];
  if (typeof text !== "string") throw malformed("keyval.public is missing");
  const object = importPublic(text, scheme);
  return publicKeyOf(object, scheme, { tuf: value, ...(keyid === undefined ? {} : { keyid }) });
}

/** Wraps a node:crypto key. Errors: `key/mismatch`, `key/weak`. */
export function publicKeyOf(
  object: KeyObject,
  scheme: Scheme,
  given: { tuf?: TufKey; keyid?: string } = {},
): PublicKey {
  const info = SCHEMES[scheme];
  const details = object.asymmetricKeyDetails ?? {};
  if (
    object.asymmetricKeyType !== info.node ||
    (info.curve !== undefined && details.namedCurve !== info.curve)
  ) {
    throw new KeyError("key/mismatch", `The key is not one for ${scheme}.`, {
      scheme,
      found: object.asymmetricKeyType ?? "unknown",
    });
  }
  if (info.keytype === "rsa" && (details.modulusLength ?? 0) < 2048) {
    throw new KeyError("key/weak", "RSA keys below 2048 bits are refused.", {
      bits: details.modulusLength ?? 0,
    });
  }
  const spki = new Uint8Array(object.export({ type: "spki", format: "der" }));
  const tuf = given.tuf ?? tufForm(object, scheme, spki);
  const keyid = given.keyid ?? sha256Hex(canonicalJson(tuf));
  return {
    keyid,
    keytype: info.keytype,
    scheme,
    spki,
    tuf,
    verify: (message, signature) => verifyWith(object, scheme, message, signature),
  };
}

/** From PEM or DER SubjectPublicKeyInfo. */
export function publicKeyFromSpki(spki: Uint8Array, scheme: Scheme): PublicKey {
  let object: KeyObject;
  try {
    object = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  } catch (cause) {
    throw malformed("the SubjectPublicKeyInfo cannot be read", cause);
  }
  return publicKeyOf(object, scheme);
}

/** Verifies one signature made by `signatureInput` rules of the scheme. */
export function verifyWith(
  object: KeyObject,
  scheme: Scheme,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  const info = SCHEMES[scheme];
  // RFC 8017 8.1.2 and 8.2.2, step 1: as long as the modulus. OpenSSL forgives PSS a leading zero that was cut off: one signature, two spellings.
  if (info.node === "rsa" && signature.length !== modulusBytes(object)) return false;
  try {
    return cryptoVerify(
      info.hash ?? null,
      signatureInput(scheme, message),
      withPadding(object, scheme),
      signature,
    );
  } catch {
    return false;
  }
}

const moduli = new WeakMap<KeyObject, number>();

function modulusBytes(object: KeyObject): number {
  const known = moduli.get(object) ?? Math.ceil((object.asymmetricKeyDetails?.modulusLength ?? 0) / 8);
  moduli.set(object, known);
  return known;
}

/** The bytes that are really signed. TAP 21: ML-DSA signs "tuf" || 0x01 || SHA-512(message), pure, empty context. */
export function signatureInput(scheme: Scheme, message: Uint8Array): Uint8Array {
  return SCHEMES[scheme].keytype === "ml-dsa" ? concat([TAP21_PREFIX, sha512(message)]) : message;
}

/**
 * The key as node:crypto wants it for the scheme. PSS salt: digest length when signing, any when verifying. Everywhere else Node's own
 * defaults are the right ones (ECDSA in DER, PKCS #1 v1.5): a bare key costs 8 microseconds less than one in an options object.
 */
export function withPadding(
  key: KeyObject,
  scheme: Scheme,
  forSigning = false,
): KeyObject | { readonly key: KeyObject; readonly padding: number; readonly saltLength: number } {
  if (SCHEMES[scheme].pss !== true) return key;
  return {
    key,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: forSigning ? constants.RSA_PSS_SALTLEN_DIGEST : constants.RSA_PSS_SALTLEN_AUTO,
  };
}

function importPublic(text: string, scheme: Scheme): KeyObject {
  try {
    if (text.startsWith("-----BEGIN PUBLIC KEY-----")) return createPublicKey(text);
    // TUF 4.2: ed25519 keys are 32 bytes of hex; some repositories write P-256 points in hex as well.
    const raw = fromHex(text);
    if (scheme === "ed25519" && raw.length === 32) {
      return createPublicKey({ key: Buffer.from(concat([ED25519_SPKI, raw])), format: "der", type: "spki" });
    }
    if (scheme === "ecdsa-sha2-nistp256" && raw.length === 65 && raw[0] === 4) {
      return createPublicKey({ key: Buffer.from(concat([P256_SPKI, raw])), format: "der", type: "spki" });
    }
  } catch (cause) {
    throw malformed("keyval.public cannot be read", cause);
  }
  throw malformed(`keyval.public is neither PEM nor the hex form of ${scheme}`);
}

function tufForm(object: KeyObject, scheme: Scheme, spki: Uint8Array): TufKey {
  const form = (keyval: string): TufKey => ({
    keytype: SCHEMES[scheme].keytype,
    scheme,
    keyval: { public: keyval },
  });
  return scheme === "ed25519"
    ? form(toHex(spki.subarray(spki.length - 32)))
    : form(String(object.export({ type: "spki", format: "pem" })));
}

function malformed(what: string, cause?: unknown): KeyError {
  return new KeyError("key/malformed", `The key cannot be used: ${what}.`, {}, { cause });
}

const TAP21_PREFIX = Uint8Array.of(0x74, 0x75, 0x66, 0x01);
/** RFC 8410: SubjectPublicKeyInfo of Ed25519 up to the key bytes. */
const ED25519_SPKI = fromHex("302a300506032b6570032100");
/** RFC 5480: SubjectPublicKeyInfo of an uncompressed P-256 point up to the point. */
const P256_SPKI = fromHex("3059301306072a8648ce3d020106082a8648ce3d030107034200");
