// Building CMS SignedData: pure functions over values, so that a signature can also be made from a signature value that came from elsewhere.

import { hash as digestOf } from "node:crypto";
import {
  hashIdentifier,
  signatureIdentifier,
  type HashName,
  type X509Scheme,
  type X509Signer,
} from "../der/algorithms.ts";
import { compareBytes } from "../core/bytes.ts";
import * as oids from "../der/oids.ts";
import {
  element,
  explicit,
  implicit,
  integer,
  integerBytes,
  nul,
  octets,
  oid,
  sequence,
  setOf,
} from "../der/writer.ts";
import { contextOf } from "../der/tags.ts";
import type { Certificate } from "../der/x509.ts";
import { ArtifactError } from "./errors.ts";

/** The SHA-2 digests that new signatures are made with. */
export type SigningHash = "sha256" | "sha384" | "sha512";

/** An attribute, encoded. */
export function attribute(name: string, ...values: readonly Uint8Array[]): Uint8Array {
  return sequence(oid(name), setOf(...values));
}

export function contentTypeAttribute(contentType: string): Uint8Array {
  return attribute(oids.contentType, oid(contentType));
}

export function messageDigestAttribute(digest: Uint8Array): Uint8Array {
  return attribute(oids.messageDigest, octets(digest));
}

/** RFC 5035 section 4: binds the signature to one certificate. SHA-256 is the default and not written out. */
export function signingCertificateV2Attribute(certificate: Certificate): Uint8Array {
  const id = sequence(
    octets(digest("sha256", certificate.der)),
    sequence(sequence(explicit(4, certificate.issuer.der)), integerBytes(certificate.serial)),
  );
  return attribute(oids.signingCertificateV2, sequence(sequence(id)));
}

/** The sorted attributes with the tag of a SET: exactly what is signed. RFC 5652 5.4. */
export function attributesToSign(attributes: readonly Uint8Array[]): Uint8Array {
  return setOf(...attributes);
}

export type SignerInfoParts = {
  /** Whose issuer and serial number, or key identifier, name the signer. */
  readonly id:
    | { readonly issuer: Uint8Array; readonly serial: Uint8Array }
    | { readonly keyIdentifier: Uint8Array };
  /** AlgorithmIdentifiers, encoded. */
  readonly digest: Uint8Array;
  readonly signatureAlgorithm: Uint8Array;
  /** From `attributesToSign`; null in a plain signature. */
  readonly signedAttributes: Uint8Array | null;
  readonly signature: Uint8Array;
  readonly unsignedAttributes?: readonly Uint8Array[];
};

export function signerInfo(parts: SignerInfoParts): Uint8Array {
  const unsigned = parts.unsignedAttributes ?? [];
  return sequence(
    integer("issuer" in parts.id ? 1 : 3),
    "issuer" in parts.id
      ? sequence(parts.id.issuer, integerBytes(parts.id.serial))
      : implicit(0, octets(parts.id.keyIdentifier)),
    parts.digest,
    ...(parts.signedAttributes === null ? [] : [implicit(0, parts.signedAttributes)]),
    parts.signatureAlgorithm,
    octets(parts.signature),
    ...(unsigned.length === 0 ? [] : [implicit(1, setOf(...unsigned))]),
  );
}

export type SignedDataParts = {
  readonly version: number;
  /** AlgorithmIdentifiers, encoded. */
  readonly digests: readonly Uint8Array[];
  readonly contentType: string;
  /** The encoded value to go inside `[0]`; null if detached. */
  readonly content: Uint8Array | null;
  /** Encoded; sorted here, and each written as often as it is given (some services do give one twice). */
  readonly certificates: readonly Uint8Array[];
  readonly crls?: readonly Uint8Array[];
  /** Encoded by `signerInfo`. */
  readonly signers: readonly Uint8Array[];
};

