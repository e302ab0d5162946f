// Custody: one unlock secret under a passphrase or operator shares, and everything else sealed under it.

import { argon2, createCipheriv, createDecipheriv, hkdfSync, type Argon2Parameters } from "node:crypto";
import { canonicalJson } from "../../core/canonical-json.ts";
import { concat, fromBase64, toBase64, toHex, toUtf8 } from "../../core/bytes.ts";
import { parseJson, type Json } from "../../core/json.ts";
import type { Random } from "../../core/random.ts";
import { checkSchema, sha256Schema, z } from "../../core/schema.ts";
import { sha256Hex } from "../../core/digest.ts";
import { SigningError } from "../errors.ts";
import { joinShares, splitSecret, type Share } from "./shamir.ts";

const base64Schema = z.string().check(z.regex(/^[A-Za-z0-9+/]*={0,2}$/, "expected base64"));
const sealedSchema = z.strictObject({ nonce: base64Schema, ciphertext: base64Schema });
export type Sealed = z.infer<typeof sealedSchema>;

const unlockSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("passphrase"),
    version: z.literal(1),
    memory: z.int().check(z.minimum(8 * 1024), z.maximum(4 * 1024 * 1024)),
    passes: z.int().check(z.minimum(1), z.maximum(64)),
    salt: base64Schema,
    sealed: sealedSchema,
  }),
  z.strictObject({
    kind: z.literal("shares"),
    version: z.literal(1),
    needed: z.int(),
    total: z.int(),
    set: z.string(),
    /** SHA-256 of a value derived from the secret: tells a wrong set of shares from a right one. */
    check: sha256Schema,
  }),
]);
/** What the data folder keeps about the unlock secret: never enough to get it. */
export type Unlock = z.infer<typeof unlockSchema>;

/** RFC 9106 section 4, first recommended option scaled to a signer's start: 256 MiB, 4 passes. */
const COST = { memory: 256 * 1024, passes: 4 } as const;

export function parseUnlock(bytes: Uint8Array): Unlock {
  return checkSchema(unlockSchema, parseJson(bytes), "unlock file");
}

export async function lockWithPassphrase(
  secret: Uint8Array,
  passphrase: Uint8Array,
  random: Random,
  cost: { readonly memory: number; readonly passes: number } = COST,
): Promise<Unlock> {
  if (passphrase.length < 12) {
    throw new SigningError(
      "signing/refused",
      "The passphrase that guards signing keys must have at least 12 characters.",
    );
  }
  const salt = random.bytes(16);
  const kek = await stretch(passphrase, salt, cost.memory, cost.passes);
  return {
    kind: "passphrase",
    version: 1,
    ...cost,
    salt: toBase64(salt),
    sealed: sealWith(kek, secret, "upkeep unlock v1", random),
  };
}

export function lockWithShares(
  secret: Uint8Array,
  needed: number,
  total: number,
  random: Random,
): { readonly unlock: Unlock; readonly shares: readonly Share[] } {
  const shares = splitSecret(secret, needed, total, random);
  return {
    unlock: { kind: "shares", version: 1, needed, total, set: shares[0]!.set, check: checkOf(secret) },
    shares,
  };
}

/** Errors: `signing/locked` when the passphrase or the shares are wrong. */
export async function unlockSecret(
  unlock: Unlock,
  given: { readonly passphrase?: Uint8Array; readonly shares?: readonly Share[] },
): Promise<Uint8Array> {
  if (unlock.kind === "passphrase") {
    if (given.passphrase === undefined) throw locked("a passphrase is needed");
    const kek = await stretch(given.passphrase, fromBase64(unlock.salt), unlock.memory, unlock.passes);
    const secret = openWith(kek, unlock.sealed, "upkeep unlock v1");
    if (secret === null) throw locked("the passphrase is wrong");
    return secret;
  }
  const shares = given.shares ?? [];
  if (shares.some((share) => share.set !== unlock.set))
    throw locked("a share belongs to another signer or an older splitting");
  const secret = joinShares(shares);
  if (checkOf(secret) !== unlock.check)
    throw locked("the shares do not give the secret: one of them is false");
  return secret;
}

