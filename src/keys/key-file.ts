// Private keys as files: one strict form, in the clear or wrapped under a passphrase.

import {
  argon2Sync,
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
} from "node:crypto";
import { concat, fromBase64, toBase64, toUtf8 } from "../core/bytes.ts";
import { canonicalJson } from "../core/canonical-json.ts";
import { formatInstant, type Instant } from "../core/instant.ts";
import { parseJson, type Json } from "../core/json.ts";
import type { Random } from "../core/random.ts";
import { checkSchema, instantSchema, nameSchema, sha256Schema, z } from "../core/schema.ts";
import { KeyError } from "./errors.ts";
import { parseTufKey, publicKeyOf, type PublicKey } from "./public-key.ts";
import { SCHEMES, type Scheme } from "./scheme.ts";
import { localSigner, type Signer } from "./signer.ts";

/** Largest key file that is read. */
export const KEY_FILE_LIMIT = 64 * 1024;

// RFC 9106 section 4, second recommended option: 64 MiB, 3 passes, 4 lanes.
const NEW_ARGON2 = { memoryKiB: 65536, passes: 3, lanes: 4 } as const;
/** Shorter ones are guessed too fast whatever stretches them. */
const LEAST_PASSPHRASE = 8;
const NONCE = 12;
const TAG = 16;

const whole = (least: number, most: number) => z.number().check(z.int(), z.minimum(least), z.maximum(most));
const base64 = z.string().check(z.maxLength(KEY_FILE_LIMIT));

const privateSchema = z.discriminatedUnion("form", [
  z.strictObject({ form: z.literal("pkcs8"), data: base64 }),
  z.strictObject({
    form: z.literal("argon2id-aes-256-gcm"),
    // Upper bounds: a foreign file must not take the machine's memory.
    memoryKiB: whole(8192, 1048576),
    passes: whole(1, 16),
    lanes: whole(1, 16),
    salt: base64,
    data: base64,
  }),
]);

const keyFileSchema = z.strictObject({
  format: z.literal("upkeep-key-1"),
  name: nameSchema,
  created: instantSchema,
  keyid: sha256Schema,
  scheme: z.enum(Object.keys(SCHEMES) as [Scheme, ...Scheme[]]),
  public: z.strictObject({
    keytype: z.string(),
    scheme: z.string(),
    keyval: z.strictObject({ public: z.string() }),
  }),
  private: privateSchema,
});
type KeyFile = z.infer<typeof keyFileSchema>;

/** What a key file tells without its secret. */
export type KeyInfo = {
  readonly name: string;
  readonly created: string;
  readonly scheme: Scheme;
  readonly publicKey: PublicKey;
  readonly wrapped: boolean;
};

export type NewKeyFile = {
  readonly name: string;
  readonly created: Instant;
  readonly scheme: Scheme;
  readonly privateKey: KeyObject;
  /** Null writes the key in the clear; the file's mode is then all that guards it. */
  readonly passphrase: string | null;
};

/** The file's bytes. Errors: `key/bad-passphrase` for one that is too short, `schema/invalid` for a bad name. */
export function writeKeyFile(key: NewKeyFile, random: Random): Uint8Array {
  const publicKey = publicKeyOf(createPublicKey(key.privateKey), key.scheme);
  const pkcs8 = new Uint8Array(key.privateKey.export({ type: "pkcs8", format: "der" }));
  const head = {
    format: "upkeep-key-1",
    name: key.name,
    created: formatInstant(key.created),
    keyid: publicKey.keyid,
    scheme: key.scheme,
    public: publicKey.tuf,
  } as const;
  let secret: KeyFile["private"];
  if (key.passphrase === null) {
    secret = { form: "pkcs8", data: toBase64(pkcs8) };
  } else {
    if ([...key.passphrase].length < LEAST_PASSPHRASE) {
      throw new KeyError(
        "key/bad-passphrase",
        `A passphrase needs at least ${LEAST_PASSPHRASE} characters.`,
        {},
        { hint: "Six random words are a good one." },
      );
    }
    const form = {
      form: "argon2id-aes-256-gcm",
      ...NEW_ARGON2,
      salt: toBase64(random.bytes(16)),
    } as const;
    const nonce = random.bytes(NONCE);
    const cipher = createCipheriv("aes-256-gcm", stretch(key.passphrase, form), nonce);
    cipher.setAAD(boundTo(head.keyid, form));
    const sealed = concat([nonce, cipher.update(pkcs8), cipher.final(), cipher.getAuthTag()]);
    secret = { ...form, data: toBase64(sealed) };
  }
  const file = { ...head, private: secret };
  checkSchema(keyFileSchema, file as unknown as Json, "key file");
  return toUtf8(`${JSON.stringify(file, null, 1)}\n`);
}

