// What a file format has to offer so that the house can sign and verify it.

import type { SigningHash } from "./cms-build.ts";
import type { PageHash } from "./pe/page-hashes.ts";
import type { FileReport, VerifyPolicy } from "./report.ts";
import type { ByteSink, ByteSource } from "./source.ts";

/** What a signature is to be made over; enough for a signer that never sees the file. */
export type ToBeSigned = {
  readonly kind: "authenticode";
  /** Name of the format. */
  readonly format: string;
  readonly hash: SigningHash;
  /** Of the file, by the format's rules. */
  readonly digest: Uint8Array;
  /** SpcIndirectDataContent, encoded. */
  readonly indirectData: Uint8Array;
  /** Not null for a signature that is added to another one. */
  readonly sequenceNumber: number | null;
};

export type SignJob = {
  readonly source: ByteSource;
  /** Empty and private to the job; the caller moves it into place. */
  readonly sink: ByteSink;
  /** What to do about a signature that is there: refuse, drop it, or add to it. */
  readonly mode: "new" | "replace" | "append";
  readonly hash: SigningHash;
  readonly pageHashes?: PageHash;
  /** Returns a ContentInfo, with its time stamp if there is to be one. */
  makeSignature(what: ToBeSigned): Promise<Uint8Array>;
};

export type SignOutcome = { readonly digest: Uint8Array };

export type StampJob = {
  readonly source: ByteSource;
  readonly sink: ByteSink;
  /** Gets a token over a signature value. */
  makeToken(stamped: Uint8Array): Promise<Uint8Array>;
};

/** A stretch of a file, for pictures. */
export type Region = {
  readonly from: number;
  readonly to: number;
  readonly what: string;
  /** Whether the signature covers it. */
  readonly covered: boolean;
};

export type Format = {
  readonly name: string;
  /** For people: `Windows program (PE)`. */
  readonly title: string;
  /** Lower case, with the dot; for messages and for formats without a mark of their own. */
  readonly extensions: readonly string[];
  /** `head` holds the first 512 bytes, or the whole file if it is shorter; `name` is the file's, lower case. */
  matches(head: Uint8Array, name: string): boolean;
  sign(job: SignJob): Promise<SignOutcome>;
  verify(source: ByteSource, policy: VerifyPolicy): Promise<FileReport>;
  remove(source: ByteSource, sink: ByteSink): Promise<void>;
  stamp(job: StampJob): Promise<void>;
  /** Whether something in the file claims to be a signature. */
  isSigned(source: ByteSource): Promise<boolean>;
  explain(source: ByteSource): Promise<readonly Region[]>;
};
