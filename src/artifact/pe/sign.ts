// Signing a PE file: attach, replace, append, remove, and stamping what is signed; always into a new file.

import { appendNested, nestedSignatures } from "../authenticode.ts";
import { parseSignedData } from "../cms.ts";
import { ArtifactError, Findings } from "../errors.ts";
import { withTimestamp, valueToStamp } from "../authenticode-sign.ts";
import type { AuthenticodeToBeSigned, SignJob, SignOutcome, StampJob } from "../format.ts";
import { readRange, type ByteSink, type ByteSource } from "../source.ts";
import { peIndirectData, type Pages } from "./indirect.ts";
import { imageEnd, leftoverText, readLayout, PE_LIMIT, type PeLayout } from "./layout.ts";
import { pageHashTable } from "./page-hashes.ts";
import { foldChecksum, scanImage, sumWords, type Scan } from "./scan.ts";
import { readOnlyEntry, tableOfOne } from "./table.ts";

/**
 * Copies the image into the sink while hashing it, has the digest signed, and writes table, directory and checksum.
 * Errors: `artifact/already-signed`, `artifact/malformed`, `artifact/too-large`, and the signer's.
 */
export async function signPe(job: SignJob<AuthenticodeToBeSigned>): Promise<SignOutcome> {
  const { source, sink } = job;
  const layout = await readLayout(source);
  const present =
    layout.table === null || job.mode === "replace" ? null : await keptSignature(source, layout, job.mode);
  refuseLooseEnd(layout);
  const pages: Pages | null =
    job.pageHashes === undefined
      ? null
      : { algorithm: job.pageHashes, table: await pageHashTable(source, layout, job.pageHashes) };
  const scan = await scanImage(source, layout, [job.hash], { copyTo: sink, checksum: true });
  const digest = scan.digests.get(job.hash)!;
  const sequenceNumber =
    present === null ? null : nestedSignatures(parseSignedData(present).signers[0]!).length + 1;
  const cms = await job.makeSignature({
    kind: "authenticode",
    format: "pe",
    hash: job.hash,
    digest,
    indirectData: peIndirectData(job.hash, digest, pages),
    sequenceNumber,
  });
  await finish(sink, layout, scan, present === null ? cms : appendNested(present, cms));
  return {
    digest,
    ...(layout.leftover === null ? {} : { warnings: [`${leftoverText(layout.leftover)} It is cleared.`] }),
  };
}

async function keptSignature(
  source: ByteSource,
  layout: PeLayout,
  mode: SignJob["mode"],
): Promise<Uint8Array | null> {
  if (mode === "new") {
    throw new ArtifactError(
      "artifact/already-signed",
      "The file is signed already.",
      {},
      { hint: "Say whether to replace the signature (--replace) or to add another one (--append)." },
    );
  }
  return readOnlyEntry(source, layout, new Findings());
}

/** Bytes behind the table would end up covered by nothing, or be lost. */
function refuseLooseEnd(layout: PeLayout): void {
  const { table } = layout;
  if (table !== null && table.offset + table.size !== layout.size) {
    throw new ArtifactError(
      "artifact/malformed",
      `${layout.size - table.offset - table.size} bytes follow the file's certificate table; no table says what they belong to.`,
      {},
      { hint: "Sign the file as it was built." },
    );
  }
}

/**
 * Removes all signatures, or an entry that points to none. The bytes are those from before the first signature where that can be known:
 * a checksum of 0 stays 0, and zeros that only fill up to the table go. What cannot be known is said.
 * Errors: `artifact/not-signed`.
 */
export async function removePe(source: ByteSource, sink: ByteSink): Promise<readonly string[]> {
  const layout = await readLayout(source);
  if (layout.table === null && layout.leftover === null)
    throw new ArtifactError("artifact/not-signed", "The file has no signature to remove.", {});
  refuseLooseEnd(layout);
  const end = await endWithoutPadding(source, layout);
  const bare = { ...layout, end };
  const scan = await scanImage(source, bare, [], { copyTo: sink, checksum: true, padded: false });
  await finish(sink, bare, scan, null);
  return [
    ...(layout.leftover === null ? [] : [`${leftoverText(layout.leftover)} It is cleared.`]),
    ...(layout.checksum === 0
      ? []
      : [
          "The checksum is that of the file as it is now. What it was before signing cannot be known: linkers often leave it 0, signing tools write it.",
        ]),
    ...(layout.table === null || end < imageEnd(layout) || !(await endsInZeros(source, layout))
      ? []
      : [
          "The zeros at the end may be padding of the signature; whether they were there before cannot be known.",
        ]),
  ];
}

/** Fewer than eight zeros between the last section and the table are the padding that the table wants before it. */
async function endWithoutPadding(source: ByteSource, layout: PeLayout): Promise<number> {
  const end = imageEnd(layout);
  const last = Math.max(layout.sizeOfHeaders, ...layout.sections.map(({ offset, size }) => offset + size));
  if (layout.table === null || last >= end || end - last > 7) return end;
  return (await readRange(source, last, end - last, "padding")).some((byte) => byte !== 0) ? end : last;
}

async function endsInZeros(source: ByteSource, layout: PeLayout): Promise<boolean> {
  const end = imageEnd(layout);
  const last = Math.max(layout.sizeOfHeaders, ...layout.sections.map(({ offset, size }) => offset + size));
  return end > last && (await readRange(source, end - 1, 1, "padding"))[0] === 0;
}

/** Puts a new RFC 3161 time stamp on the first or a nested signature. Errors: `artifact/not-signed`, `artifact/bad-signature`, the authority's. */
export async function stampPe(job: StampJob): Promise<void> {
  const layout = await readLayout(job.source);
  if (layout.table === null)
    throw new ArtifactError("artifact/not-signed", "The file has no signature to put a timestamp on.", {});
  refuseLooseEnd(layout);
  const cms = (await readOnlyEntry(job.source, layout, new Findings()))!;
  const stamped = withTimestamp(cms, await job.makeToken(valueToStamp(cms)));
  const scan = await scanImage(job.source, layout, [], { copyTo: job.sink, checksum: true });
  await finish(job.sink, layout, scan, stamped);
}

/** Writes what follows the image, and the two header fields that were left zero. */
async function finish(sink: ByteSink, layout: PeLayout, scan: Scan, cms: Uint8Array | null): Promise<void> {
  const table = cms === null ? new Uint8Array(0) : tableOfOne(cms);
  const size = scan.end + table.length;
  if (size > PE_LIMIT)
    throw new ArtifactError(
      "artifact/too-large",
      `With its signature the file would have ${size} bytes, more than a PE file can address.`,
      { size },
    );
  const directory = new Uint8Array(8);
  if (cms !== null) {
    const view = new DataView(directory.buffer);
    view.setUint32(0, scan.end, true);
    view.setUint32(4, table.length, true);
  }
  // The directory may begin at an odd word if the header does; then its bytes fall into the other halves.
  const shifted = new Uint8Array((layout.directoryOffset % 4) + 8);
  shifted.set(directory, layout.directoryOffset % 4);
  const checksum = new Uint8Array(4);
  // Whoever signed it and left 0 found 0.
  if (cms !== null || layout.checksum !== 0) {
    const sum = scan.wordSum + sumWords(shifted) + sumWords(table);
    new DataView(checksum.buffer).setUint32(0, foldChecksum(sum, size) >>> 0, true);
  }
  await sink.truncate(size);
  if (table.length > 0) await sink.write(scan.end, table);
  await sink.write(layout.directoryOffset, directory);
  await sink.write(layout.checksumOffset, checksum);
}
