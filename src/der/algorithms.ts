// Signature algorithm identifiers: which scheme each stands for, and how node:crypto checks it.

import {
  constants,
  createPublicKey,
  hash as digestOf,
  publicDecrypt,
  verify,
  type KeyObject,
} from "node:crypto";
import { equalBytes } from "../core/bytes.ts";
import { DerError } from "./errors.ts";
import * as oids from "./oids.ts";
import { children, Fields, only, parseDer, readNull, readOid, readSmallInteger, type Der } from "./reader.ts";
import { contextOf, NULL, OID, SEQUENCE } from "./tags.ts";
import { explicit, integer, nul, oid, sequence } from "./writer.ts";

export type HashName = "md5" | "sha1" | "sha256" | "sha384" | "sha512" | "sha3-256" | "sha3-384" | "sha3-512";

const HASHES: { readonly [dotted: string]: HashName } = {
  [oids.md5]: "md5",
  [oids.sha1]: "sha1",
  [oids.sha256]: "sha256",
  [oids.sha384]: "sha384",
  [oids.sha512]: "sha512",
  [oids.sha3_256]: "sha3-256",
  [oids.sha3_384]: "sha3-384",
  [oids.sha3_512]: "sha3-512",
};
const HASH_OIDS = new Map(Object.entries(HASHES).map(([dotted, name]) => [name, dotted]));

/** Octets of each digest. */
export const HASH_LENGTH: { readonly [H in HashName]: number } = {
  md5: 16,
  sha1: 20,
  sha256: 32,
  sha384: 48,
  sha512: 64,
  "sha3-256": 32,
  "sha3-384": 48,
  "sha3-512": 64,
};

/** Digests that may decide anything. MD5 and SHA-1 are read so that a refusal can name them. */
export function isStrongHash(hash: HashName): boolean {
  return hash !== "md5" && hash !== "sha1";
}

/** AlgorithmIdentifier of a digest; parameters are NULL, or absent on request (RFC 5754 section 2). */
export function hashIdentifier(hash: HashName, parameters: "null" | "absent" = "null"): Uint8Array {
  const dotted = HASH_OIDS.get(hash)!;
  return parameters === "null" ? sequence(oid(dotted), nul()) : sequence(oid(dotted));
}

/** Parameters may be NULL or absent, nothing else. Errors: `der/unsupported` for an unknown digest. */
export function readHashIdentifier(value: Der): HashName {
  const { dotted, parameters } = readIdentifier(value);
  const hash = HASHES[dotted];
  if (hash === undefined)
    throw new DerError("der/unsupported", `The digest algorithm ${dotted} is not known.`, { oid: dotted });
  if (parameters !== null) readNull(parameters);
  return hash;
}

export function readIdentifier(value: Der): { readonly dotted: string; readonly parameters: Der | null } {
  const fields = new Fields(value);
  const dotted = readOid(fields.take(OID));
  const parameters = fields.more ? fields.take() : null;
  fields.done();
  return { dotted, parameters };
}

/** How a signature is to be checked. */
export type SignatureAlgorithm = {
  readonly kind: "rsa" | "rsa-pss" | "ecdsa" | "ed25519";
  /** Null where the caller says which digest (a bare rsaEncryption in CMS) or the scheme has its own (Ed25519). */
  readonly hash: HashName | null;
  /** For RSASSA-PSS. */
  readonly saltLength?: number;
};

const SIGNATURES: { readonly [dotted: string]: SignatureAlgorithm } = {
  [oids.rsaEncryption]: { kind: "rsa", hash: null },
  [oids.md5WithRSA]: { kind: "rsa", hash: "md5" },
  [oids.sha1WithRSA]: { kind: "rsa", hash: "sha1" },
  // The same by the name that Microsoft gave it in the 1990s; read so that a refusal can name SHA-1.
  [oids.oiwSha1WithRSA]: { kind: "rsa", hash: "sha1" },
  [oids.sha256WithRSA]: { kind: "rsa", hash: "sha256" },
  [oids.sha384WithRSA]: { kind: "rsa", hash: "sha384" },
  [oids.sha512WithRSA]: { kind: "rsa", hash: "sha512" },
  [oids.ecPublicKey]: { kind: "ecdsa", hash: null },
  [oids.ecdsaWithSHA1]: { kind: "ecdsa", hash: "sha1" },
  [oids.ecdsaWithSHA256]: { kind: "ecdsa", hash: "sha256" },
  [oids.ecdsaWithSHA384]: { kind: "ecdsa", hash: "sha384" },
  [oids.ecdsaWithSHA512]: { kind: "ecdsa", hash: "sha512" },
  [oids.ed25519]: { kind: "ed25519", hash: null },
};

