// Verifying a PE file: its structure, its digest, its page hashes and every signature on it; stricter than Windows.

import { equalBytes } from "../../core/bytes.ts";
import { DerError } from "../../der/errors.ts";
import {
  judgeSignature,
  neededDigests,
  openSignatures,
  type IndirectType,
  type OpenedSignature,
} from "../authenticode-verify.ts";
import { SPC_INDIVIDUAL, SPC_PE_IMAGE_DATA } from "../authenticode.ts";
import { ArtifactError, Findings } from "../errors.ts";
import { verdict, type FileReport, type SignatureReport, type VerifyPolicy } from "../report.ts";
import type { ByteSource } from "../source.ts";
import { readPages } from "./indirect.ts";
import { imageEnd, leftoverText, readLayout, type PeLayout } from "./layout.ts";
import { pageHashTable } from "./page-hashes.ts";
import { foldChecksum, scanImage, sumWords, type Scan } from "./scan.ts";
import { readTable, type Entry } from "./table.ts";
import { readRange } from "../source.ts";

/** Debian's signed fwupd carries SpcPeImageData under the number of the statement type. */
const PE_TYPE: IndirectType = { own: SPC_PE_IMAGE_DATA, foreign: [SPC_INDIVIDUAL] };

/** The trust decision about a PE file, as a list. Errors: `artifact/malformed`, `artifact/too-large` if it is no PE file that can be read; all else is a finding. */
export async function verifyPe(source: ByteSource, policy: VerifyPolicy): Promise<FileReport> {
  const findings = new Findings();
  const layout = await readLayout(source);
  checkSections(layout, findings);
  const entries = await readTable(source, layout, findings);
  checkEntryCount(entries, policy, findings);
  // What is refused for its number anyway is not worth the work of sixteen signatures.
  const opened = openAll(policy.efi === true ? entries : entries.slice(0, 1), findings);
  const scan = await scanImage(source, layout, neededDigests(opened), { checksum: true });
  await checkChecksum(source, layout, scan, policy, findings);
  const signatures: SignatureReport[] = [];
  for (const each of opened) {
    await checkPages(source, layout, each);
    signatures.push(judgeSignature(each, scan.digests.get(each.indirect.hash) ?? null, PE_TYPE, policy));
  }
  const signed = layout.table !== null;
  if (layout.leftover !== null) findings.error("pe/leftover-entry", leftoverText(layout.leftover));
  if (!signed) findings.error("pe/not-signed", "The file is not signed.");
  return {
    format: "pe",
    signed,
    valid: signed && verdict(findings.list, signatures),
    signatures,
    findings: findings.list,
  };
}

/** Sections that overlap, or reach into the signatures, make tools disagree about what was signed. */
function checkSections(layout: PeLayout, findings: Findings): void {
  const end = imageEnd(layout);
  const used = layout.sections
    .filter((section) => section.size > 0 && section.offset > 0)
    .toSorted((a, b) => a.offset - b.offset);
  let last = 0;
  for (const section of used) {
    const stop = section.offset + section.size;
    if (layout.table !== null && stop > end)
      findings.error(
        "pe/section-beyond-image",
        `The section ${section.name} reaches beyond what the signature covers.`,
      );
    else if (stop > layout.size)
      findings.warning(
        "pe/section-beyond-file",
        `The section ${section.name} reaches beyond the end of the file.`,
      );
    if (section.offset < last)
      findings.warning("pe/sections-overlap", `The section ${section.name} shares bytes with another one.`);
    last = Math.max(last, stop);
  }
}

function checkEntryCount(entries: readonly Entry[], policy: VerifyPolicy, findings: Findings): void {
  if (entries.length > 1 && policy.efi !== true) {
    findings.error(
      "pe/several-entries",
      `The certificate table has ${entries.length} entries; only UEFI images have several, Windows looks at the first one only.`,
      { entries: entries.length },
    );
  }
}

function openAll(entries: readonly Entry[], findings: Findings): readonly OpenedSignature[] {
  return entries.flatMap((entry, i) => {
    try {
      return openSignatures(entry.cms, i === 0 ? "signature" : `signature ${i + 1}`);
    } catch (error) {
      if (!(error instanceof ArtifactError)) throw error;
      findings.error("cms/malformed", error.message);
      return [];
    }
  });
}

/** Validity does not hang on it except for drivers, but signing tools always write it right. */
async function checkChecksum(
  source: ByteSource,
  layout: PeLayout,
  scan: Scan,
  policy: VerifyPolicy,
  findings: Findings,
): Promise<void> {
  if (layout.table === null) return;
  const rest = await readRange(
    source,
    layout.table.offset,
    layout.size - layout.table.offset,
    "certificate table",
    layout.size,
  );
  const directory = await readRange(
    source,
    layout.directoryOffset - (layout.directoryOffset % 4),
    8 + (layout.directoryOffset % 4),
    "certificate directory",
  );
  directory.fill(0, 0, layout.directoryOffset % 4);
  const right = foldChecksum(scan.wordSum + sumWords(directory) + sumWords(rest), layout.size) >>> 0;
  if (right === layout.checksum) return;
  const what = `The PE checksum is ${layout.checksum.toString(16)}, by the content it is ${right.toString(16)}: the file was touched after signing, or by a careless tool.`;
  if (policy.strict === true) findings.error("pe/checksum", what);
  else findings.warning("pe/checksum", what);
}

async function checkPages(source: ByteSource, layout: PeLayout, opened: OpenedSignature): Promise<void> {
  try {
    const pages = readPages(opened.indirect.value);
    if (pages === null) return;
    const actual = await pageHashTable(source, layout, pages.algorithm);
    if (!equalBytes(actual, pages.table))
      opened.findings.error("pe/page-hashes", "The page hashes in the signature are not those of the file.");
    else
      opened.findings.note(
        "pe/page-hashes-right",
        `The signature has ${pages.algorithm} page hashes, and they are right.`,
      );
  } catch (error) {
    if (!(error instanceof ArtifactError) && !(error instanceof DerError)) throw error;
    opened.findings.error("pe/page-hashes", error.message);
  }
}
