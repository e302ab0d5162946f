// The rebuild oracle: takes a real signature apart into parameters and builds it anew with our own builder.
// Equal bytes mean that, given the same certificates, attributes and signature values, we write what the other tool wrote.

import { hashIdentifier } from "../der/algorithms.ts";
import * as oids from "../der/oids.ts";
import { encoded, Fields, parseDer } from "../der/reader.ts";
import { BIT_STRING } from "../der/tags.ts";
import { nul, oid, sequence } from "../der/writer.ts";
import {
  nestedSignatures,
  opusAttribute,
  readIndirectData,
  readOpus,
  readSequenceNumber,
  indirectDataOctets,
  sequenceNumberAttribute,
  SPC_INDIRECT_DATA,
  SPC_NESTED_SIGNATURE,
  SPC_SP_OPUS_INFO,
  SPC_STATEMENT_TYPE,
  SEQUENCE_NUMBER,
  statementTypeAttribute,
  buildIndirectData,
} from "../artifact/authenticode.ts";
import {
  attribute,
  attributesToSign,
  contentTypeAttribute,
  digest,
  messageDigestAttribute,
  signedData,
  signerInfo,
} from "../artifact/cms-build.ts";
import { parseSignedData, signedAttribute, type Attribute, type SignerInfo } from "../artifact/cms.ts";
import { peIndirectData, readPages } from "../artifact/pe/indirect.ts";
import type { SigningHash } from "../artifact/cms-build.ts";

/** What could not be rebuilt from its meaning and was carried over as bytes; an honest oracle lists it. */
export type Rebuilt = { readonly cms: Uint8Array; readonly carried: readonly string[] };

export function rebuildAuthenticode(cms: Uint8Array): Rebuilt {
  const original = parseSignedData(cms);
  const carried: string[] = [];
  const [signer] = original.signers;
  if (signer === undefined || original.content === null || !("issuer" in signer.id))
    throw new Error("not an Authenticode signature");
  const indirect = readIndirectData(original.content);
  const rebuiltIndirect = isModern(indirect.value)
    ? peIndirectData(indirect.hash, indirect.digest, readPages(indirect.value))
    : buildIndirectData(indirect);
  if (!isModern(indirect.value)) carried.push("SpcPeImageData");
  const attributes = (signer.signedAttributes ?? []).map((each) =>
    rebuildSigned(each, signer, rebuiltIndirect, carried),
  );
  const unsigned = signer.unsignedAttributes.map((each) => rebuildUnsigned(each, signer, carried));
  const one = signerInfo({
    id: { issuer: signer.id.issuer.der, serial: signer.id.serial },
    digest: hashIdentifier(signer.digest),
    signatureAlgorithm:
      signer.signatureAlgorithm.kind === "rsa" && signer.signatureAlgorithm.hash === null
        ? sequence(oid(oids.rsaEncryption), nul())
        : signer.signatureAlgorithmDer,
    signedAttributes: attributesToSign(attributes),
    signature: signer.signature,
    unsignedAttributes: unsigned,
  });
  return {
    cms: signedData({
      version: original.version,
      digests: original.digests.map((each) => hashIdentifier(each)),
      contentType: SPC_INDIRECT_DATA,
      content: rebuiltIndirect,
      certificates: [
        ...original.certificates.map((certificate) => certificate.der),
        ...original.otherCertificates,
      ],
      crls: original.crls,
      signers: [one],
    }),
    carried,
  };
}

function rebuildSigned(
  item: Attribute,
  signer: SignerInfo,
  indirect: Uint8Array,
  carried: string[],
): Uint8Array {
  switch (item.oid) {
    case SPC_SP_OPUS_INFO:
      return opusAttribute(readOpus(signer));
    case SEQUENCE_NUMBER:
      return sequenceNumberAttribute(readSequenceNumber(signer)!);
    case oids.contentType:
      return contentTypeAttribute(SPC_INDIRECT_DATA);
    case SPC_STATEMENT_TYPE:
      return statementTypeAttribute();
    case oids.messageDigest:
      return messageDigestAttribute(digest(signer.digest as SigningHash, indirectDataOctets(indirect)));
    default:
      carried.push(item.oid);
      return attribute(item.oid, encoded(signedAttribute(signer, item.oid)!));
  }
}

function rebuildUnsigned(item: Attribute, signer: SignerInfo, carried: string[]): Uint8Array {
  if (item.oid === SPC_NESTED_SIGNATURE) {
    const inner = nestedSignatures(signer).map(rebuildAuthenticode);
    carried.push(...inner.flatMap((each) => each.carried));
    return attribute(item.oid, ...inner.map((each) => each.cms));
  }
  // A time stamp is a value that came from elsewhere, like the signature value itself.
  return attribute(item.oid, ...item.values.map(encoded));
}

/** Empty flags in front: what signtool has written for ten years. */
function isModern(value: Uint8Array | null): boolean {
  if (value === null) return false;
  const fields = new Fields(parseDer(value));
  return fields.nextTag === BIT_STRING && encoded(fields.take()).length === 3;
}