/** Errors: `der/unsupported` for an unknown algorithm, `der/unexpected` for parameters that do not belong to it. */
export function readSignatureAlgorithm(value: Der): SignatureAlgorithm {
  const { dotted, parameters } = readIdentifier(value);
  if (dotted === oids.rsassaPss) return readPss(parameters);
  const known = SIGNATURES[dotted];
  if (known === undefined)
    throw new DerError("der/unsupported", `The signature algorithm ${dotted} is not known.`, { oid: dotted });
  // RFC 4055 section 5: NULL for RSA. RFC 5758 3.2 and RFC 8410 section 3: absent for ECDSA and Ed25519; some signers write the curve or NULL for a bare key type.
  if (
    parameters !== null &&
    parameters.tag !== NULL &&
    !(dotted === oids.ecPublicKey && parameters.tag === OID)
  ) {
    throw new DerError(
      "der/unexpected",
      `The signature algorithm ${dotted} has parameters that do not belong to it.`,
      { oid: dotted },
    );
  }
  if (parameters?.tag === NULL) readNull(parameters);
  return known;
}

/** RFC 4055 section 3.1; MGF1 has to use the same digest. */
function readPss(parameters: Der | null): SignatureAlgorithm {
  let hash: HashName = "sha1";
  let saltLength = 20;
  if (parameters !== null) {
    const fields = new Fields(parameters, SEQUENCE);
    const hashField = fields.optional(contextOf(0));
    if (hashField !== null) hash = readHashIdentifier(only(hashField));
    const mask = fields.optional(contextOf(1));
    let maskHash: HashName = "sha1";
    if (mask !== null) {
      const { dotted, parameters: inner } = readIdentifier(only(mask));
      if (dotted !== oids.mgf1 || inner === null)
        throw new DerError("der/unsupported", "An RSASSA-PSS signature uses another mask than MGF1.", {});
      maskHash = readHashIdentifier(inner);
    }
    if (maskHash !== hash)
      throw new DerError("der/unsupported", "An RSASSA-PSS signature uses two different digests.", {});
    const salt = fields.optional(contextOf(2));
    if (salt !== null) saltLength = readSmallInteger(only(salt));
    const trailer = fields.optional(contextOf(3));
    if (trailer !== null && readSmallInteger(only(trailer)) !== 1)
      throw new DerError("der/unsupported", "An RSASSA-PSS signature has another trailer than 1.", {});
    fields.done();
  }
  if (saltLength > 512)
    throw new DerError("der/unsupported", "An RSASSA-PSS signature has a salt beyond 512 octets.", {
      saltLength,
    });
  return { kind: "rsa-pss", hash, saltLength };
}

/** The schemes of the house's keys that certificates and CMS can carry. */
export type X509Scheme =
  | "ed25519"
  | "ecdsa-sha2-nistp256"
  | "ecdsa-sha2-nistp384"
  | "ecdsa-sha2-nistp521"
  | "rsassa-pss-sha256"
  | "rsassa-pss-sha384"
  | "rsassa-pss-sha512"
  | "rsa-pkcs1v15-sha256"
  | "rsa-pkcs1v15-sha384"
  | "rsa-pkcs1v15-sha512";

const pss = (hash: "sha256" | "sha384" | "sha512"): (() => Uint8Array) => {
  return () =>
    sequence(
      oid(oids.rsassaPss),
      sequence(
        explicit(0, hashIdentifier(hash)),
        explicit(1, sequence(oid(oids.mgf1), hashIdentifier(hash))),
        explicit(2, integer(HASH_LENGTH[hash])),
      ),
    );
};

