// Catalogs: a signed list of digests of files, written and read as the certificate trust list that Windows uses for it.

import { compareBytes } from "../../core/bytes.ts";
import type { Instant } from "../../core/instant.ts";
import { hashIdentifier, readHashIdentifier, HASH_LENGTH, type HashName } from "../../der/algorithms.ts";
import { DerError } from "../../der/errors.ts";
import {
  children,
  content,
  Fields,
  only,
  parseDer,
  readOctets,
  readOid,
  type Der,
} from "../../der/reader.ts";
import * as tags from "../../der/tags.ts";
import { element, integer, nul, octets, oid, sequence, setOf, time, utf16 } from "../../der/writer.ts";
import { ArtifactError } from "../errors.ts";

/** Content type of the list, szOID_CTL. */
export const CTL_OID = "1.3.6.1.4.1.311.10.1";
const CATALOG_LIST = "1.3.6.1.4.1.311.12.1.1";
/** Members of the second kind, which are known by SHA-256; those of the first kind were by SHA-1. */
const MEMBER_V2 = "1.3.6.1.4.1.311.12.1.3";
const NAME_VALUE = "1.3.6.1.4.1.311.12.2.1";
const MEMBER_INFO_V2 = "1.3.6.1.4.1.311.12.2.3";
const INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4";
const SPC_LINK = "1.3.6.1.4.1.311.2.1.25";
const SPC_PE_IMAGE = "1.3.6.1.4.1.311.2.1.15";

/** Attribute of a name, "authenticated, in the member, UTF-16". */
const NAME_FLAGS = 0x10010001;
const MAX_MEMBERS = 100_000;

export type CatalogMember = {
  /** The file's name without its folder; null in lists that do not carry names. */
  readonly name: string | null;
  readonly algorithm: HashName;
  /** Of the whole file, or the Authenticode image digest for `image`. */
  readonly digest: Uint8Array;
  readonly kind: "file" | "image";
};

export type Catalog = { readonly members: readonly CatalogMember[] };

/** SpcPeImageData as signtool writes it: no flags, an empty file link. */
const EMPTY_IMAGE = Uint8Array.of(0x30, 0x09, 0x03, 0x01, 0x00, 0xa0, 0x04, 0xa2, 0x02, 0x80, 0x00);
/** SpcLink with an empty file name. */
const EMPTY_LINK = Uint8Array.of(0xa2, 0x02, 0x80, 0x00);

/** The list, DER, ready to be signed as content of the type `CTL_OID`. `identifier` is sixteen bytes of chance. */
export function writeCatalog(
  members: readonly (CatalogMember & { readonly name: string })[],
  identifier: Uint8Array,
  instant: Instant,
): Uint8Array {
  if (members.length === 0 || members.length > MAX_MEMBERS) {
    throw malformed(`a catalog lists 1 to ${MAX_MEMBERS} files, not ${members.length}`);
  }
  const sorted = members.toSorted((a, b) => compareBytes(a.digest, b.digest));
  return sequence(
    sequence(oid(CATALOG_LIST)),
    octets(identifier),
    time(instant),
    sequence(oid(MEMBER_V2), nul()),
    sequence(
      ...sorted.map((member) =>
        sequence(
          octets(member.digest),
          setOf(
            attribute(MEMBER_INFO_V2, Uint8Array.of(tags.context(2), 0)),
            attribute(
              NAME_VALUE,
              sequence(
                element(tags.BMP_STRING, utf16("File")),
                integer(NAME_FLAGS),
                octets(new Uint8Array(Buffer.from(`${member.name}\0`, "utf16le"))),
              ),
            ),
            attribute(
              INDIRECT_DATA,
              sequence(
                member.kind === "image"
                  ? sequence(oid(SPC_PE_IMAGE), EMPTY_IMAGE)
                  : sequence(oid(SPC_LINK), EMPTY_LINK),
                sequence(hashIdentifier(member.algorithm), octets(member.digest)),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

function attribute(type: string, value: Uint8Array): Uint8Array {
  return sequence(oid(type), setOf(value));
}

/**
 * Reads the list that was signed. Members without a digest, such as those for other systems, are left out.
 * Errors: `artifact/malformed`.
 */
export function readCatalog(der: Uint8Array): Catalog {
  try {
    const fields = new Fields(parseDer(der));
    const usage = readOid(only(fields.take(tags.SEQUENCE)));
    if (usage !== CATALOG_LIST) throw malformed("it is a trust list, but not a catalog of files");
    fields.optional(tags.OCTET_STRING);
    fields.take(fields.nextTag === tags.UTC_TIME ? tags.UTC_TIME : tags.GENERALIZED_TIME);
    fields.take(tags.SEQUENCE);
    const list = fields.optional(tags.SEQUENCE);
    fields.optionalExplicit(0);
    fields.done();
    const entries = list === null ? [] : children(list);
    if (entries.length > MAX_MEMBERS) throw malformed(`it lists ${entries.length} files`);
    return { members: entries.map(readMember).filter((member) => member !== null) };
  } catch (cause) {
    if (cause instanceof DerError) throw malformed("it is not the DER of one", cause);
    throw cause;
  }
}

function readMember(entry: Der): CatalogMember | null {
  const fields = new Fields(entry);
  fields.take(tags.OCTET_STRING);
  const attributes = children(fields.take(tags.SET));
  fields.done();
  let name: string | null = null;
  let found: Omit<CatalogMember, "name"> | null = null;
  for (const one of attributes) {
    const parts = new Fields(one);
    const type = readOid(parts.take(tags.OID));
    const values = parts.take(tags.SET);
    parts.done();
    if (type === NAME_VALUE) name = readName(only(values)) ?? name;
    if (type === INDIRECT_DATA) {
      if (found !== null) throw malformed("a member has two digests");
      found = readDigest(only(values));
    }
  }
  return found === null ? null : { name, ...found };
}

/** Only the value named "File" is one; others are remarks. */
function readName(value: Der): string | null {
  const fields = new Fields(value);
  const label = Buffer.from(content(fields.take(tags.BMP_STRING)))
    .swap16()
    .toString("utf16le");
  fields.take(tags.INTEGER);
  const text = Buffer.from(readOctets(fields.take(tags.OCTET_STRING))).toString("utf16le");
  fields.done();
  return label === "File" ? text.replace(/\0$/, "") : null;
}

function readDigest(value: Der): Omit<CatalogMember, "name"> {
  const fields = new Fields(value);
  const type = readOid(new Fields(fields.take(tags.SEQUENCE)).take(tags.OID));
  const parts = new Fields(fields.take(tags.SEQUENCE));
  fields.done();
  const algorithm = readHashIdentifier(parts.take(tags.SEQUENCE));
  const digest = readOctets(parts.take(tags.OCTET_STRING));
  parts.done();
  if (digest.length !== HASH_LENGTH[algorithm]) throw malformed("a digest has the wrong length");
  return { algorithm, digest, kind: type === SPC_PE_IMAGE ? "image" : "file" };
}

/** True if the list has this digest as that of a file, or of an image. Errors: none. */
export function lists(
  catalog: Catalog,
  kind: "file" | "image",
  algorithm: HashName,
  digest: Uint8Array,
): boolean {
  return catalog.members.some(
    (member) =>
      member.kind === kind && member.algorithm === algorithm && compareBytes(member.digest, digest) === 0,
  );
}

function malformed(what: string, cause?: unknown): ArtifactError {
  return new ArtifactError(
    "artifact/malformed",
    `The catalog is malformed: ${what}.`,
    { format: "cat", what },
    { cause },
  );
}
