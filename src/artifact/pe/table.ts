// The attribute certificate table at the end of a PE file: its WIN_CERTIFICATE entries.

import { parseDerPrefix } from "../../der/reader.ts";
import { DerError } from "../../der/errors.ts";
import { ArtifactError, type Findings } from "../errors.ts";
import { CMS_LIMIT } from "../cms.ts";
import { readRange, type ByteSource } from "../source.ts";
import { align8, type PeLayout } from "./layout.ts";

/** One entry: its CMS, without padding. */
export type Entry = { readonly offset: number; readonly length: number; readonly cms: Uint8Array };

const REVISION_2 = 0x0200;
const PKCS_SIGNED_DATA = 0x0002;
/** A hostile table of tiny entries must not become a list of millions. */
const ENTRIES_LIMIT = 16;

/**
 * Reads all entries. Whatever Windows might skip and nobody signed is an error in `findings`: free space in the table is
 * where unsigned payloads travel (CVE-2013-3900). Errors thrown: `artifact/too-large` only.
 */
export async function readTable(
  source: ByteSource,
  layout: PeLayout,
  findings: Findings,
): Promise<readonly Entry[]> {
  if (layout.table === null) return [];
  const { offset, size } = layout.table;
  if (offset % 8 !== 0)
    findings.error("pe/table-unaligned", "The certificate table does not begin at a multiple of 8.");
  if (offset + size !== layout.size) {
    findings.error(
      "pe/table-not-last",
      `${layout.size - offset - size} bytes follow the certificate table, and no signature covers them.`,
      { bytes: layout.size - offset - size },
    );
  }
  const bytes = await readRange(source, offset, size, "certificate table", CMS_LIMIT);
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: Entry[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (entries.length === ENTRIES_LIMIT) {
      findings.error("pe/table-malformed", `The certificate table has more than ${ENTRIES_LIMIT} entries.`);
      break;
    }
    if (at + 8 > bytes.length) {
      findings.error("pe/table-malformed", "The certificate table ends within the head of an entry.");
      break;
    }
    const length = data.getUint32(at, true);
    if (length <= 8 || align8(at + length) > bytes.length) {
      findings.error(
        "pe/table-malformed",
        `An entry of the certificate table says that it has ${length} bytes, which do not fit.`,
      );
      break;
    }
    const revision = data.getUint16(at + 4, true);
    const type = data.getUint16(at + 6, true);
    if (revision !== REVISION_2 || type !== PKCS_SIGNED_DATA) {
      findings.error(
        "pe/entry-kind",
        `An entry of the certificate table is of revision 0x${revision.toString(16)} and type 0x${type.toString(16)}, which is no Authenticode signature.`,
      );
    } else {
      const cms = readEntry(bytes, at, length, findings);
      if (cms !== null) entries.push({ offset: offset + at, length, cms });
    }
    // The padding between entries belongs to nobody.
    if (bytes.subarray(at + length, align8(at + length)).some((byte) => byte !== 0))
      findings.error("pe/stuffed", "Bytes are hidden in the padding of the certificate table.");
    at = align8(at + length);
  }
  return entries;
}

/** The CMS within an entry; behind it at most 7 zero bytes, as signtool pads. */
function readEntry(bytes: Uint8Array, at: number, length: number, findings: Findings): Uint8Array | null {
  const body = bytes.subarray(at + 8, at + length);
  let end: number;
  try {
    end = parseDerPrefix(body).end;
  } catch (error) {
    if (!(error instanceof DerError)) throw error;
    findings.error("cms/malformed", `The signature cannot be read: ${error.message}`);
    return null;
  }
  const rest = body.subarray(end);
  if (rest.length > 7 || rest.some((byte) => byte !== 0)) {
    findings.error(
      "pe/stuffed",
      `${rest.length} bytes are hidden behind the signature, within the part of the file that no signature covers (CVE-2013-3900).`,
      { bytes: rest.length },
    );
  }
  return body.subarray(0, end);
}

/** One entry, padded with zeros to a multiple of 8 that its length counts, as signtool writes it. */
export function tableOfOne(cms: Uint8Array): Uint8Array {
  const length = align8(8 + cms.length);
  const out = new Uint8Array(length);
  const data = new DataView(out.buffer);
  data.setUint32(0, length, true);
  data.setUint16(4, REVISION_2, true);
  data.setUint16(6, PKCS_SIGNED_DATA, true);
  out.set(cms, 8);
  return out;
}

/** The CMS of the one signature a file has. Errors: `artifact/bad-signature` if the table is not in order. */
export async function readOnlyEntry(
  source: ByteSource,
  layout: PeLayout,
  findings: Findings,
): Promise<Uint8Array | null> {
  const entries = await readTable(source, layout, findings);
  const [problem] = findings.list.filter((finding) => finding.level === "error");
  if (problem !== undefined)
    throw new ArtifactError(
      "artifact/bad-signature",
      `The signature that is there cannot be kept: ${problem.message}`,
      { code: problem.code },
    );
  if (entries.length > 1)
    throw new ArtifactError(
      "artifact/unsupported",
      `The file has ${entries.length} entries in its certificate table; only one can be kept.`,
      { entries: entries.length },
    );
  return entries[0]?.cms ?? null;
}
