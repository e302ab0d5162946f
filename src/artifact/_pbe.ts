// Decryption under a passphrase as PKCS#12 and PKCS#8 files have it: PBES2, and the old schemes of PKCS#12.

import { createDecipheriv, hash, pbkdf2Sync, scryptSync } from "node:crypto";
import { concat } from "../core/bytes.ts";
import { readIdentifier } from "../der/algorithms.ts";
import { Fields, readOctets, readSmallInteger, type Der } from "../der/reader.ts";
import { INTEGER, SEQUENCE } from "../der/tags.ts";
import { utf16 } from "../der/writer.ts";
import { ArtifactError } from "./errors.ts";
import { rc2CbcDecrypt } from "./_rc2.ts";

/** A file must not make us compute for minutes; openssl writes 2,048, careful people 1,000,000. */
const ITERATIONS_LIMIT = 10_000_000;

const PBES2 = "1.2.840.113549.1.5.13";
const PBKDF2 = "1.2.840.113549.1.5.12";
const SCRYPT = "1.3.6.1.4.1.11591.4.11";

type Prf = "sha1" | "sha256" | "sha384" | "sha512";
const PRFS: { readonly [dotted: string]: Prf } = {
  "1.2.840.113549.2.7": "sha1",
  "1.2.840.113549.2.9": "sha256",
  "1.2.840.113549.2.10": "sha384",
  "1.2.840.113549.2.11": "sha512",
};

const CIPHERS: { readonly [dotted: string]: { readonly name: string; readonly key: number } } = {
  "2.16.840.1.101.3.4.1.2": { name: "aes-128-cbc", key: 16 },
  "2.16.840.1.101.3.4.1.22": { name: "aes-192-cbc", key: 24 },
  "2.16.840.1.101.3.4.1.42": { name: "aes-256-cbc", key: 32 },
  "1.2.840.113549.3.7": { name: "des-ede3-cbc", key: 24 },
};

/** RFC 7292 appendix C. */
const OLD: { readonly [dotted: string]: { readonly cipher: "3des" | "rc2"; readonly key: number } } = {
  "1.2.840.113549.1.12.1.3": { cipher: "3des", key: 24 },
  "1.2.840.113549.1.12.1.4": { cipher: "3des", key: 16 },
  "1.2.840.113549.1.12.1.5": { cipher: "rc2", key: 16 },
  "1.2.840.113549.1.12.1.6": { cipher: "rc2", key: 5 },
};

/** Decrypts under an encryption AlgorithmIdentifier. Null if the passphrase is wrong. Errors: `artifact/unsupported`, the reader's. */
export function decrypt(algorithm: Der, data: Uint8Array, passphrase: string): Uint8Array | null {
  const { dotted, parameters } = readIdentifier(algorithm);
  if (parameters === null) throw unsupported(dotted);
  if (dotted === PBES2) return decryptPbes2(parameters, data, passphrase);
  const old = OLD[dotted];
  if (old === undefined) throw unsupported(dotted);
  const fields = new Fields(parameters);
  const salt = readOctets(fields.take());
  const iterations = readIterations(fields.take());
  fields.done();
  const key = pkcs12Kdf("sha1", 1, passphrase, salt, iterations, old.key);
  const iv = pkcs12Kdf("sha1", 2, passphrase, salt, iterations, 8);
  if (old.cipher === "rc2") return rc2CbcDecrypt(key, iv, data);
  return decipher("des-ede3-cbc", old.key === 24 ? key : concat([key, key.subarray(0, 8)]), iv, data);
}

/** RFC 8018 section 6.2. */
function decryptPbes2(parameters: Der, data: Uint8Array, passphrase: string): Uint8Array | null {
  const fields = new Fields(parameters);
  const derivation = fields.take(SEQUENCE);
  const scheme = readIdentifier(fields.take(SEQUENCE));
  fields.done();
  const cipher = CIPHERS[scheme.dotted];
  if (cipher === undefined || scheme.parameters === null) throw unsupported(scheme.dotted);
  return decipher(
    cipher.name,
    derive(derivation, passphrase, cipher.key),
    readOctets(scheme.parameters),
    data,
  );
}

