// Page hashes: one digest per memory page, so that Windows can check a driver page by page as it is loaded.

import { hash } from "node:crypto";
import { concat, equalBytes } from "../../core/bytes.ts";
import { expectTag, Fields, only, parseDer, readOctets, readOid, type Der } from "../../der/reader.ts";
import { around, gapOf, type Gapped } from "../../der/gap.ts";
import { contextOf, OCTET_STRING, SEQUENCE, SET } from "../../der/tags.ts";
import { octets, oid } from "../../der/writer.ts";
import { ArtifactError } from "../errors.ts";
import { PIECE, readRange, type ByteSource } from "../source.ts";
import type { PeLayout } from "./layout.ts";

export type PageHash = "sha1" | "sha256";

/** SPC_PE_IMAGE_PAGE_HASHES_V1 and _V2 of wintrust.h. */
const OIDS: { readonly [H in PageHash]: string } = {
  sha1: "1.3.6.1.4.1.311.2.3.1",
  sha256: "1.3.6.1.4.1.311.2.3.2",
};
/** The class id that marks page hashes in a SpcSerializedObject. */
const CLASS_ID = Uint8Array.of(
  0xa6,
  0xb5,
  0x86,
  0xd5,
  0xb4,
  0xa1,
  0x24,
  0x66,
  0xae,
  0x05,
  0xa2,
  0x17,
  0xda,
  0x8e,
  0x60,
  0xd6,
);

/**
 * The table of {32-bit file offset, digest} rows: the headers without checksum and certificate directory, filled up to a page
 * short of these 12 bytes; then each page of each section in the order of the section table, the last one filled up with zeros;
 * then the end of the last section with a digest of zeros. Errors: `artifact/malformed`, `artifact/unsupported`.
 */
export async function pageHashTable(
  source: ByteSource,
  layout: PeLayout,
  algorithm: PageHash,
): Promise<Uint8Array> {
  const page = layout.sectionAlignment;
  if (page < 512 || page > 1024 * 1024 || (page & (page - 1)) !== 0 || layout.sizeOfHeaders > page) {
    throw new ArtifactError(
      "artifact/unsupported",
      `Page hashes are not defined for a section alignment of ${page} bytes with headers of ${layout.sizeOfHeaders}.`,
      { page },
    );
  }
  const sections = layout.sections.filter((section) => section.size > 0);
  const total = sections.reduce((sum, section) => sum + Math.ceil(section.size / page), 0);
  const end = layout.table?.offset ?? layout.size;
  // Overlapping sections could ask for more pages than the file has; such a file is no driver.
  if (
    sections.some((section) => section.offset + section.size > end) ||
    total > Math.ceil(end / page) + 2 * sections.length
  ) {
    throw new ArtifactError(
      "artifact/malformed",
      "The sections reach beyond the image or overlap, so that page hashes mean nothing.",
      {},
    );
  }
  const row = rowLength(algorithm);
  const out = Buffer.alloc(row * (total + 2));
  const headers = await readRange(source, 0, layout.sizeOfHeaders, "headers");
  const { checksumOffset, directoryOffset } = layout;
  if (directoryOffset + 8 > headers.length)
    throw new ArtifactError("artifact/malformed", "The headers end before the certificate directory.", {});
  const first = concat([
    headers.subarray(0, checksumOffset),
    headers.subarray(checksumOffset + 4, directoryOffset),
    headers.subarray(directoryOffset + 8),
    new Uint8Array(page - headers.length),
  ]);
  out.set(hash(algorithm, first, "buffer"), 4);
  let at = row;
  const step = Math.max(page, Math.floor(PIECE / page) * page);
  const buffer = new Uint8Array(step);
  for (const section of sections) {
    for (let done = 0; done < section.size; done += step) {
      const piece = buffer.subarray(0, Math.min(step, section.size - done));
      await source.read(section.offset + done, piece);
      const filled = Math.ceil(piece.length / page) * page;
      buffer.fill(0, piece.length, filled);
      for (let from = 0; from < filled; from += page) {
        out.writeUInt32LE(section.offset + done + from, at);
        out.set(hash(algorithm, buffer.subarray(from, from + page), "buffer"), at + 4);
        at += row;
      }
    }
  }
  const last = sections.at(-1);
  out.writeUInt32LE(last === undefined ? 0 : last.offset + last.size, at);
  return new Uint8Array(out.buffer, out.byteOffset, at + row);
}

/** The SpcLink that goes into `SpcPeImageData.file`, around a table of this many bytes. */
export function pageHashLink(algorithm: PageHash, length: number): Gapped {
  const row = around(SEQUENCE, [oid(OIDS[algorithm])], around(SET, [], gapOf(OCTET_STRING, length)));
  return around(contextOf(1), [octets(CLASS_ID)], around(OCTET_STRING, [], around(SET, [], row)));
}

/** Bytes of one row: the offset and the page's digest. */
export function rowLength(algorithm: PageHash): number {
  return 4 + (algorithm === "sha1" ? 20 : 32);
}

/** Reads the link back. Errors: the reader's, `artifact/bad-signature` for another class id or algorithm. */
export function readPageHashLink(link: Der): { readonly algorithm: PageHash; readonly table: Uint8Array } {
  const fields = new Fields(link, contextOf(1));
  const classId = readOctets(fields.take());
  const data = parseDer(readOctets(fields.take()));
  fields.done();
  const entry = new Fields(only(expectTag(data, SET)));
  const name = readOid(entry.take());
  const table = readOctets(only(entry.take(SET)));
  entry.done();
  const algorithm = (Object.keys(OIDS) as PageHash[]).find((key) => OIDS[key] === name);
  if (!equalBytes(classId, CLASS_ID) || algorithm === undefined)
    throw new ArtifactError("artifact/bad-signature", "The page hashes are of a kind that is not known.", {
      oid: name,
    });
  return { algorithm, table };
}
