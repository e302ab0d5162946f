// Door `upkeep/artifact`: signs and verifies files by their format. Most programs need `verifyFile` alone.

export { verifyFile } from "./_verify-file.ts";
export { ArtifactError, type ArtifactErrorCode, type Finding } from "../artifact/errors.ts";
export { bytesSource, MemorySink, type ByteSink, type ByteSource } from "../artifact/source.ts";
export { FORMATS, formatOf } from "../artifact/formats.ts";
export type { Format, Region, SignJob, SignOutcome, StampJob, ToBeSigned } from "../artifact/format.ts";
export type { FileReport, SignatureReport, VerifyPolicy } from "../artifact/report.ts";
export { signAuthenticode, withLegacyTimestamp, withTimestamp } from "../artifact/authenticode-sign.ts";
export {
  requestTimestamp,
  type TimestampTransport,
  type TimestampWish,
} from "../artifact/timestamp-request.ts";
export {
  checkPublisher,
  verifyPublisher,
  verifyPublisherBeside,
  type Publisher,
} from "../artifact/publisher.ts";
export { parseCertificate, parseCertificatesPem, type Certificate } from "../der/x509.ts";
export { parseRevocationList } from "../der/crl.ts";
export type { PublisherPin } from "../release/manifest.ts";
export { makeSignature, type SignatureMaker } from "../artifact/make-signature.ts";
export { requireElf, verifyElf, type ElfPolicy, type ElfReport } from "../artifact/elf/verify.ts";
export { checkSelf, checkWholeSelf, type SelfCheck } from "../artifact/elf/self.ts";
export type { ElfExpectation, ElfIdentity, Manifest } from "../artifact/elf/manifest.ts";
export { readDetached, signDetached, verifyDetached } from "../artifact/detached/detached.ts";
export type { ContentSigner, Stamp } from "../artifact/content-sign.ts";
export type { ContentPolicy, ContentReport, SignerReport } from "../artifact/content-verify.ts";
export { readCatalog, writeCatalog, type Catalog, type CatalogMember } from "../artifact/cat/catalog.ts";
export { memberOf, verifyByCatalog } from "../artifact/cat/listed.ts";
