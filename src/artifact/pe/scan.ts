// One pass over a PE image: digests, checksum, and a copy, each byte read once.

import type { HashName } from "../../der/algorithms.ts";
import { hasher, pieces, type ByteSink, type ByteSource } from "../source.ts";
import { align8, imageEnd, type PeLayout } from "./layout.ts";

export type Scan = {
  readonly digests: ReadonlyMap<HashName, Uint8Array>;
  /** Sum of the 16-bit words up to `end`, with checksum and certificate directory taken as zero; see `foldChecksum`. */
  readonly wordSum: number;
  /** End of the image, padded to 8. */
  readonly end: number;
};

/**
 * Authenticode's image digest: everything up to the certificate table except the checksum and the certificate directory;
 * an unsigned file whose length is no multiple of 8 counts as padded with zeros. With a sink, the image is copied with these
 * two fields set to zero and the padding written out, so that what was hashed is what was written.
 */
export async function scanImage(
  source: ByteSource,
  layout: PeLayout,
  hashes: Iterable<HashName>,
  options: { readonly copyTo?: ByteSink; readonly checksum?: boolean; readonly padded?: boolean } = {},
): Promise<Scan> {
  const running = [...new Set(hashes)].map((name) => ({ name, hash: hasher(name) }));
  const imageStop = imageEnd(layout);
  const end = options.padded === false ? imageStop : align8(imageStop);
  const holes = [
    [layout.checksumOffset, layout.checksumOffset + 4],
    [layout.directoryOffset, layout.directoryOffset + 8],
  ] as const;
  let wordSum = 0;
  let position = 0;
  for await (const piece of pieces(source, 0, imageStop)) {
    let from = 0;
    for (const [start, stop] of holes) {
      const [a, b] = [clamp(start - position, piece.length), clamp(stop - position, piece.length)];
      if (a >= b) continue;
      for (const { hash } of running) hash.update(piece.subarray(from, a));
      piece.fill(0, a, b);
      from = b;
    }
    for (const { hash } of running) hash.update(from === 0 ? piece : piece.subarray(from));
    if (options.checksum === true) wordSum += sumWords(piece);
    if (options.copyTo !== undefined) await options.copyTo.write(position, piece);
    position += piece.length;
  }
  const padding = new Uint8Array(end - imageStop);
  if (padding.length > 0) {
    for (const { hash } of running) hash.update(padding);
    if (options.copyTo !== undefined) await options.copyTo.write(imageStop, padding);
  }
  return {
    digests: new Map(running.map(({ name, hash }) => [name, new Uint8Array(hash.digest())])),
    wordSum,
    end,
  };
}

/**
 * Sum of little-endian 16-bit words, an odd last byte filled up with zero. Modulo 2^16 - 1 the sum of 32-bit words is the same,
 * and a double holds the sum of 2^21 of them, so that one addition does for four bytes.
 */
export function sumWords(bytes: Uint8Array): number {
  const words =
    bytes.byteOffset % 4 === 0 ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2) : null;
  let sum = 0;
  let at = 0;
  if (words !== null) {
    const n = words.length & ~3;
    let [a, b, c, d] = [0, 0, 0, 0];
    for (let i = 0; i < n; i += 4) {
      a += words[i]!;
      b += words[i + 1]!;
      c += words[i + 2]!;
      d += words[i + 3]!;
    }
    sum = a + b + c + d;
    at = n * 4;
  }
  for (; at < bytes.length; at++) sum += (at & 1) === 0 ? bytes[at]! : bytes[at]! * 256;
  return fold(sum);
}

/** The PE checksum of a file of `size` bytes from the sum of its words. Source: ImageHlp's CheckSumMappedFile. */
export function foldChecksum(wordSum: number, size: number): number {
  return fold(wordSum) + size;
}

function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return folded;
}

function clamp(value: number, length: number): number {
  return Math.min(Math.max(value, 0), length);
}

/** The checksum of the file as it is, its two signed fields included. */
export async function checksumOf(source: ByteSource, layout: PeLayout): Promise<number> {
  let sum = 0;
  let position = 0;
  for await (const piece of pieces(source, 0, source.size)) {
    const [a, b] = [
      clamp(layout.checksumOffset - position, piece.length),
      clamp(layout.checksumOffset + 4 - position, piece.length),
    ];
    if (a < b) piece.fill(0, a, b);
    sum += sumWords(piece);
    position += piece.length;
  }
  return foldChecksum(sum, source.size) >>> 0;
}
