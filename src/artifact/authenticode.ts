// What Authenticode puts into a CMS, whatever the file format: the indirect data, the attributes, nested signatures.

import { readHashIdentifier, type HashName, hashIdentifier } from "../der/algorithms.ts";
import {
  children,
  content,
  encoded,
  expectTag,
  Fields,
  only,
  parseDer,
  readOctets,
  readOid,
  readSmallInteger,
  readString,
  readUtf16,
  type Der,
} from "../der/reader.ts";
import { context, contextOf, IA5_STRING, OCTET_STRING, OID, SEQUENCE, SET } from "../der/tags.ts";
import {
  element,
  explicit,
  ia5,
  implicit,
  integer,
  octets,
  oid,
  sequence,
  setOf,
  utf16,
} from "../der/writer.ts";
import { attribute } from "./cms-build.ts";
import { parseSignedData, signedAttribute, type SignerInfo } from "./cms.ts";
import { ArtifactError } from "./errors.ts";

/** wintrust.h and Microsoft's Authenticode_PE document. */
export const SPC_INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4";
export const SPC_SP_OPUS_INFO = "1.3.6.1.4.1.311.2.1.12";
export const SPC_STATEMENT_TYPE = "1.3.6.1.4.1.311.2.1.11";
export const SPC_INDIVIDUAL = "1.3.6.1.4.1.311.2.1.21";
export const SPC_COMMERCIAL = "1.3.6.1.4.1.311.2.1.22";
export const SPC_PE_IMAGE_DATA = "1.3.6.1.4.1.311.2.1.15";
export const SPC_NESTED_SIGNATURE = "1.3.6.1.4.1.311.2.4.1";
export const SPC_RELAXED_PE_MARKER_CHECK = "1.3.6.1.4.1.311.2.6.1";
/** PKCS#9 sequenceNumber: which of several signatures this one is. */
export const SEQUENCE_NUMBER = "1.2.840.113549.1.9.25.4";
export const LIFETIME_SIGNING = "1.3.6.1.4.1.311.10.3.13";

/** SpcIndirectDataContent: what kind of file, and the digest of it. */
export type IndirectData = {
  /** SpcAttributeTypeAndOptionalValue: the type, and the value as encoded. */
  readonly type: string;
  readonly value: Uint8Array | null;
  readonly hash: HashName;
  readonly digest: Uint8Array;
};

export function buildIndirectData(data: IndirectData): Uint8Array {
  return sequence(
    sequence(oid(data.type), ...(data.value === null ? [] : [data.value])),
    sequence(hashIdentifier(data.hash), octets(data.digest)),
  );
}

/** Errors: the reader's. */
export function readIndirectData(value: Der): IndirectData {
  const fields = new Fields(value);
  const about = new Fields(fields.take(SEQUENCE));
  const type = readOid(about.take(OID));
  const inner = about.more ? encoded(about.take()) : null;
  about.done();
  const info = new Fields(fields.take(SEQUENCE));
  const hash = readHashIdentifier(info.take());
  const digest = readOctets(info.take(OCTET_STRING));
  info.done();
  fields.done();
  return { type, value: inner, hash, digest };
}

/** What the messageDigest attribute is over: the content octets of the SEQUENCE, without its tag and length. */
export function indirectDataOctets(indirectData: Uint8Array): Uint8Array {
  return content(parseDer(indirectData));
}

/** SpcSpOpusInfo: what the publisher says about the program (`/d`, `/du`). */
export type Opus = { readonly name?: string; readonly url?: string };

export function opusAttribute(opus: Opus): Uint8Array {
  return attribute(
    SPC_SP_OPUS_INFO,
    sequence(
      ...(opus.name === undefined ? [] : [explicit(0, element(context(0), utf16(opus.name)))]),
      ...(opus.url === undefined ? [] : [explicit(1, implicit(0, ia5(opus.url)))]),
    ),
  );
}

export function statementTypeAttribute(type: string = SPC_INDIVIDUAL): Uint8Array {
  return attribute(SPC_STATEMENT_TYPE, sequence(oid(type)));
}

