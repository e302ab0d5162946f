// CMS SignedData (RFC 5652) and its PKCS#7 form that Authenticode uses: read strictly, keeping every byte that a signature covers.

import { equalBytes, toHex } from "../core/bytes.ts";
import {
  readHashIdentifier,
  readSignatureAlgorithm,
  type HashName,
  type SignatureAlgorithm,
} from "../der/algorithms.ts";
import { DerError } from "../der/errors.ts";
import { readName, type Name } from "../der/names.ts";
import * as oids from "../der/oids.ts";
import {
  children,
  content,
  encoded,
  Fields,
  parseDer,
  readIntegerBytes,
  readOctets,
  readOid,
  readSmallInteger,
  setOf,
  type Der,
} from "../der/reader.ts";
import { context, contextOf, INTEGER, OCTET_STRING, OID, SEQUENCE, SET } from "../der/tags.ts";
import { parseCertificate, type Certificate } from "../der/x509.ts";
import { ArtifactError, type Finding, Findings } from "./errors.ts";

/** Signatures with page hashes of a 2 GiB file have 20 MB; nothing real is larger. */
export const CMS_LIMIT = 64 * 1024 * 1024;
const SIGNERS_LIMIT = 32;
const CERTIFICATES_LIMIT = 128;

export type Attribute = {
  readonly oid: string;
  readonly values: readonly Der[];
  readonly der: Uint8Array;
};

export type SignerInfo = {
  readonly version: number;
  readonly id:
    | { readonly issuer: Name; readonly serial: Uint8Array }
    | { readonly keyIdentifier: Uint8Array };
  readonly digest: HashName;
  /** The AlgorithmIdentifier as written. */
  readonly digestDer: Uint8Array;
  /** Null in plain signatures, which cover the content itself. */
  readonly signedAttributes: readonly Attribute[] | null;
  /** What the signature covers: the attributes with the tag of a SET. RFC 5652 5.4. */
  readonly signedAttributesDer: Uint8Array | null;
  readonly signatureAlgorithm: SignatureAlgorithm;
  readonly signatureAlgorithmDer: Uint8Array;
  readonly signature: Uint8Array;
  /** In the order of the file. */
  readonly unsignedAttributes: readonly Attribute[];
  readonly der: Uint8Array;
};

export type SignedData = {
  readonly version: number;
  readonly digests: readonly HashName[];
  readonly contentType: string;
  /** The value inside `[0]`: an OCTET STRING in CMS, anything in PKCS#7. Null if detached. */
  readonly content: Der | null;
  readonly certificates: readonly Certificate[];
  /** Members of the certificates field that are not X.509 certificates or could not be read, as written. */
  readonly otherCertificates: readonly Uint8Array[];
  readonly crls: readonly Uint8Array[];
  readonly signers: readonly SignerInfo[];
  readonly der: Uint8Array;
  /** Departures from what DER asks for that change nothing in what is signed. */
  readonly findings: readonly Finding[];
};

/** Parses a ContentInfo that fills `bytes`. Errors: `artifact/bad-signature` with the reader's as cause, `artifact/too-large`. */
export function parseSignedData(bytes: Uint8Array): SignedData {
  if (bytes.length > CMS_LIMIT)
    throw new ArtifactError("artifact/too-large", `The signature has more than ${CMS_LIMIT} bytes.`, {
      length: bytes.length,
    });
  return guarded(() => readSignedData(parseDer(bytes)));
}

/** The same for a ContentInfo within something already parsed. */
export function readSignedDataIn(value: Der): SignedData {
  return guarded(() => readSignedData(value));
}

/** Turns the reader's refusals into the artifact room's. */
export function guarded<T>(action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof DerError)
      throw new ArtifactError(
        "artifact/bad-signature",
        `The signature cannot be read: ${cause.message}`,
        {},
        { cause },
      );
    throw cause;
  }
}

function readSignedData(contentInfo: Der): SignedData {
  const outer = new Fields(contentInfo);
  const type = readOid(outer.take(OID));
  if (type !== oids.signedData) throw bad(`it is of the type ${type}, not SignedData`);
  const body = outer.optionalExplicit(0);
  outer.done();
  if (body === null) throw bad("it has no content");

  const findings = new Findings();
  const fields = new Fields(body);
  const version = readSmallInteger(fields.take(INTEGER));
  if (![1, 3, 4, 5].includes(version)) throw bad(`SignedData has the version ${version}`);
  const digests = members(fields.take(SET), "digest algorithms", findings).map(readHashIdentifier);
  const encapsulated = new Fields(fields.take(SEQUENCE));
  const contentType = readOid(encapsulated.take(OID));
  const content = encapsulated.optionalExplicit(0);
  encapsulated.done();
  const { certificates, others } = readCertificates(fields.optional(contextOf(0)), findings);
  const crlField = fields.optional(contextOf(1));
  const crls = crlField === null ? [] : children(crlField).map(encoded);
  const signerValues = members(fields.take(SET), "signers", findings);
  if (signerValues.length > SIGNERS_LIMIT) throw bad(`it has ${signerValues.length} signers`);
  const signers = signerValues.map((value) => readSignerInfo(value, findings));
  fields.done();
  return {
    version,
    digests,
    contentType,
    content,
    certificates,
    otherCertificates: others,
    crls,
    signers,
    der: encoded(contentInfo),
    findings: findings.list,
  };
}