/** A key of its own for each purpose. RFC 5869. */
export function purposeKey(secret: Uint8Array, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", secret, new Uint8Array(0), `upkeep ${purpose}`, 32));
}

/** AES-256-GCM; `what` is authenticated with it, so that one sealed thing cannot stand in for another. */
export function sealWith(key: Uint8Array, plain: Uint8Array, what: string, random: Random): Sealed {
  const nonce = random.bytes(12);
  const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(toUtf8(what));
  const ciphertext = concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  return { nonce: toBase64(nonce), ciphertext: toBase64(ciphertext) };
}

/** Null when it is not what it should be. */
export function openWith(key: Uint8Array, sealed: Sealed, what: string): Uint8Array | null {
  const bytes = fromBase64(sealed.ciphertext);
  if (bytes.length < 16) return null;
  try {
    const decipher = createDecipheriv("aes-256-gcm", key, fromBase64(sealed.nonce)).setAAD(toUtf8(what));
    decipher.setAuthTag(bytes.subarray(bytes.length - 16));
    return concat([decipher.update(bytes.subarray(0, bytes.length - 16)), decipher.final()]);
  } catch {
    return null;
  }
}

const keyFileSchema = z.strictObject({
  version: z.literal(1),
  name: z.string(),
  /** `pkcs8` for keys in files; `secret` for a PIN or the credentials of a key that lives elsewhere. */
  holds: z.enum(["pkcs8", "secret"]),
  /** Base64 SubjectPublicKeyInfo, when it is known. */
  spki: z.optional(base64Schema),
  sealed: sealedSchema,
});
/** A sealed key: useless without the unlock secret. */
export type SealedKey = z.infer<typeof keyFileSchema>;

export function parseSealedKey(bytes: Uint8Array): SealedKey {
  return checkSchema(keyFileSchema, parseJson(bytes), "sealed key");
}

export function formatSealed(value: SealedKey | Unlock): Uint8Array {
  return concat([canonicalJson(value as unknown as Json), Uint8Array.of(0x0a)]);
}

/** The key under which one sealed key lies: all that its process is given. */
export function wrappingKey(secret: Uint8Array, name: string): Uint8Array {
  return purposeKey(secret, `key ${name} v1`);
}

export function sealKey(
  wrapping: Uint8Array,
  given: {
    readonly name: string;
    readonly holds: SealedKey["holds"];
    readonly spki?: Uint8Array;
    readonly plain: Uint8Array;
  },
  random: Random,
): SealedKey {
  const { name, holds, spki, plain } = given;
  return {
    version: 1,
    name,
    holds,
    ...(spki === undefined ? {} : { spki: toBase64(spki) }),
    sealed: sealWith(wrapping, plain, keyContext(name, holds, spki), random),
  };
}

/** Errors: `signing/locked`. */
export function openKey(wrapping: Uint8Array, key: SealedKey): Uint8Array {
  const spki = key.spki === undefined ? undefined : fromBase64(key.spki);
  const plain = openWith(wrapping, key.sealed, keyContext(key.name, key.holds, spki));
  if (plain === null)
    throw locked(`the key ${key.name} was sealed under another secret, or its file was changed`);
  return plain;
}

function keyContext(name: string, holds: string, spki: Uint8Array | undefined): string {
  return `upkeep ${holds} ${name} ${spki === undefined ? "-" : sha256Hex(spki)}`;
}

function checkOf(secret: Uint8Array): string {
  return sha256Hex(toUtf8(toHex(purposeKey(secret, "check v1"))));
}

function stretch(
  passphrase: Uint8Array,
  salt: Uint8Array,
  memory: number,
  passes: number,
): Promise<Uint8Array> {
  const parameters: Argon2Parameters = {
    message: passphrase,
    nonce: salt,
    memory,
    passes,
    parallelism: 4,
    tagLength: 32,
  };
  return new Promise((resolve, reject) => {
    argon2("argon2id", parameters, (error, tag) =>
      error === null ? resolve(new Uint8Array(tag)) : reject(error),
    );
  });
}

function locked(what: string): SigningError {
  return new SigningError("signing/locked", `The signer stays locked: ${what}.`);
}
