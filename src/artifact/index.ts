// Door of the artifact room: sign and verify files, by format.
export { ArtifactError, type ArtifactErrorCode, type Finding } from "./errors.ts";
export { bytesSource, MemorySink, type ByteSink, type ByteSource } from "./source.ts";
export { FORMATS, formatOf } from "./formats.ts";
export type { Format, Region, SignJob, SignOutcome, StampJob, ToBeSigned } from "./format.ts";
export type { FileReport, SignatureReport, VerifyPolicy } from "./report.ts";
export { signAuthenticode, withLegacyTimestamp, withTimestamp } from "./authenticode-sign.ts";
export { requestTimestamp, type TimestampTransport, type TimestampWish } from "./timestamp-request.ts";
export { checkPublisher, verifyPublisher, type Publisher } from "./publisher.ts";
export { parseCertificate, parseCertificatesPem, type Certificate } from "../der/x509.ts";
export { parseRevocationList } from "../der/crl.ts";
export type { PublisherPin } from "../release/manifest.ts";