export function sequenceNumberAttribute(n: number): Uint8Array {
  return attribute(SEQUENCE_NUMBER, integer(n));
}

/** Errors: the reader's. Unknown parts are ignored: they inform people only. */
export function readOpus(signer: SignerInfo): Opus {
  const value = signedAttribute(signer, SPC_SP_OPUS_INFO);
  if (value === null) return {};
  const fields = new Fields(value);
  const name = fields.optionalExplicit(0);
  const link = fields.optionalExplicit(1);
  const text =
    name === null
      ? undefined
      : name.tag === context(0)
        ? readUtf16(content(name))
        : Buffer.from(content(name)).toString("latin1");
  const url = link?.tag === context(0) ? readString({ ...link, tag: IA5_STRING }) : undefined;
  return {
    ...(text === undefined ? {} : { name: text }),
    ...(url === undefined ? {} : { url }),
  };
}

/** The place of a nested signature in the order; null in the first one. */
export function readSequenceNumber(signer: SignerInfo): number | null {
  const value = signedAttribute(signer, SEQUENCE_NUMBER);
  return value === null ? null : readSmallInteger(value);
}

/** Nested signatures, encoded. */
export function nestedSignatures(signer: SignerInfo): readonly Uint8Array[] {
  return signer.unsignedAttributes
    .filter((item) => item.oid === SPC_NESTED_SIGNATURE)
    .flatMap((item) => item.values.map(encoded));
}

/**
 * A signature with other unsigned attributes and further certificates; every signed byte stays as it is.
 * `edit` gets the unsigned attributes of the first signer, encoded, and returns the new ones. Errors: `artifact/bad-signature`.
 */
export function editUnsigned(
  cms: Uint8Array,
  edit: (attributes: readonly Uint8Array[]) => readonly Uint8Array[],
  extraCertificates: readonly Uint8Array[] = [],
): Uint8Array {
  // Parsed first, so that what follows may rely on its shape.
  if (parseSignedData(cms).signers.length !== 1)
    throw new ArtifactError(
      "artifact/bad-signature",
      "A signature with several signers is no Authenticode signature.",
      {},
    );
  const [type, wrapped] = children(parseDer(cms));
  const body = children(only(wrapped!));
  const signers = expectTag(body[body.length - 1]!, SET);
  const fields = children(only(signers));
  const last = fields[fields.length - 1]!;
  const hasUnsigned = last.tag === contextOf(1);
  const attributes = edit(hasUnsigned ? children(last).map(encoded) : []);
  const kept = (hasUnsigned ? fields.slice(0, -1) : fields).map(encoded);
  const signer = sequence(...kept, ...(attributes.length === 0 ? [] : [implicit(1, setOf(...attributes))]));
  const before = body
    .slice(0, -1)
    .map((field) =>
      field.tag === contextOf(0) && extraCertificates.length > 0
        ? withCertificates(field, extraCertificates)
        : encoded(field),
    );
  return sequence(encoded(type!), explicit(0, sequence(...before, setOf(signer))));
}

function withCertificates(field: Der, extra: readonly Uint8Array[]): Uint8Array {
  const present = children(field).map(encoded);
  const added = extra.filter(
    (certificate) => !present.some((other) => Buffer.compare(other, certificate) === 0),
  );
  return implicit(0, setOf(...present, ...added));
}

/** Adds a signature to a signed file's first one: one attribute that holds all nested ones. */
export function appendNested(cms: Uint8Array, nested: Uint8Array): Uint8Array {
  return editUnsigned(cms, (attributes) => {
    const isNested = (der: Uint8Array): boolean =>
      readOid(children(parseDer(der))[0]!) === SPC_NESTED_SIGNATURE;
    const before = attributes
      .filter(isNested)
      .flatMap((der) => children(children(parseDer(der))[1]!).map(encoded));
    // In the order in which they were added, as signtool has it: the numbers inside say which is which.
    const joined = sequence(oid(SPC_NESTED_SIGNATURE), element(SET, ...before, nested));
    return [...attributes.filter((der) => !isNested(der)), joined];
  });
}