/** A ContentInfo. */
export function signedData(parts: SignedDataParts): Uint8Array {
  const crls = parts.crls ?? [];
  const body = sequence(
    integer(parts.version),
    setOf(...parts.digests),
    sequence(oid(parts.contentType), ...(parts.content === null ? [] : [explicit(0, parts.content)])),
    ...(parts.certificates.length === 0 ? [] : [implicit(0, setOf(...parts.certificates))]),
    ...(crls.length === 0 ? [] : [element(contextOf(1), ...crls.toSorted(compareBytes))]),
    setOf(...parts.signers),
  );
  return sequence(oid(oids.signedData), explicit(0, body));
}

/**
 * AlgorithmIdentifier for the signature value in a SignerInfo. Authenticode and sign-file write the bare rsaEncryption
 * for RSA (RFC 3370 3.2), everything else the algorithm with its digest.
 */
export function signerAlgorithm(scheme: X509Scheme): Uint8Array {
  return scheme.startsWith("rsa-pkcs1v15-")
    ? sequence(oid(oids.rsaEncryption), nul())
    : signatureIdentifier(scheme);
}

/** The scheme with which a key signs over a given digest. Errors: `artifact/bad-key`. */
export function schemeFor(keyScheme: string, hash: SigningHash): X509Scheme {
  if (keyScheme.startsWith("rsa")) return `rsa-pkcs1v15-${hash}`;
  // RFC 8419 section 3.1: with signed attributes, Ed25519 goes with SHA-512.
  if ((keyScheme === "ed25519" && hash === "sha512") || keyScheme === ECDSA[hash])
    return keyScheme as X509Scheme;
  throw new ArtifactError(
    "artifact/bad-key",
    `A key of the scheme ${keyScheme} cannot sign over ${hash}.`,
    { scheme: keyScheme, hash },
    keyScheme.startsWith("ecdsa") || keyScheme === "ed25519"
      ? { hint: "Ed25519 goes with sha512, P-256 goes with sha256, P-384 with sha384, P-521 with sha512." }
      : {},
  );
}

const ECDSA: { readonly [H in SigningHash]: X509Scheme } = {
  sha256: "ecdsa-sha2-nistp256",
  sha384: "ecdsa-sha2-nistp384",
  sha512: "ecdsa-sha2-nistp521",
};

export type SignValues = {
  readonly certificate: Certificate;
  readonly signer: X509Signer;
  readonly hash: SigningHash;
  /** Encoded; contentType and messageDigest among them. */
  readonly attributes: readonly Uint8Array[];
};

/** Signs attributes and returns the parts of the SignerInfo, to which unsigned attributes can be added. Errors: `artifact/bad-key` and the signer's. */
export async function signAttributes(
  values: SignValues,
): Promise<SignerInfoParts & { readonly signedAttributes: Uint8Array }> {
  const { certificate, signer, hash } = values;
  if (compareBytes(certificate.spki, signer.publicKey.spki) !== 0) {
    throw new ArtifactError(
      "artifact/bad-key",
      "The certificate is for another key than the one that is to sign.",
      {},
    );
  }
  const scheme = schemeFor(signer.publicKey.scheme, hash);
  const signedAttributes = attributesToSign(values.attributes);
  return {
    id: { issuer: certificate.issuer.der, serial: certificate.serial },
    digest: hashIdentifier(hash),
    signatureAlgorithm: signerAlgorithm(scheme),
    signedAttributes,
    signature: await signer.sign(signedAttributes, scheme),
  };
}

export function digest(algorithm: HashName, bytes: Uint8Array): Uint8Array {
  return new Uint8Array(digestOf(algorithm, bytes, "buffer"));
}

/** Each certificate once. */
export function unique(certificates: readonly Uint8Array[]): readonly Uint8Array[] {
  return certificates.filter(
    (certificate, i) => certificates.findIndex((other) => compareBytes(other, certificate) === 0) === i,
  );
}
