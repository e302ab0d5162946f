// Signing an ELF file: full form with a manifest in the signed attributes, or plain as the kernel signs its modules.

import { equalBytes, toHex } from "../../core/bytes.ts";
import { encoded } from "../../der/reader.ts";
import { digest, type SigningHash } from "../cms-build.ts";
import { parseSignedData, signedAttribute, type SignedData } from "../cms.ts";
import { digestContent } from "../content-digest.ts";
import { ArtifactError } from "../errors.ts";
import type { ContentToBeSigned, PlainToBeSigned } from "../format.ts";
import type { Rewrite } from "../rewrite.ts";
import { readRange, type ByteSource } from "../source.ts";
import { readContainer, writeContainer, type Container } from "./container.ts";
import { readBuildId, readElfHeader, strippableSections, type ElfHeader } from "./header.ts";
import { MANIFEST_OID, PIECE_SIZE, writeManifest, type ElfIdentity, type Manifest } from "./manifest.ts";

export type ElfSigning = {
  /** Null: nothing but the bytes is signed, in the kernel's form. */
  readonly identity: ElfIdentity | null;
  /** Digests of the content that the signers need. */
  readonly hashes: readonly [SigningHash, ...SigningHash[]];
  /** Makes the CMS. */
  readonly makeSignature: (what: ContentToBeSigned | PlainToBeSigned) => Promise<Uint8Array>;
  /** What to do with a signature that is there: refuse, take its place, or join its signers. */
  readonly mode: "new" | "replace" | "append";
  /** Refuse a file from which `strip` would take something. */
  readonly requireStripped?: boolean;
};

export type SignedElf = {
  readonly rewrite: Rewrite;
  readonly cms: Uint8Array;
  readonly header: ElfHeader;
  readonly manifest: Manifest | null;
  /** Of the content, by the first of the hashes. */
  readonly digest: Uint8Array;
  /** What a person should know: symbols that went out with the file. */
  readonly warnings: readonly string[];
};

/** The plain form is over the bytes themselves, so the file has to fit into memory. */
export const MAX_PLAIN: number = 256 * 1024 * 1024;

/**
 * Reads the file once and signs it. Errors: those of reading the file, `artifact/already-signed`, `artifact/not-stripped`,
 * `artifact/too-large` (plain form), `artifact/bad-manifest`, `artifact/bad-key`, and those of signer and stamp.
 */
export async function signElf(source: ByteSource, signing: ElfSigning): Promise<SignedElf> {
  const container = await readContainer(source);
  if (container !== null && signing.mode === "new") {
    throw new ArtifactError(
      "artifact/already-signed",
      "The file is signed already.",
      {},
      { hint: "--replace takes the signature's place, --append adds a signer to it." },
    );
  }
  const size = container?.contentSize ?? source.size;
  const header = await readElfHeader(source, size);
  const warnings = checkStripped(header, signing.requireStripped === true);
  const { identity } = signing;
  const made =
    identity === null
      ? await plain(source, size, container, signing)
      : await full(source, size, header, container, signing, identity);
  return { rewrite: [{ offset: 0, size }, writeContainer(made.cms)], header, warnings, ...made };
}

/** The file as it was before it was signed. Errors: `artifact/not-signed` and those of reading the file. */
export async function removeFromElf(source: ByteSource): Promise<Rewrite> {
  const container = await readContainer(source);
  if (container === null)
    throw new ArtifactError("artifact/not-signed", "The file is not signed.", { format: "elf" });
  return [{ offset: 0, size: container.contentSize }];
}

function checkStripped(header: ElfHeader, required: boolean): readonly string[] {
  const names = strippableSections(header);
  if (names.length === 0) return [];
  const listed = `${names.slice(0, 4).join(", ")}${names.length > 4 ? ", ..." : ""}`;
  if (required) {
    throw new ArtifactError(
      "artifact/not-stripped",
      `The file still has symbols or debug information (${listed}).`,
      { sections: names.slice(0, 40) },
      {
        hint: "Run strip on it first, then inject an application if there is one, then sign: the signature comes last.",
      },
    );
  }
  return [
    `The file has symbols or debug information (${listed}); stripping it later will remove the signature.`,
  ];
}

type Made = { readonly cms: Uint8Array; readonly manifest: Manifest | null; readonly digest: Uint8Array };

async function plain(
  source: ByteSource,
  size: number,
  container: Container | null,
  signing: ElfSigning,
): Promise<Made> {
  if (container !== null && signing.mode === "append") {
    throw new ArtifactError("artifact/unsupported", "The kernel's form has exactly one signer.", {});
  }
  const [hash] = signing.hashes;
  const content = await readRange(source, 0, size, "content of a plain signature", MAX_PLAIN);
  const cms = await signing.makeSignature({ kind: "plain", format: "elf", hash, content });
  return { cms, manifest: null, digest: digest(hash, content) };
}

async function full(
  source: ByteSource,
  size: number,
  header: ElfHeader,
  container: Container | null,
  signing: ElfSigning,
  identity: ElfIdentity,
): Promise<Made> {
  const beside = container !== null && signing.mode === "append" ? parseSignedData(container.cms) : null;
  const [hash] = signing.hashes;
  const digests = await digestContent(source, size, signing.hashes, PIECE_SIZE);
  const { product, version, release, channel } = identity;
  const buildId = await readBuildId(source, header);
  const manifest: Manifest = {
    product,
    version,
    release,
    os: header.os,
    arch: header.arch,
    ...(channel === undefined ? {} : { channel }),
    ...(buildId === null ? {} : { buildId: toHex(buildId) }),
    length: size,
    merkleRoot: digests.merkleRoot!,
  };
  const der = writeManifest(manifest);
  if (beside !== null) refuseOtherManifest(beside, der);
  const cms = await signing.makeSignature({
    kind: "content",
    format: "elf",
    hash,
    digests,
    manifest: der,
    beside,
  });
  return { cms, manifest, digest: digests.of(hash)! };
}

/** Signers of one file say the same about it. DER has one spelling per manifest, so bytes are compared. */
function refuseOtherManifest(beside: SignedData, mine: Uint8Array): void {
  for (const signer of beside.signers) {
    const theirs = signedAttribute(signer, MANIFEST_OID);
    if (theirs === null || !equalBytes(encoded(theirs), mine)) {
      throw new ArtifactError(
        "artifact/bad-manifest",
        "The signature that is there says something else about the file; signers of one file have to agree on product, version and release.",
        {},
      );
    }
  }
}
