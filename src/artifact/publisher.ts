// The second wall: a release names its publisher, and the bytes to be run have to carry that publisher's own signature.

import type { Instant } from "../core/instant.ts";
import { formatName } from "../der/names.ts";
import type { PublisherPin } from "../release/manifest.ts";
import { spkiPin, type Certificate } from "../der/x509.ts";
import { detachedReport, readDetached, verifyDetached } from "./detached/detached.ts";
import { signedAttribute } from "./cms.ts";
import { ArtifactError, type ArtifactErrorCode } from "./errors.ts";
import { MANIFEST_OID, type ElfExpectation } from "./elf/manifest.ts";
import { formatOf } from "./formats.ts";
import type { FileReport, SignatureReport } from "./report.ts";
import type { ByteSource } from "./source.ts";
import type { Revocation } from "./chain.ts";

/** What a publisher check found out, for logs and reports. */
export type Publisher = {
  readonly subject: string;
  readonly signedAt: Instant | null;
  readonly place: string;
};

/**
 * Verifies a file's own signature against a pin. `expect` is what the release says about the file; a Linux program says it too. `roots` come from the caller's trusted metadata, never from the machine.
 * Errors: `artifact/wrong-publisher`, `artifact/not-signed`, `artifact/bad-signature`, `artifact/wrong-product`, `artifact/foreign-architecture`, `artifact/older-release`, and those of the formats.
 */
export async function verifyPublisher(
  source: ByteSource,
  fileName: string,
  pin: PublisherPin,
  now: Instant,
  roots: readonly Certificate[],
  revocation?: Revocation,
  expect?: ElfExpectation,
): Promise<Publisher> {
  const format = await formatOf(source, fileName);
  const report = await format.verify(source, {
    roots,
    now,
    ...(expect === undefined ? {} : { expect }),
    ...(revocation === undefined ? {} : { revocation }),
  });
  return checkPublisher(report, pin);
}

/**
 * As `verifyPublisher`, for an archive with its signature beside it. Errors: as there, and those of `readDetached`.
 */
export async function verifyPublisherBeside(
  source: ByteSource,
  signature: Uint8Array,
  pin: PublisherPin,
  now: Instant,
  roots: readonly Certificate[],
  revocation?: Revocation,
): Promise<Publisher> {
  // A signature that says what program it is about was made inside a file; beside one, nobody would compare what it says.
  if (readDetached(signature).signers.some((signer) => signedAttribute(signer, MANIFEST_OID) !== null)) {
    throw new ArtifactError(
      "artifact/bad-signature",
      "The signature beside the archive was made for the inside of a program: either you are under attack, or the wrong file was published as signature.",
      {},
    );
  }
  const policy = { roots, now, ...(revocation === undefined ? {} : { revocation }) };
  return checkPublisher(detachedReport(await verifyDetached(source, signature, policy)), pin);
}

/** What a signature may say about its file that is not so, each with a refusal of its own. */
const STATEMENTS: readonly ArtifactErrorCode[] = [
  "artifact/wrong-product",
  "artifact/foreign-architecture",
  "artifact/older-release",
];

/** The decision, as a list: signed at all, in order, and one of the valid signatures is the publisher's. */
export function checkPublisher(report: FileReport, pin: PublisherPin): Publisher {
  if (
    pin.subject === undefined &&
    pin.issuer === undefined &&
    pin.eku === undefined &&
    pin.spkiSha256 === undefined
  ) {
    throw new ArtifactError(
      "artifact/wrong-publisher",
      "The pin names no property of the publisher, so any signature would match.",
      {},
    );
  }
  if (!report.signed) {
    throw new ArtifactError(
      "artifact/not-signed",
      "The file carries no signature of its publisher: either you are under attack, or it was published without being signed.",
      {},
    );
  }
  if (!report.valid) {
    const errors = [
      ...report.findings,
      ...report.signatures.flatMap((signature) => signature.findings),
    ].filter((finding) => finding.level === "error");
    // The signature itself comes before what it says.
    const sound = report.signatures.length > 0 && report.signatures.every((signature) => signature.valid);
    const said = STATEMENTS.find((code) => errors.some((finding) => finding.code === code));
    if (sound && said !== undefined) {
      const { message, facts } = errors.find((finding) => finding.code === said)!;
      throw new ArtifactError(said, message, facts ?? {});
    }
    throw new ArtifactError(
      "artifact/bad-signature",
      `The file's signature does not hold: ${errors.map((finding) => finding.message).join(" ")}`,
      { codes: errors.map((finding) => finding.code) },
    );
  }
  const fitting = report.signatures.find((signature) => signature.valid && fits(signature, pin));
  if (fitting === undefined) {
    const found = report.signatures
      .filter((signature) => signature.valid)
      .map((signature) => formatName(signature.path[0]!.subject));
    throw new ArtifactError(
      "artifact/wrong-publisher",
      `The file is signed by ${found.join(" and ")}, not by the publisher that the release names: either you are under attack, or the publisher changed its identity without saying so.`,
      { found },
    );
  }
  return { subject: formatName(fitting.path[0]!.subject), signedAt: fitting.signedAt, place: fitting.place };
}

/**
 * Every member that is given has to fit; of a list, one entry. Names are compared as `formatName` writes them. Certificates are renewed
 * every few months, so the leaf's own digest is no member.
 */
function fits(signature: SignatureReport, pin: PublisherPin): boolean {
  const [leaf] = signature.path;
  if (leaf === undefined) return false;
  if (pin.subject !== undefined && formatName(leaf.subject) !== pin.subject) return false;
  if (pin.issuer !== undefined && formatName(leaf.issuer) !== pin.issuer) return false;
  const purposes = leaf.extensions.extKeyUsage?.purposes ?? [];
  if (pin.eku !== undefined && !pin.eku.some((wanted) => purposes.includes(wanted))) return false;
  const keys = pin.spkiSha256;
  if (keys !== undefined && !signature.path.some((certificate) => keys.includes(spkiPin(certificate))))
    return false;
  return true;
}