/** Reads everything but the secret. Errors: `json/*`, `schema/invalid`, `key/*`. */
export function readKeyInfo(bytes: Uint8Array): KeyInfo {
  const file = parseKeyFile(bytes);
  return {
    name: file.name,
    created: file.created,
    scheme: file.scheme,
    publicKey: parseTufKey(file.public as unknown as Json),
    wrapped: file.private.form !== "pkcs8",
  };
}

/**
 * Reads the secret and makes a signer of it. Errors: `key/passphrase-needed` when it is wrapped and none was given,
 * `key/bad-passphrase`, `key/mismatch` when private and public half do not belong together, `key/malformed`.
 */
export function openKeyFile(bytes: Uint8Array, passphrase: string | null): Signer {
  const file = parseKeyFile(bytes);
  const pkcs8 = unwrap(file, passphrase);
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" });
  } catch (cause) {
    throw new KeyError(
      "key/malformed",
      `The private half of the key ${file.name} cannot be read.`,
      { name: file.name },
      { cause },
    );
  } finally {
    pkcs8.fill(0);
  }
  const signer = localSigner(privateKey, file.scheme);
  if (signer.publicKey.keyid !== file.keyid) {
    throw new KeyError(
      "key/mismatch",
      `The private half of the key ${file.name} does not belong to its public half: the file was changed.`,
      { name: file.name, keyid: file.keyid },
    );
  }
  return signer;
}

function parseKeyFile(bytes: Uint8Array): KeyFile {
  const file = checkSchema(keyFileSchema, parseJson(bytes), "key file");
  const publicKey = parseTufKey(file.public as unknown as Json);
  if (publicKey.keyid !== file.keyid || publicKey.scheme !== file.scheme) {
    throw new KeyError(
      "key/mismatch",
      `The key file ${file.name} names a key id or scheme that is not its public key's: the file was changed.`,
      { name: file.name, keyid: file.keyid },
    );
  }
  return file;
}

function unwrap(file: KeyFile, passphrase: string | null): Uint8Array {
  const { private: secret, name } = file;
  if (secret.form === "pkcs8") return fromBase64(secret.data);
  if (passphrase === null) {
    throw new KeyError(
      "key/passphrase-needed",
      `The key ${name} is wrapped under a passphrase, and none was given.`,
      { name },
      { hint: "Set UPKEEP_PASSPHRASE, or give --passphrase-file FILE." },
    );
  }
  const { data, ...form } = secret;
  const sealed = fromBase64(data);
  try {
    const decipher = createDecipheriv("aes-256-gcm", stretch(passphrase, form), sealed.subarray(0, NONCE), {
      authTagLength: TAG,
    });
    decipher.setAAD(boundTo(file.keyid, form));
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG));
    return concat([decipher.update(sealed.subarray(NONCE, sealed.length - TAG)), decipher.final()]);
  } catch (cause) {
    throw new KeyError(
      "key/bad-passphrase",
      `The passphrase does not open the key ${name}, or the file was changed.`,
      { name },
      { cause },
    );
  }
}

type Wrapping = {
  readonly form: string;
  readonly memoryKiB: number;
  readonly passes: number;
  readonly lanes: number;
  readonly salt: string;
};

function stretch(passphrase: string, wrapping: Wrapping): Uint8Array {
  return argon2Sync("argon2id", {
    // The same words typed on two systems may be composed differently.
    message: Buffer.from(passphrase.normalize("NFKC"), "utf8"),
    nonce: Buffer.from(fromBase64(wrapping.salt)),
    memory: wrapping.memoryKiB,
    passes: wrapping.passes,
    parallelism: wrapping.lanes,
    tagLength: 32,
  });
}

/** Authenticated beside the secret: which key it is and how it was stretched. The name is not: files may be renamed. */
function boundTo(keyid: string, wrapping: Wrapping): Uint8Array {
  const { form, memoryKiB, passes, lanes, salt } = wrapping;
  return canonicalJson({ keyid, form, memoryKiB, passes, lanes, salt });
}
