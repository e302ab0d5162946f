// SpcPeImageData: what a PE signature says beside the digest, which is nothing, or page hashes.

import { concat } from "../../core/bytes.ts";
import { Fields, parseDer, readBits, type Der } from "../../der/reader.ts";
import { around, filled, type Gapped } from "../../der/gap.ts";
import { BIT_STRING, context, contextOf, SEQUENCE } from "../../der/tags.ts";
import { element, explicit, octets, oid, sequence } from "../../der/writer.ts";
import { hashIdentifier, type HashName } from "../../der/algorithms.ts";
import { buildIndirectData, SPC_PE_IMAGE_DATA } from "../authenticode.ts";
import { pageHashLink, readPageHashLink, type PageHash } from "./page-hashes.ts";

/** Flags as an empty BIT STRING, and an empty file link where older tools write "<<<Obsolete>>>": today's signtool. */
const EMPTY_FLAGS = element(BIT_STRING, Uint8Array.of(0));
const EMPTY_LINK = explicit(2, element(context(0)));

export type Pages = { readonly algorithm: PageHash; readonly table: Uint8Array };

/** SpcIndirectDataContent for a PE image. */
export function peIndirectData(hash: HashName, digest: Uint8Array, pages: Pages | null): Uint8Array {
  if (pages !== null) {
    const covered = peIndirectOctets(hash, digest, pages.algorithm, pages.table.length);
    return filled(around(SEQUENCE, [], covered), pages.table);
  }
  return buildIndirectData({
    type: SPC_PE_IMAGE_DATA,
    value: sequence(EMPTY_FLAGS, explicit(0, EMPTY_LINK)),
    hash,
    digest,
  });
}

/** What a signature covers, the content octets, around a table of page hashes of this many bytes: for whoever sees the table pass by only. */
export function peIndirectOctets(
  hash: HashName,
  digest: Uint8Array,
  algorithm: PageHash,
  length: number,
): Gapped {
  const link = around(contextOf(0), [], pageHashLink(algorithm, length));
  const about = around(SEQUENCE, [oid(SPC_PE_IMAGE_DATA)], around(SEQUENCE, [EMPTY_FLAGS], link));
  return { ...about, after: concat([about.after, sequence(hashIdentifier(hash), octets(digest))]) };
}

/** The page hashes in a SpcPeImageData value, if there are any. Errors: the reader's, `artifact/bad-signature`. */
export function readPages(value: Uint8Array | null): Pages | null {
  if (value === null) return null;
  const fields = new Fields(parseDer(value));
  if (fields.nextTag === BIT_STRING) readBits(fields.take());
  const link: Der | null = fields.optionalExplicit(0);
  fields.done();
  return link !== null && link.tag === contextOf(1) ? readPageHashLink(link) : null;
}