function readCertificates(
  field: Der | null,
  findings: Findings,
): { certificates: readonly Certificate[]; others: readonly Uint8Array[] } {
  const certificates: Certificate[] = [];
  const others: Uint8Array[] = [];
  const values = field === null ? [] : members(field, "certificates", findings);
  if (values.length > CERTIFICATES_LIMIT) throw bad(`it has ${values.length} certificates`);
  for (const value of values) {
    try {
      if (value.tag === SEQUENCE) certificates.push(parseCertificate(encoded(value)));
      else others.push(encoded(value));
    } catch (error) {
      if (!(error instanceof DerError)) throw error;
      // One unreadable certificate that no path needs is no reason to refuse; the path decides.
      others.push(encoded(value));
      findings.warning(
        "cms/unreadable-certificate",
        `A certificate beside the signature cannot be read: ${error.message}`,
      );
    }
  }
  return { certificates, others };
}

/** Errors: the reader's and `artifact/bad-signature`. */
export function readSignerInfo(value: Der, findings: Findings): SignerInfo {
  const fields = new Fields(value);
  const version = readSmallInteger(fields.take(INTEGER));
  const id = readSignerId(fields.take());
  // RFC 5652 5.3: version 1 names issuer and serial number, version 3 the key identifier.
  if (version !== ("issuer" in id ? 1 : 3))
    throw bad(`a SignerInfo has the version ${version}, which does not go with how it names its certificate`);
  const digestField = fields.take(SEQUENCE);
  const signedField = fields.optional(contextOf(0));
  const signatureField = fields.take(SEQUENCE);
  const signature = readOctets(fields.take(OCTET_STRING));
  const unsignedField = fields.optional(contextOf(1));
  fields.done();
  if (signature.length === 0 || signature.length > 8192)
    throw bad(`a signature value has ${signature.length} bytes`);
  // RFC 5652 5.3: signed attributes are DER even where the rest is BER, so their order is not negotiable.
  const signed = signedField === null ? null : setOf(signedField).map(readAttribute);
  const signedDer = signedField === null ? null : encoded(signedField).slice();
  if (signedDer !== null) signedDer[0] = SET;
  const unsigned = unsignedField === null ? [] : children(unsignedField).map(readAttribute);
  refuseDoubles(signed ?? []);
  if (unsigned.some((attribute, i) => i > 0 && Buffer.compare(unsigned[i - 1]!.der, attribute.der) > 0))
    findings.note("cms/unsorted", "The unsigned attributes are not in DER order.");
  return {
    version,
    id,
    digest: readHashIdentifier(digestField),
    digestDer: encoded(digestField),
    signedAttributes: signed,
    signedAttributesDer: signedDer,
    signatureAlgorithm: readSignatureAlgorithm(signatureField),
    signatureAlgorithmDer: encoded(signatureField),
    signature,
    unsignedAttributes: unsigned,
    der: encoded(value),
  };
}

function readSignerId(value: Der): SignerInfo["id"] {
  if (value.tag === context(0)) return { keyIdentifier: content(value) };
  const fields = new Fields(value);
  const issuer = readName(fields.take());
  const serial = readIntegerBytes(fields.take());
  fields.done();
  return { issuer, serial };
}

function readAttribute(value: Der): Attribute {
  const fields = new Fields(value);
  const name = readOid(fields.take(OID));
  const values = children(fields.take(SET));
  fields.done();
  if (values.length === 0) throw bad(`the attribute ${name} has no value`);
  return { oid: name, values, der: encoded(value) };
}

function refuseDoubles(attributes: readonly Attribute[]): void {
  const seen = new Set<string>();
  for (const { oid: name } of attributes) {
    // RFC 5652 5.3: an attribute must not be there twice.
    if (seen.has(name)) throw bad(`the signed attribute ${name} is there twice`);
    seen.add(name);
  }
}

/** The one value of a signed attribute. Null if the attribute is absent. Errors: `artifact/bad-signature` if it has several. */
export function signedAttribute(signer: SignerInfo, name: string): Der | null {
  const found = signer.signedAttributes?.find((attribute) => attribute.oid === name);
  if (found === undefined) return null;
  if (found.values.length !== 1) throw bad(`the signed attribute ${name} has ${found.values.length} values`);
  return found.values[0]!;
}

export function unsignedValues(signer: SignerInfo, name: string): readonly Der[] {
  return signer.unsignedAttributes
    .filter((attribute) => attribute.oid === name)
    .flatMap((attribute) => attribute.values);
}

/** The certificates that the signer's identifier names. More than one, with different keys, is an attack. */
export function certificatesNamedBy(
  signer: SignerInfo,
  certificates: readonly Certificate[],
): readonly Certificate[] {
  const { id } = signer;
  const fits = certificates.filter((certificate) =>
    "issuer" in id
      ? equalBytes(certificate.serial, id.serial) && equalBytes(certificate.issuer.der, id.issuer.der)
      : certificate.extensions.subjectKeyIdentifier !== null &&
        equalBytes(certificate.extensions.subjectKeyIdentifier, id.keyIdentifier),
  );
  // The same certificate written twice (Artifact Signing does it) counts once.
  return fits.filter(
    (certificate, i) => fits.findIndex((other) => equalBytes(other.der, certificate.der)) === i,
  );
}

/** How a SignerInfo names its certificate, for sentences. */
export function signerIdText(signer: SignerInfo): string {
  return "issuer" in signer.id
    ? `serial number ${toHex(signer.id.serial)}`
    : `key identifier ${toHex(signer.id.keyIdentifier)}`;
}

/** Members of a SET OF; a wrong order is noted, not refused: tokens of real authorities have it, and no signature covers it. */
function members(field: Der, what: string, findings: Findings): readonly Der[] {
  const values = children(field);
  if (values.some((value, i) => i > 0 && Buffer.compare(encoded(values[i - 1]!), encoded(value)) > 0))
    findings.note("cms/unsorted", `The ${what} are not in DER order.`);
  return values;
}

function bad(what: string): ArtifactError {
  return new ArtifactError("artifact/bad-signature", `The signature cannot be used: ${what}.`);
}
