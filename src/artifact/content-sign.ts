// A detached CMS over the bytes of a file: the signature in an ELF trailer and in a `.sig` beside any file.

import { compareBytes } from "../core/bytes.ts";
import { hashIdentifier, type X509Signer } from "../der/algorithms.ts";
import { sameName } from "../der/names.ts";
import * as oids from "../der/oids.ts";
import type { Certificate } from "../der/x509.ts";
import type { SignedData } from "./cms.ts";
import {
  attribute,
  contentTypeAttribute,
  messageDigestAttribute,
  schemeFor,
  signAttributes,
  signedData,
  signerAlgorithm,
  signerInfo,
  signingCertificateV2Attribute,
  type SigningHash,
} from "./cms-build.ts";
import type { ContentDigests } from "./content-digest.ts";
import { ArtifactError } from "./errors.ts";

/** Who signs, and the certificates between him and a root, in any order. */
export type ContentSigner = {
  readonly certificate: Certificate;
  readonly chain: readonly Certificate[];
  readonly signer: X509Signer;
  /** What to sign over; what goes with the key unless given. */
  readonly hash?: SigningHash;
};

/** Gets a time stamp token over a signature value; see `requestTimestamp`. */
export type Stamp = (signature: Uint8Array) => Promise<Uint8Array>;

/** The digest a key signs over: SHA-512, but where the curve says otherwise. RFC 5480 section 4, RFC 8419 section 3.1. */
export function hashOf(signer: ContentSigner): SigningHash {
  return signer.hash ?? hashForScheme(signer.signer.publicKey.scheme);
}

export function hashForScheme(scheme: string): SigningHash {
  if (scheme === "ecdsa-sha2-nistp256") return "sha256";
  return scheme === "ecdsa-sha2-nistp384" ? "sha384" : "sha512";
}

export type ContentSignature = {
  readonly digests: ContentDigests;
  readonly signers: readonly ContentSigner[];
  /** Further signed attributes, encoded, the same for every signer. */
  readonly attributes?: readonly Uint8Array[];
  readonly stamp?: Stamp;
  /** A signature over the same content, whose signers are kept. */
  readonly beside?: SignedData;
};

/**
 * Signs with each signer: contentType, messageDigest, signingCertificateV2 and the given attributes.
 * Errors: `artifact/bad-key`, `artifact/already-signed` (a signer who is there already) and those of signer and stamp.
 */
export async function signContent(wish: ContentSignature): Promise<Uint8Array> {
  const { digests, signers, beside } = wish;
  const infos: Uint8Array[] = [];
  for (const one of signers) {
    refuseTwice(one.certificate, beside);
    const hash = hashOf(one);
    const parts = await signAttributes({
      certificate: one.certificate,
      signer: one.signer,
      hash,
      attributes: [
        contentTypeAttribute(oids.data),
        messageDigestAttribute(digests.of(hash)!),
        signingCertificateV2Attribute(one.certificate),
        ...(wish.attributes ?? []),
      ],
    });
    const token = wish.stamp === undefined ? null : await wish.stamp(parts.signature);
    infos.push(
      signerInfo({
        ...parts,
        unsignedAttributes: token === null ? [] : [attribute(oids.timeStampToken, token)],
      }),
    );
  }
  const known = beside?.signers ?? [];
  return signedData({
    // RFC 5652 5.1: 1 as long as the content is plain data and every signer is named by issuer and serial number.
    version: known.some((signer) => signer.version === 3) ? 3 : 1,
    digests: distinct([
      ...known.map((signer) => signer.digestDer),
      ...signers.map((one) => hashIdentifier(hashOf(one))),
    ]),
    contentType: oids.data,
    content: null,
    certificates: [
      ...(beside?.certificates ?? []).map((certificate) => certificate.der),
      ...signers.flatMap((one) => [one.certificate, ...withoutRoots(one.chain)].map((each) => each.der)),
    ],
    signers: [...known.map((signer) => signer.der), ...infos],
  });
}

/**
 * As the Linux kernel's sign-file: no attributes, no certificates; the signature is over the content itself,
 * which therefore has to be in memory. Source: scripts/sign-file.c. Errors: `artifact/bad-key` and the signer's.
 */
export async function signPlain(content: Uint8Array, one: ContentSigner): Promise<Uint8Array> {
  if (compareBytes(one.certificate.spki, one.signer.publicKey.spki) !== 0) {
    throw new ArtifactError(
      "artifact/bad-key",
      "The certificate is for another key than the one that is to sign.",
      {},
    );
  }
  const hash = hashOf(one);
  const scheme = schemeFor(one.signer.publicKey.scheme, hash);
  if (scheme === "ed25519") {
    throw new ArtifactError(
      "artifact/bad-key",
      "The kernel's form of signature does not know Ed25519 keys.",
      {},
    );
  }
  // OpenSSL writes SHA-2 without parameters (RFC 5754 section 2), and so does sign-file.
  const digest = hashIdentifier(hash, "absent");
  return signedData({
    version: 1,
    digests: [digest],
    contentType: oids.data,
    content: null,
    certificates: [],
    signers: [
      signerInfo({
        id: { issuer: one.certificate.issuer.der, serial: one.certificate.serial },
        digest,
        signatureAlgorithm: signerAlgorithm(scheme),
        signedAttributes: null,
        signature: await one.signer.sign(content, scheme),
      }),
    ],
  });
}

/** A root beside a signature proves nothing: whoever trusts it has it. */
function withoutRoots(chain: readonly Certificate[]): readonly Certificate[] {
  return chain.filter((certificate) => !sameName(certificate.issuer, certificate.subject));
}

function refuseTwice(certificate: Certificate, beside: SignedData | undefined): void {
  const there = beside?.signers.some(
    ({ id }) =>
      "issuer" in id &&
      compareBytes(id.issuer.der, certificate.issuer.der) === 0 &&
      compareBytes(id.serial, certificate.serial) === 0,
  );
  if (there === true) {
    throw new ArtifactError("artifact/already-signed", "This certificate has signed the file already.", {});
  }
}

function distinct(values: readonly Uint8Array[]): readonly Uint8Array[] {
  return values.filter((value, i) => values.findIndex((other) => compareBytes(other, value) === 0) === i);
}
