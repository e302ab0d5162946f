// Windows installer packages: the two signature streams, and what each of them covers.

import type { Hash } from "node:crypto";
import { compareBytes, concat, toHex } from "../../core/bytes.ts";
import type { HashName } from "../../der/algorithms.ts";
import { ArtifactError } from "../errors.ts";
import type { Range, Rewrite } from "../rewrite.ts";
import { hasher, pieces, readRange, type ByteSource } from "../source.ts";
import { readCompound, type CompoundFile, type Storage, type Stream } from "./compound.ts";
import { writeCompound } from "./compound-write.ts";

export type Installer = {
  readonly file: CompoundFile;
  /** The CMS, if the package is signed. */
  readonly signature: Stream | null;
  /** The digest over names, sizes, classes and times that `MsiDigitalSignatureEx` holds, if there is one. */
  readonly extended: Stream | null;
};

const SIGNATURE_NAME = name("\u0005DigitalSignature");
const EXTENDED_NAME = name("\u0005MsiDigitalSignatureEx");
const MAX_SIGNATURE = 1024 * 1024;

/** Classes of the root: package, patch, transform. Word and Excel documents are compound files as well. */
const CLASSES = ["84", "86", "82"].map((kind) => `${kind}100c0000000000c000000000000046`);

/** Errors: `artifact/malformed`, `artifact/unsupported`. */
export async function readInstaller(source: ByteSource): Promise<Installer> {
  const file = await readCompound(source);
  if (!CLASSES.includes(toHex(file.root.clsid))) {
    throw new ArtifactError(
      "artifact/unsupported",
      "The file is a compound file, but no installer package, patch or transform.",
      { class: toHex(file.root.clsid) },
    );
  }
  const find = (wanted: Uint8Array, limit: number): Stream | null => {
    const found = file.root.children.find((child) => compareBytes(child.name, wanted) === 0);
    if (found === undefined) return null;
    if (found.kind !== "stream" || found.size === 0 || found.size > limit) {
      throw new ArtifactError(
        "artifact/malformed",
        "The package is malformed: what is named as its signature cannot be one.",
        {
          format: "msi",
        },
      );
    }
    return found;
  };
  const [signature, extended] = [find(SIGNATURE_NAME, MAX_SIGNATURE), find(EXTENDED_NAME, 64)];
  if (signature === null && extended !== null) {
    throw new ArtifactError(
      "artifact/malformed",
      "The package is malformed: it has the digest of its names and no signature: somebody removed the signature.",
      { format: "msi" },
    );
  }
  return { file, signature, extended };
}

/** Whole content of a stream that is small by its own limits. */
export async function readStream(source: ByteSource, stream: Stream): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for (const piece of stream.pieces) {
    parts.push(
      piece instanceof Uint8Array
        ? piece
        : await readRange(source, piece.offset, piece.size, "signature stream"),
    );
  }
  return concat(parts);
}

/** Bytes of a stretch that are not zero: what may be hidden there. */
export async function hiddenBytes(source: ByteSource, range: Range): Promise<number> {
  let count = 0;
  for await (const part of pieces(source, range.offset, range.offset + range.size)) {
    for (const byte of part) if (byte !== 0) count++;
  }
  return count;
}

async function* streamParts(source: ByteSource, stream: Stream): AsyncGenerator<Uint8Array> {
  for (const piece of stream.pieces) {
    if (piece instanceof Uint8Array) yield piece;
    else yield* pieces(source, piece.offset, piece.offset + piece.size);
  }
}

/**
 * What Authenticode hashes of a package: with `extended`, first the digest of the metadata;
 * then every storage's streams in the order of their names, then its class. Names, sizes and times alone are covered by `extended` only.
 * Source: measured against osslsigncode, both ways.
 */
export async function installerDigest(
  source: ByteSource,
  installer: Installer,
  algorithm: HashName,
  extended: boolean,
): Promise<Uint8Array> {
  const hash = hasher(algorithm);
  if (extended) hash.update(metadataDigest(installer, algorithm));
  await hashContent(source, installer.file.root, hash, true);
  return new Uint8Array(hash.digest());
}

/** What `MsiDigitalSignatureEx` holds. */
export function metadataDigest(installer: Installer, algorithm: HashName): Uint8Array {
  const hash = hasher(algorithm);
  hashMetadata(installer.file.root, hash, true);
  return new Uint8Array(hash.digest());
}

async function hashContent(source: ByteSource, storage: Storage, hash: Hash, root: boolean): Promise<void> {
  for (const child of hashed(storage, root)) {
    if (child.kind === "storage") await hashContent(source, child, hash, false);
    else for await (const part of streamParts(source, child)) hash.update(part);
  }
  hash.update(storage.clsid);
}

function hashMetadata(storage: Storage, hash: Hash, root: boolean): void {
  if (!root) hash.update(storage.name);
  hash.update(storage.clsid).update(storage.stateBits);
  if (!root) hash.update(storage.times);
  for (const child of hashed(storage, root)) {
    if (child.kind === "storage") {
      hashMetadata(child, hash, false);
    } else {
      const size = new Uint8Array(4);
      new DataView(size.buffer).setUint32(0, child.size, true);
      hash.update(child.name).update(size).update(child.stateBits).update(child.times);
    }
  }
}

/** By the bytes of their names, a name before its continuations; without the signature streams of the root. */
function hashed(storage: Storage, root: boolean): readonly (Stream | Storage)[] {
  return storage.children
    .filter((child) => !root || !isSignature(child))
    .toSorted((a, b) => compareBytes(concat([a.name, ZERO]), concat([b.name, ZERO])));
}

/** One of the two streams that hold the signature and the digest of the metadata. */
export function isSignature(child: Stream | Storage): boolean {
  return compareBytes(child.name, SIGNATURE_NAME) === 0 || compareBytes(child.name, EXTENDED_NAME) === 0;
}

/** The package with this signature and no other. `extended` is `metadataDigest` or null. */
export function attachToInstaller(
  installer: Installer,
  cms: Uint8Array,
  extended: Uint8Array | null,
): Rewrite {
  const stream = (streamName: Uint8Array, bytes: Uint8Array): Stream => ({
    kind: "stream",
    name: streamName,
    clsid: new Uint8Array(16),
    stateBits: new Uint8Array(4),
    times: new Uint8Array(16),
    size: bytes.length,
    pieces: [bytes],
  });
  return withRoot(installer, [
    stream(SIGNATURE_NAME, cms),
    ...(extended === null ? [] : [stream(EXTENDED_NAME, extended)]),
  ]);
}

/** The package without any signature. Its contents are as before; their places in the file may not be. */
export function removeFromInstaller(installer: Installer): Rewrite {
  return withRoot(installer, []);
}

function withRoot(installer: Installer, more: readonly Stream[]): Rewrite {
  const { root, majorVersion } = installer.file;
  const children = [...root.children.filter((child) => !isSignature(child)), ...more];
  return writeCompound({ majorVersion, root: { ...root, children }, unowned: [] });
}

const ZERO = new Uint8Array(2);

function name(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "utf16le"));
}