/** A key by PBKDF2 or scrypt, as its AlgorithmIdentifier says. The passphrase is UTF-8. */
export function derive(algorithm: Der, passphrase: string, length: number): Uint8Array {
  const { dotted, parameters } = readIdentifier(algorithm);
  if (parameters === null) throw unsupported(dotted);
  const fields = new Fields(parameters);
  const salt = readOctets(fields.take());
  if (dotted === SCRYPT) {
    // RFC 7914 section 7.
    const [N, r, p] = [
      readSmallInteger(fields.take()),
      readSmallInteger(fields.take()),
      readSmallInteger(fields.take()),
    ];
    if (N * r * p > 2 ** 24) throw unsupported(dotted);
    return new Uint8Array(scryptSync(passphrase, salt, length, { N, r, p, maxmem: 256 * N * r }));
  }
  if (dotted !== PBKDF2) throw unsupported(dotted);
  const iterations = readIterations(fields.take());
  if (fields.nextTag === INTEGER) readSmallInteger(fields.take());
  const prfField = fields.optional(SEQUENCE);
  fields.done();
  const prf = prfField === null ? "sha1" : PRFS[readIdentifier(prfField).dotted];
  if (prf === undefined) throw unsupported(dotted);
  return new Uint8Array(pbkdf2Sync(passphrase, salt, iterations, length, prf));
}

export function readIterations(value: Der): number {
  const iterations = readSmallInteger(value);
  if (iterations < 1 || iterations > ITERATIONS_LIMIT)
    throw new ArtifactError(
      "artifact/bad-key",
      `The key file asks for ${iterations} rounds of key derivation.`,
      { iterations },
    );
  return iterations;
}

/** RFC 7292 appendix B.2. `id`: 1 key, 2 initial vector, 3 MAC key. */
export function pkcs12Kdf(
  algorithm: Prf,
  id: 1 | 2 | 3,
  passphrase: string,
  salt: Uint8Array,
  iterations: number,
  length: number,
): Uint8Array {
  const v = algorithm === "sha384" || algorithm === "sha512" ? 128 : 64;
  const fill = (bytes: Uint8Array): Uint8Array =>
    Uint8Array.from({ length: Math.ceil(bytes.length / v) * v }, (_, i) => bytes[i % bytes.length]!);
  const block = new Uint8Array(v).fill(id);
  const i = concat([fill(salt), fill(concat([utf16(passphrase), Uint8Array.of(0, 0)]))]);
  const out: Uint8Array[] = [];
  for (let have = 0; have < length;) {
    let a: Uint8Array = concat([block, i]);
    for (let round = 0; round < iterations; round++) a = hash(algorithm, a, "buffer");
    out.push(a);
    have += a.length;
    // I_j = (I_j + B + 1) mod 2^(8v), B being A repeated.
    for (let j = 0; j < i.length; j += v) {
      let carry = 1;
      for (let k = v - 1; k >= 0; k--) {
        carry += i[j + k]! + a[k % a.length]!;
        i[j + k] = carry & 0xff;
        carry >>= 8;
      }
    }
  }
  return concat(out).slice(0, length);
}

function decipher(name: string, key: Uint8Array, iv: Uint8Array, data: Uint8Array): Uint8Array | null {
  try {
    const cipher = createDecipheriv(name, key, iv);
    return concat([cipher.update(data), cipher.final()]);
  } catch {
    // Bad padding is how a wrong passphrase shows itself.
    return null;
  }
}

function unsupported(dotted: string): ArtifactError {
  return new ArtifactError(
    "artifact/unsupported",
    `The key file is encrypted in a way (${dotted}) that is not supported.`,
    { oid: dotted },
    {
      hint: "Convert it: openssl pkcs12 -in old.pfx -out all.pem, then openssl pkcs12 -export -in all.pem -out new.pfx",
    },
  );
}
