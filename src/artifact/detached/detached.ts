// The signature beside a file: a detached CMS in a `.sig`, for formats that must not change.

import { berToDer } from "../../der/ber.ts";
import { DerError } from "../../der/errors.ts";
import { parsePem } from "../../der/pem.ts";
import { parseDer } from "../../der/reader.ts";
import { guarded, parseSignedData, type SignedData } from "../cms.ts";
import { digestContent } from "../content-digest.ts";
import { hashOf, signContent, type ContentSigner, type Stamp } from "../content-sign.ts";
import {
  signatureReports,
  verifyContent,
  type ContentPolicy,
  type ContentReport,
} from "../content-verify.ts";
import { ArtifactError } from "../errors.ts";
import type { FileReport } from "../report.ts";
import type { ByteSource } from "../source.ts";

/** A larger signature is a store for something else. */
export const DETACHED_LIMIT: number = 1024 * 1024;

/** What a signature's name has beyond the name of the file it is about. */
export const DETACHED_SUFFIX = ".sig";

/**
 * Signs all bytes of a file; `beside` is a signature whose signers are kept. DER.
 * Errors: `artifact/bad-key`, `artifact/already-signed`, those of reading the file, the signer and the stamp.
 */
export async function signDetached(
  source: ByteSource,
  signers: readonly ContentSigner[],
  more: { readonly stamp?: Stamp; readonly beside?: Uint8Array } = {},
): Promise<Uint8Array> {
  const digests = await digestContent(source, source.size, signers.map(hashOf));
  const { stamp, beside } = more;
  return signContent({
    digests,
    signers,
    ...(stamp === undefined ? {} : { stamp }),
    ...(beside === undefined ? {} : { beside: readDetached(beside) }),
  });
}

/**
 * Reads a `.sig`: DER, or the same as BER or PEM, as openssl writes them.
 * Errors: `artifact/too-large`, `artifact/bad-signature`.
 */
export function readDetached(bytes: Uint8Array): SignedData {
  if (bytes.length > DETACHED_LIMIT) {
    throw new ArtifactError(
      "artifact/too-large",
      `The signature has ${bytes.length} bytes, more than ${DETACHED_LIMIT}.`,
      { length: bytes.length },
    );
  }
  return parseSignedData(guarded(() => canonical(fromPem(bytes))));
}

/** Reads the whole file. What is wrong is in the findings. Errors: those of `readDetached` and of reading the file. */
export async function verifyDetached(
  source: ByteSource,
  signature: Uint8Array,
  policy: ContentPolicy & { readonly certificates?: readonly ContentSigner["certificate"][] },
): Promise<ContentReport> {
  const signed = readDetached(signature);
  const plain =
    signed.signers.length > 0 && signed.signers.every((signer) => signer.signedAttributes === null);
  const digests = await digestContent(
    source,
    plain ? 0 : source.size,
    signed.signers.map((signer) => signer.digest),
  );
  return verifyContent(
    signed,
    digests,
    policy,
    plain
      ? { source, size: source.size, certificates: [...signed.certificates, ...(policy.certificates ?? [])] }
      : undefined,
  );
}

/** What was found about a file and the signature beside it, in the form of every other file. */
export function detachedReport(report: ContentReport): FileReport {
  return {
    format: "detached",
    signed: true,
    valid: report.believed,
    signatures: signatureReports(report),
    findings: report.findings,
  };
}

function fromPem(bytes: Uint8Array): Uint8Array {
  // "-----"; DER begins with a SEQUENCE.
  if (bytes[0] !== 0x2d) return bytes;
  const blocks = parsePem(Buffer.from(bytes).toString("latin1"));
  const [block, ...others] = blocks;
  if (block === undefined || others.length > 0 || !["CMS", "PKCS7"].includes(block.label)) {
    throw new ArtifactError("artifact/bad-signature", "The PEM does not hold exactly one CMS.", {});
  }
  return block.der;
}

function canonical(bytes: Uint8Array): Uint8Array {
  try {
    parseDer(bytes);
    return bytes;
  } catch (error) {
    if (error instanceof DerError && error.code === "der/not-canonical") return berToDer(bytes);
    throw error;
  }
}
