// The manifest inside a signature: which product, version and release a file is, for which platform, and the root over its pieces.

import { toHex } from "../../core/bytes.ts";
import { DerError } from "../../der/errors.ts";
import { Fields, parseDer, readOctets, readSmallInteger, readString, expectTag } from "../../der/reader.ts";
import { INTEGER, OCTET_STRING, UTF8_STRING } from "../../der/tags.ts";
import { explicit, integer, octets, sequence, utf8 } from "../../der/writer.ts";
import { ArtifactError } from "../errors.ts";

/**
 * Signed attribute that holds the manifest. The arc is the UUID 226221e2-0ad4-448e-bbda-594e39dc2049 under joint-iso-itu-t(2) uuid(25), X.667;
 * `.1` is this manifest, the other numbers are free.
 */
export const MANIFEST_OID = "2.25.45703284177256667641056190587465375817.1";

/** Of the pieces under the Merkle root. */
export const PIECE_SIZE: number = 1024 * 1024;

export type Manifest = {
  readonly product: string;
  readonly version: string;
  /** Grows with every release of the product; the order of versions in one number. */
  readonly release: number;
  /** `linux`, ...; `any` for a file that is not a program. */
  readonly os: string;
  /** `x64`, ...; `any` for a file that is not a program. */
  readonly arch: string;
  readonly channel?: string;
  /** GNU build id, lower-case hex. */
  readonly buildId?: string;
  /** Bytes that were signed. */
  readonly length: number;
  /** RFC 6962 root over the SHA-256 of pieces of `PIECE_SIZE`, lower-case hex. */
  readonly merkleRoot: string;
};

/** What the publisher says about the file; the rest of the manifest is read from it. */
export type ElfIdentity = {
  readonly product: string;
  readonly version: string;
  readonly release: number;
  readonly channel?: string;
};

/** What a file has to be to be believed. */
export type ElfExpectation = {
  readonly product?: string;
  readonly version?: string;
  /** The lowest release number allowed. */
  readonly minimumRelease?: number;
  /** The platform it is to run on, by Node's names. */
  readonly platform?: { readonly os: string; readonly arch: string };
  readonly requireStripped?: boolean;
};

const NAME = /^[A-Za-z0-9][A-Za-z0-9._+~-]{0,99}$/;
const BUILD_ID = /^([0-9a-f]{2}){4,64}$/;
const FORMAT = 1;

/**
 * DER, one spelling per manifest:
 *
 *     Manifest ::= SEQUENCE {
 *       format INTEGER (1), product UTF8String, version UTF8String, release INTEGER,
 *       os UTF8String, arch UTF8String, length INTEGER, pieceSize INTEGER (1048576), merkleRoot OCTET STRING (SIZE (32)),
 *       channel [0] EXPLICIT UTF8String OPTIONAL, buildId [1] EXPLICIT OCTET STRING OPTIONAL }
 *
 * Errors: `artifact/bad-manifest`.
 */
export function writeManifest(manifest: Manifest): Uint8Array {
  check(manifest);
  return sequence(
    integer(FORMAT),
    utf8(manifest.product),
    utf8(manifest.version),
    integer(manifest.release),
    utf8(manifest.os),
    utf8(manifest.arch),
    integer(manifest.length),
    integer(PIECE_SIZE),
    octets(hex(manifest.merkleRoot)),
    ...(manifest.channel === undefined ? [] : [explicit(0, utf8(manifest.channel))]),
    ...(manifest.buildId === undefined ? [] : [explicit(1, octets(hex(manifest.buildId)))]),
  );
}

/** Errors: `artifact/bad-manifest`. */
export function readManifest(der: Uint8Array): Manifest {
  try {
    const fields = new Fields(parseDer(der));
    const format = readSmallInteger(fields.take(INTEGER));
    if (format !== FORMAT) throw bad(`its format ${format} is not known`);
    const text = (): string => readString(fields.take(UTF8_STRING));
    const number = (): number => readSmallInteger(fields.take(INTEGER));
    const [product, version, release, os, arch, length, pieceSize] = [
      text(),
      text(),
      number(),
      text(),
      text(),
      number(),
      number(),
    ];
    if (pieceSize !== PIECE_SIZE) throw bad(`its pieces have ${pieceSize} bytes`);
    const merkleRoot = toHex(readOctets(fields.take(OCTET_STRING)));
    const channel = fields.optionalExplicit(0);
    const buildId = fields.optionalExplicit(1);
    fields.done();
    const manifest: Manifest = {
      product,
      version,
      release,
      os,
      arch,
      ...(channel === null ? {} : { channel: readString(expectTag(channel, UTF8_STRING)) }),
      ...(buildId === null ? {} : { buildId: toHex(readOctets(buildId)) }),
      length,
      merkleRoot,
    };
    check(manifest);
    return manifest;
  } catch (cause) {
    if (cause instanceof DerError) throw bad("it is not the DER of one", cause);
    throw cause;
  }
}

/** Collects every bad field. */
function check(manifest: Manifest): void {
  const wrong: string[] = [];
  const { product, version, release, os, arch, channel, buildId, length, merkleRoot } = manifest;
  const names = { product, version, os, arch, ...(channel === undefined ? {} : { channel }) };
  for (const [field, value] of Object.entries(names)) if (!NAME.test(value)) wrong.push(field);
  if (!Number.isSafeInteger(release) || release < 0 || release >= 2 ** 48) wrong.push("release");
  if (!Number.isSafeInteger(length) || length < 0 || length >= 2 ** 48) wrong.push("length");
  if (!/^[0-9a-f]{64}$/.test(merkleRoot)) wrong.push("merkleRoot");
  if (buildId !== undefined && !BUILD_ID.test(buildId)) wrong.push("buildId");
  if (wrong.length > 0) throw bad(`not usable: ${wrong.join(", ")}`);
}

function hex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "hex"));
}

function bad(what: string, cause?: unknown): ArtifactError {
  return new ArtifactError(
    "artifact/bad-manifest",
    `The manifest in the signature cannot be used: ${what}.`,
    {},
    { cause },
  );
}
