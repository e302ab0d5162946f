// One signer of a CMS: does this signature, made with this certificate, cover this content? The one place where that is decided.

import { equalBytes } from "../core/bytes.ts";
import { fitsBareDigest, isStrongHash, verifySignature, type HashName } from "../der/algorithms.ts";
import { DerError } from "../der/errors.ts";
import * as oids from "../der/oids.ts";
import { readOctets, readOid } from "../der/reader.ts";
import { publicKeyOfCertificate, type Certificate } from "../der/x509.ts";
import {
  certificatesNamedBy,
  signedAttribute,
  signerIdText,
  type SignedData,
  type SignerInfo,
} from "./cms.ts";
import { ArtifactError, type Findings } from "./errors.ts";

export type SignerCheck = {
  /** The certificate whose key made the signature; null if there is none to be found. */
  readonly certificate: Certificate | null;
};

/** What others have written in place of what the standards ask for; each kind is allowed where genuine files have it, and nowhere else. */
export type Latitude = {
  /** Content types that the signed attribute may name instead of the one of the content. */
  readonly contentTypes?: readonly string[];
  /** RSA: the PKCS#1 block may hold the bare digest (see `fitsBareDigest`). */
  readonly bareDigest?: boolean;
};

/**
 * Checks one SignerInfo with signed attributes against the digest of the content. What is wrong goes into `findings`; nothing is thrown.
 * `contentDigest` is asked once, for the signer's digest algorithm.
 */
export function checkSigner(
  signed: SignedData,
  signer: SignerInfo,
  contentDigest: (hash: HashName) => Uint8Array | null,
  findings: Findings,
  bag: readonly Certificate[] = signed.certificates,
  latitude: Latitude = {},
): SignerCheck {
  try {
    checkDigestAlgorithm(signed, signer, findings);
    checkAttributes(signed, signer, contentDigest, latitude, findings);
    const certificate = findCertificate(signer, bag, findings);
    if (certificate !== null) checkSignatureValue(signer, certificate, latitude, findings);
    return { certificate };
  } catch (error) {
    if (!(error instanceof DerError) && !(error instanceof ArtifactError)) throw error;
    findings.error("cms/malformed", error.message);
    return { certificate: null };
  }
}

function checkDigestAlgorithm(signed: SignedData, signer: SignerInfo, findings: Findings): void {
  if (!signed.digests.includes(signer.digest)) {
    findings.error(
      "cms/digest-mismatch",
      `The signer uses ${signer.digest}, which the signature does not list among its digests.`,
    );
  }
  const own = signer.signatureAlgorithm.hash;
  if (own !== null && own !== signer.digest) {
    findings.error(
      "cms/digest-mismatch",
      `The signature value is over ${own}, but the signer says ${signer.digest}.`,
    );
  }
  // RFC 8419 section 2.3: Ed25519 in CMS goes with SHA-512; openssl writes SHA-256 too, and the key signs the attributes themselves either way.
  if (!isStrongHash(signer.digest)) {
    findings.error(
      "cms/weak-digest",
      `The signature rests on ${signer.digest.toUpperCase()}, which can be forged.`,
      { digest: signer.digest },
    );
  }
}

function checkAttributes(
  signed: SignedData,
  signer: SignerInfo,
  contentDigest: (hash: HashName) => Uint8Array | null,
  latitude: Latitude,
  findings: Findings,
): void {
  if (signer.signedAttributes === null) {
    findings.error("cms/no-signed-attributes", "The signature has no signed attributes.");
    return;
  }
  checkContentType(signed, signer, latitude, findings);
  // RFC 5652 11.2.
  const stated = signedAttribute(signer, oids.messageDigest);
  if (stated === null) {
    findings.error("cms/message-digest-missing", "The signed attribute messageDigest is missing.");
    return;
  }
  const actual = contentDigest(signer.digest);
  if (actual === null || !equalBytes(readOctets(stated), actual)) {
    findings.error(
      "cms/message-digest-mismatch",
      "What is signed is not what is here: the content was changed after it was signed.",
    );
  }
}

// RFC 5652 11.1: equal to the type of what is signed, always.
function checkContentType(
  signed: SignedData,
  signer: SignerInfo,
  latitude: Latitude,
  findings: Findings,
): void {
  const value = signedAttribute(signer, oids.contentType);
  if (value === null) {
    findings.error("cms/content-type-missing", "The signed attribute contentType is missing.");
    return;
  }
  const type = readOid(value);
  if (type === signed.contentType) return;
  const what = `The signed attribute contentType says ${type}, the content is of the type ${signed.contentType}`;
  if (latitude.contentTypes?.includes(type) === true) findings.note("cms/content-type-foreign", `${what}.`);
  else findings.error("cms/content-type-mismatch", `${what}: a signature of another kind was put here.`);
}

function findCertificate(
  signer: SignerInfo,
  bag: readonly Certificate[],
  findings: Findings,
): Certificate | null {
  const named = certificatesNamedBy(signer, bag);
  if (named.length === 0) {
    findings.error(
      "cms/certificate-missing",
      `The signer's certificate (${signerIdText(signer)}) is not there.`,
    );
    return null;
  }
  if (named.length > 1) {
    findings.error(
      "cms/certificate-ambiguous",
      `${named.length} different certificates claim to be the signer's (${signerIdText(signer)}): either an authority gave out a number twice, or somebody slips in a key.`,
    );
    return null;
  }
  return named[0]!;
}

function checkSignatureValue(
  signer: SignerInfo,
  certificate: Certificate,
  latitude: Latitude,
  findings: Findings,
): void {
  const { signedAttributesDer, signatureAlgorithm, signature } = signer;
  if (signedAttributesDer === null) return;
  const key = publicKeyOfCertificate(certificate);
  const bits = key.asymmetricKeyDetails?.modulusLength;
  if (bits !== undefined && bits < 2048)
    findings.error("cms/weak-key", `The signer's RSA key has ${bits} bits, which is too few.`, { bits });
  const hash = signatureAlgorithm.hash ?? signer.digest;
  if (verifySignature(key, signatureAlgorithm, signedAttributesDer, signature, hash)) return;
  if (
    latitude.bareDigest === true &&
    signatureAlgorithm.kind === "rsa" &&
    fitsBareDigest(key, hash, signedAttributesDer, signature)
  ) {
    findings.note(
      "cms/bare-digest",
      "The signature value holds the digest alone, without the name of its algorithm that PKCS#1 wants there.",
    );
    return;
  }
  findings.error(
    "cms/bad-signature",
    "The signature value does not fit the signer's key: either the signature was changed, or it was made with another key.",
  );
}