const IDENTIFIERS: { readonly [S in X509Scheme]: () => Uint8Array } = {
  ed25519: () => sequence(oid(oids.ed25519)),
  "ecdsa-sha2-nistp256": () => sequence(oid(oids.ecdsaWithSHA256)),
  "ecdsa-sha2-nistp384": () => sequence(oid(oids.ecdsaWithSHA384)),
  "ecdsa-sha2-nistp521": () => sequence(oid(oids.ecdsaWithSHA512)),
  "rsassa-pss-sha256": pss("sha256"),
  "rsassa-pss-sha384": pss("sha384"),
  "rsassa-pss-sha512": pss("sha512"),
  "rsa-pkcs1v15-sha256": () => sequence(oid(oids.sha256WithRSA), nul()),
  "rsa-pkcs1v15-sha384": () => sequence(oid(oids.sha384WithRSA), nul()),
  "rsa-pkcs1v15-sha512": () => sequence(oid(oids.sha512WithRSA), nul()),
};

/** AlgorithmIdentifier to write for a scheme. Errors: `der/unsupported`. */
export function signatureIdentifier(scheme: string): Uint8Array {
  const write = (IDENTIFIERS as { readonly [scheme: string]: (() => Uint8Array) | undefined })[scheme];
  if (write === undefined)
    throw new DerError("der/unsupported", `A key of the scheme ${scheme} cannot sign certificates or CMS.`, {
      scheme,
    });
  return write();
}

/** The port through which this room has things signed; `Signer` of the keys room satisfies it. */
export interface X509Signer {
  readonly publicKey: { readonly spki: Uint8Array; readonly scheme: string };
  /** Signs the message, not a digest of it; ECDSA signatures are DER. */
  sign(message: Uint8Array, scheme?: X509Scheme): Promise<Uint8Array>;
}

/**
 * Reads a SubjectPublicKeyInfo into a key. CVE-2020-0601: an EC key has to name its curve; explicit parameters are refused.
 * Errors: `der/unsupported`, `der/malformed` and the reader's.
 */
export function readPublicKey(spki: Uint8Array): KeyObject {
  const [algorithm] = children(parseDer(spki));
  if (algorithm === undefined) throw new DerError("der/malformed", "A public key is empty.", {});
  const { dotted, parameters } = readIdentifier(algorithm);
  if (dotted === oids.ecPublicKey && parameters?.tag !== OID) {
    throw new DerError(
      "der/unsupported",
      "An EC key spells out its curve instead of naming it: either somebody attacks the verifier (CVE-2020-0601) or the certificate is useless.",
      {},
    );
  }
  try {
    return createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  } catch (cause) {
    throw new DerError("der/malformed", "A public key cannot be read.", { oid: dotted }, { cause });
  }
}

/** True if the signature fits; false for any other shape or kind of key, never an error. `hash` says the digest where the algorithm leaves it open. */
export function verifySignature(
  key: KeyObject,
  algorithm: SignatureAlgorithm,
  message: Uint8Array,
  signature: Uint8Array,
  hash: HashName | null = algorithm.hash,
): boolean {
  try {
    switch (algorithm.kind) {
      case "rsa":
        return (
          hash !== null &&
          key.asymmetricKeyType === "rsa" &&
          verify(hash, message, { key, padding: constants.RSA_PKCS1_PADDING }, signature)
        );
      case "rsa-pss":
        return (
          hash !== null &&
          (key.asymmetricKeyType === "rsa" || key.asymmetricKeyType === "rsa-pss") &&
          verify(
            hash,
            message,
            { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: algorithm.saltLength ?? 20 },
            signature,
          )
        );
      case "ecdsa":
        return (
          hash !== null &&
          key.asymmetricKeyType === "ec" &&
          verify(hash, message, { key, dsaEncoding: "der" }, signature)
        );
      case "ed25519":
        return key.asymmetricKeyType === "ed25519" && verify(null, message, key, signature);
    }
  } catch {
    return false;
  }
}

/**
 * Whether an RSA signature is a PKCS#1 v1.5 block (RFC 8017 9.2: 00 01 FF ... FF 00) around the bare digest, without the DigestInfo that
 * belongs around it. The padding fills the key and the digest is the whole rest, so that a forger has no byte to choose.
 */
export function fitsBareDigest(
  key: KeyObject,
  hash: HashName,
  message: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (key.asymmetricKeyType !== "rsa") return false;
  try {
    const block = publicDecrypt({ key, padding: constants.RSA_PKCS1_PADDING }, signature);
    return equalBytes(block, digestOf(hash, message, "buffer"));
  } catch {
    return false;
  }
}

/** The algorithm part of a scheme, as `readSignatureAlgorithm` would give it. */
export function algorithmOf(scheme: string): SignatureAlgorithm {
  return readSignatureAlgorithm(parseDer(signatureIdentifier(scheme)));
}
