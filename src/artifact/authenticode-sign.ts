// Making an Authenticode signature the way signtool writes it.

import { hashIdentifier, type X509Signer } from "../der/algorithms.ts";
import { sameName } from "../der/names.ts";
import * as oids from "../der/oids.ts";
import { children, parseDer, readOid } from "../der/reader.ts";
import type { Certificate } from "../der/x509.ts";
import {
  editUnsigned,
  indirectDataOctets,
  opusAttribute,
  sequenceNumberAttribute,
  SPC_INDIRECT_DATA,
  statementTypeAttribute,
  type Opus,
} from "./authenticode.ts";
import {
  attribute,
  contentTypeAttribute,
  digest,
  messageDigestAttribute,
  signAttributes,
  signedData,
  signerInfo,
  unique,
  type SigningHash,
} from "./cms-build.ts";
import { parseSignedData } from "./cms.ts";
import { ArtifactError } from "./errors.ts";
import { MICROSOFT_RFC3161 } from "./timestamp.ts";

export type AuthenticodeWish = {
  /** From `buildIndirectData`; or the digest of its content octets alone, for content that its owner puts in (`attachContent`). */
  readonly indirectData: Uint8Array | { readonly digest: Uint8Array };
  /** SPC_INDIRECT_DATA unless given; catalogs are lists of another type. */
  readonly contentType?: string;
  readonly hash: SigningHash;
  readonly certificate: Certificate;
  /** Intermediates, in any order; the leaf and self-signed roots are dropped or added as needed. */
  readonly chain: readonly Certificate[];
  readonly signer: X509Signer;
  readonly opus?: Opus;
  /** For a signature that is added to another: 1 for the first nested one. */
  readonly sequenceNumber?: number;
  /** SpcStatementType; signtool leaves it out when a service signs for it. On by default. */
  readonly statementType?: boolean;
  /** Further signed attributes, encoded. */
  readonly attributes?: readonly Uint8Array[];
  /** Roots are left out unless this is set. */
  readonly includeRoot?: boolean;
};

/** A ContentInfo with the one signature, without time stamp. Errors: `artifact/bad-key` and the signer's. */
export async function signAuthenticode(wish: AuthenticodeWish): Promise<Uint8Array> {
  const { hash, certificate, contentType = SPC_INDIRECT_DATA, indirectData } = wish;
  if (wish.signer.publicKey.scheme === "ed25519") {
    throw new ArtifactError(
      "artifact/bad-key",
      "Windows knows no Ed25519: a program signed with such a key would count as unsigned everywhere.",
      {},
      { hint: "Use an RSA or a P-256 key." },
    );
  }
  const parts = await signAttributes({
    certificate,
    signer: wish.signer,
    hash,
    attributes: [
      opusAttribute(wish.opus ?? {}),
      ...(wish.sequenceNumber === undefined ? [] : [sequenceNumberAttribute(wish.sequenceNumber)]),
      contentTypeAttribute(contentType),
      ...(wish.statementType === false ? [] : [statementTypeAttribute()]),
      messageDigestAttribute(
        "digest" in indirectData ? indirectData.digest : digest(hash, indirectDataOctets(indirectData)),
      ),
      ...(wish.attributes ?? []),
    ],
  });
  const others = wish.chain.filter(
    (other) => wish.includeRoot === true || !sameName(other.issuer, other.subject),
  );
  return signedData({
    version: 1,
    digests: [hashIdentifier(hash)],
    contentType,
    content: "digest" in indirectData ? null : indirectData,
    certificates: unique([certificate, ...others].map((each) => each.der)),
    signers: [signerInfo(parts)],
  });
}

/** The signature value that a time stamp is to be over. Errors: `artifact/bad-signature`. */
export function valueToStamp(cms: Uint8Array): Uint8Array {
  const { signers } = parseSignedData(cms);
  if (signers.length !== 1)
    throw new ArtifactError(
      "artifact/bad-signature",
      "A signature with several signers is no Authenticode signature.",
      {},
    );
  return signers[0]!.signature;
}

const STAMPS: readonly string[] = [MICROSOFT_RFC3161, oids.counterSignature, oids.timeStampToken];

/** The signature with this RFC 3161 token in place of any time stamp that was there. */
export function withTimestamp(cms: Uint8Array, token: Uint8Array): Uint8Array {
  return editUnsigned(cms, (attributes) => [
    attribute(MICROSOFT_RFC3161, token),
    ...attributes.filter((der) => !isStamp(der)),
  ]);
}

/** The signature with an older Authenticode countersignature. */
export function withLegacyTimestamp(
  cms: Uint8Array,
  countersignature: { readonly signerInfo: Uint8Array; readonly certificates: readonly Uint8Array[] },
): Uint8Array {
  return editUnsigned(
    cms,
    (attributes) => [
      attribute(oids.counterSignature, countersignature.signerInfo),
      ...attributes.filter((der) => !isStamp(der)),
    ],
    countersignature.certificates,
  );
}

function isStamp(der: Uint8Array): boolean {
  return STAMPS.includes(readOid(children(parseDer(der))[0]!));
}
