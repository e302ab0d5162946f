// What a file format has to offer so that the house can sign and verify it.

import type { SigningHash } from "./cms-build.ts";
import type { SignedData } from "./cms.ts";
import type { ContentDigests } from "./content-digest.ts";
import type { ElfIdentity } from "./elf/manifest.ts";
import type { PageHash } from "./pe/page-hashes.ts";
import type { FileReport, VerifyPolicy } from "./report.ts";
import type { ByteSink, ByteSource } from "./source.ts";

/** What a signature is to be made over; enough for a signer that never sees the file, but for the plain kind. */
export type ToBeSigned = AuthenticodeToBeSigned | ContentToBeSigned | PlainToBeSigned;

export type AuthenticodeToBeSigned = {
  readonly kind: "authenticode";
  /** Name of the format. */
  readonly format: string;
  readonly hash: SigningHash;
  /** Of the file, by the format's rules. */
  readonly digest: Uint8Array;
  /** SpcIndirectDataContent, encoded; for another `contentType` the content of that type. */
  readonly indirectData: Uint8Array;
  /** SPC_INDIRECT_DATA unless given. */
  readonly contentType?: string;
  /** Not null for a signature that is added to another one. */
  readonly sequenceNumber: number | null;
};

/** The bytes of a file, in a CMS beside or behind them. */
export type ContentToBeSigned = {
  readonly kind: "content";
  readonly format: string;
  readonly hash: SigningHash;
  readonly digests: ContentDigests;
  /** What the signature is to say about the file, encoded; null for nothing. */
  readonly manifest: Uint8Array | null;
  /** A signature over the same bytes whose signers are kept. */
  readonly beside: SignedData | null;
};

/** The kernel's form: the signature value is over the bytes themselves. */
export type PlainToBeSigned = {
  readonly kind: "plain";
  readonly format: string;
  readonly hash: SigningHash;
  readonly content: Uint8Array;
};

/** What only some formats understand; the others ignore it. */
export type SignOptions = {
  /** ELF: what the publisher says about the file. Without it nothing but the bytes is signed. */
  readonly identity?: ElfIdentity;
  /** ELF: the kernel's form. */
  readonly plain?: boolean;
  /** ELF: refuse a file from which `strip` would take something. */
  readonly requireStripped?: boolean;
  /** MSI: cover names, sizes and times as well (`MsiDigitalSignatureEx`). */
  readonly installerMetadata?: boolean;
};

/** A format that makes one kind of signature only asks for that kind. */
export type SignJob<Kind extends ToBeSigned = ToBeSigned> = {
  readonly source: ByteSource;
  /** Empty and private to the job; the caller moves it into place. */
  readonly sink: ByteSink;
  /** What to do about a signature that is there: refuse, drop it, or add to it. */
  readonly mode: "new" | "replace" | "append";
  readonly hash: SigningHash;
  readonly pageHashes?: PageHash;
  readonly options?: SignOptions;
  /** Returns a ContentInfo, with its time stamp if there is to be one; see `makeSignature` of make-signature.ts. */
  makeSignature(what: Kind): Promise<Uint8Array>;
};

export type SignOutcome = {
  readonly digest: Uint8Array;
  /** What a person should know about the file that was signed. */
  readonly warnings?: readonly string[];
};

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
  /** The digest to sign with if the caller has no wish, by the scheme of the key; SHA-256 if the format does not say. */
  hashFor?(keyScheme: string): SigningHash;
  sign(job: SignJob): Promise<SignOutcome>;
  verify(source: ByteSource, policy: VerifyPolicy): Promise<FileReport>;
  /** Returns what a person should know about the file that is left, one sentence each. */
  remove(source: ByteSource, sink: ByteSink): Promise<readonly string[]>;
  stamp(job: StampJob): Promise<void>;
  /** Whether something in the file claims to be a signature. */
  isSigned(source: ByteSource): Promise<boolean>;
  explain(source: ByteSource): Promise<readonly Region[]>;
};
