// The appended container: [file][CMS][module_signature][magic], the form in which the Linux kernel signs its modules.

import { concat, toUtf8 } from "../../core/bytes.ts";
import { ArtifactError } from "../errors.ts";
import { readRange, type ByteSource } from "../source.ts";

/** Linux include/linux/module_signature.h: MODULE_SIG_STRING. */
export const TRAILER_MAGIC: Uint8Array = toUtf8("~Module signature appended~\n");
const MAGIC_TEXT = "~Module signature appended~\n";

/** struct module_signature: algo, hash, id_type, signer_len, key_id_len, three zeros, be32 length. */
const INFO_SIZE = 12;
/** PKEY_ID_PKCS7. */
const ID_TYPE_PKCS7 = 2;

/** Everything after the CMS. */
export const TRAILER_SIZE: number = INFO_SIZE + TRAILER_MAGIC.length;

/** A CMS shorter than this holds no signature; a longer one is a store for something else. */
export const MIN_CMS = 64;
export const MAX_CMS: number = 256 * 1024;

/** Where the signature of a file lies: `[0, contentSize)` is what was signed. */
export type Container = { readonly contentSize: number; readonly cms: Uint8Array };

/**
 * Reads the trailer at the very end of the file; null if there is none there or near there.
 * Errors: `artifact/trailing-bytes` (a trailer with something after it), `artifact/doubled-signature` (a trailer before the trailer),
 * `artifact/malformed` (its twelve bytes are not those of a CMS), `artifact/truncated` (it claims more than the file has).
 */
export async function readContainer(source: ByteSource): Promise<Container | null> {
  if (source.size < TRAILER_SIZE + MIN_CMS) return null;
  const tail = await readRange(source, source.size - TRAILER_SIZE, TRAILER_SIZE, "trailer");
  if (!endsWithMagic(tail)) {
    await refuseStrayTrailer(source);
    return null;
  }
  const [algo, hash, idType, signerLength, keyIdLength, a, b, c] = tail;
  if (
    algo !== 0 ||
    hash !== 0 ||
    idType !== ID_TYPE_PKCS7 ||
    signerLength !== 0 ||
    keyIdLength !== 0 ||
    a !== 0 ||
    b !== 0 ||
    c !== 0
  ) {
    throw new ArtifactError(
      "artifact/malformed",
      "The trailer at the end of the file is not one of a CMS signature.",
      { idType: idType ?? -1 },
    );
  }
  const size = new DataView(tail.buffer, tail.byteOffset).getUint32(8, false);
  if (size < MIN_CMS || size > MAX_CMS) {
    throw new ArtifactError(
      "artifact/malformed",
      `The trailer claims a signature of ${size} bytes; ${MIN_CMS} to ${MAX_CMS} are possible.`,
      { size },
    );
  }
  const contentSize = source.size - TRAILER_SIZE - size;
  if (contentSize < 0) {
    throw new ArtifactError(
      "artifact/truncated",
      `The trailer claims a signature of ${size} bytes, more than the file has: its beginning was cut off.`,
      { size, length: source.size },
    );
  }
  const cms = await readRange(source, contentSize, size, "signature");
  const before = Math.min(contentSize, TRAILER_SIZE);
  if (endsWithMagic(await readRange(source, contentSize - before, before, "end of the content"))) {
    throw new ArtifactError(
      "artifact/doubled-signature",
      "The file carries two signatures one behind the other; several signers belong into one, and what an outer one covers of an inner one is ambiguous.",
      { contentSize },
      { hint: "Sign again with --replace from the unsigned file." },
    );
  }
  return { contentSize, cms };
}

/** What follows the content: the CMS and the trailer. */
export function writeContainer(cms: Uint8Array): Uint8Array {
  if (cms.length < MIN_CMS || cms.length > MAX_CMS) {
    throw new ArtifactError(
      "artifact/malformed",
      `A signature of ${cms.length} bytes does not fit into a trailer; ${MIN_CMS} to ${MAX_CMS} are possible.`,
      { size: cms.length },
    );
  }
  const info = new Uint8Array(INFO_SIZE);
  info[2] = ID_TYPE_PKCS7;
  new DataView(info.buffer).setUint32(8, cms.length, false);
  return concat([cms, info, TRAILER_MAGIC]);
}

function endsWithMagic(tail: Uint8Array): boolean {
  const start = tail.length - TRAILER_MAGIC.length;
  return start >= 0 && TRAILER_MAGIC.every((byte, i) => tail[start + i] === byte);
}

/**
 * A trailer that is not at the end means that something was put behind it. Only the last stretch is searched:
 * a program may well contain the magic as a text of its own, therefore the twelve bytes before it must fit as well.
 */
async function refuseStrayTrailer(source: ByteSource): Promise<void> {
  const window = Math.min(source.size, 64 * 1024);
  const from = source.size - window;
  const bytes = Buffer.from(await readRange(source, from, window, "end"));
  for (let at = bytes.indexOf(MAGIC_TEXT); at >= 0; at = bytes.indexOf(MAGIC_TEXT, at + 1)) {
    if (at < INFO_SIZE) continue;
    const info = bytes.subarray(at - INFO_SIZE, at);
    const size = info.readUInt32BE(8);
    const fits = info.subarray(0, 8).equals(Buffer.of(0, 0, ID_TYPE_PKCS7, 0, 0, 0, 0, 0));
    if (fits && size >= MIN_CMS && size <= MAX_CMS && size <= from + at - INFO_SIZE) {
      const after = source.size - (from + at + TRAILER_MAGIC.length);
      throw new ArtifactError(
        "artifact/trailing-bytes",
        `${after} bytes follow the signature: something was appended after signing.`,
        { after },
      );
    }
  }
}
