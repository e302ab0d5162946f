// From what is to be signed to a CMS, by one signer: the one place that knows every kind of signature.

import { signAuthenticode, valueToStamp, withTimestamp, type AuthenticodeWish } from "./authenticode-sign.ts";
import { attribute } from "./cms-build.ts";
import { signContent, signPlain, type ContentSigner, type Stamp } from "./content-sign.ts";
import { MANIFEST_OID } from "./elf/manifest.ts";
import type { ToBeSigned } from "./format.ts";

/** Who signs; what only Authenticode knows is ignored by the other kinds. */
export type SignatureMaker = Omit<ContentSigner, "hash"> &
  Pick<AuthenticodeWish, "opus" | "statementType" | "attributes" | "includeRoot"> & {
    /** The kernel's form has no place for a time stamp. */
    readonly stamp?: Stamp;
  };

/** Errors: `artifact/bad-key`, `artifact/already-signed`, those of the signer and of the stamp. */
export async function makeSignature(what: ToBeSigned, by: SignatureMaker): Promise<Uint8Array> {
  const { certificate, chain, signer, stamp } = by;
  const one: ContentSigner = { certificate, chain, signer, hash: what.hash };
  switch (what.kind) {
    case "plain":
      return signPlain(what.content, one);
    case "content":
      return signContent({
        digests: what.digests,
        signers: [one],
        attributes: what.manifest === null ? [] : [attribute(MANIFEST_OID, what.manifest)],
        ...(stamp === undefined ? {} : { stamp }),
        ...(what.beside === null ? {} : { beside: what.beside }),
      });
    case "authenticode": {
      const { indirectData, hash, sequenceNumber, contentType } = what;
      const { opus, statementType, attributes, includeRoot } = by;
      const cms = await signAuthenticode({
        indirectData,
        hash,
        certificate,
        chain,
        signer,
        ...(contentType === undefined ? {} : { contentType }),
        ...(sequenceNumber === null ? {} : { sequenceNumber }),
        ...(opus === undefined ? {} : { opus }),
        ...(statementType === undefined ? {} : { statementType }),
        ...(attributes === undefined ? {} : { attributes }),
        ...(includeRoot === undefined ? {} : { includeRoot }),
      });
      return stamp === undefined ? cms : withTimestamp(cms, await stamp(valueToStamp(cms)));
    }
  }
}
