// Where the bytes of a file come from and go to: random access in bounded pieces, so that 2 GiB need no more memory than 2 KiB.

import { createHash, type Hash } from "node:crypto";
import type { HashName } from "../der/algorithms.ts";
import { ArtifactError } from "./errors.ts";

/** A file to read. `size` is fixed when it is opened. */
export interface ByteSource {
  readonly size: number;
  /**
   * Fills `into` from `position` on and resolves when it is full. The caller stays within `size`.
   * Errors: `artifact/changed` if the file has become shorter, and the disk's.
   */
  read(position: number, into: Uint8Array): Promise<void>;
}

/** A file to write, private to the writer until it is done. */
export interface ByteSink {
  write(position: number, bytes: Uint8Array): Promise<void>;
  /** Cuts the file off, or fills it up with zeros. */
  truncate(size: number): Promise<void>;
}

/** Bytes asked for at a time. */
export const PIECE = 512 * 1024;

export function bytesSource(bytes: Uint8Array): ByteSource {
  return {
    size: bytes.length,
    read: async (position, into) => {
      into.set(bytes.subarray(position, position + into.length));
    },
  };
}

/** A sink in memory, for small files and tests. */
export class MemorySink implements ByteSink {
  #bytes: Uint8Array = new Uint8Array(0);

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    if (position + bytes.length > this.#bytes.length) await this.truncate(position + bytes.length);
    this.#bytes.set(bytes, position);
  }

  async truncate(size: number): Promise<void> {
    const next = new Uint8Array(size);
    next.set(this.#bytes.subarray(0, size));
    this.#bytes = next;
  }
}

/** A small part of a file. Refuses a range outside of it before any memory is taken. Errors: `artifact/malformed`, `artifact/too-large`. */
export async function readRange(
  source: ByteSource,
  position: number,
  length: number,
  what: string,
  limit = 64 * 1024 * 1024,
): Promise<Uint8Array> {
  if (!(position >= 0 && length >= 0 && position + length <= source.size)) {
    throw new ArtifactError(
      "artifact/malformed",
      `The ${what} would reach from ${position} to ${position + length}, outside of the file of ${source.size} bytes.`,
      {
        position,
        length,
        size: source.size,
      },
    );
  }
  if (length > limit)
    throw new ArtifactError("artifact/too-large", `The ${what} has ${length} bytes, more than ${limit}.`, {
      length,
      limit,
    });
  const bytes = new Uint8Array(length);
  if (length > 0) await source.read(position, bytes);
  return bytes;
}

/** The bytes of a range, piece by piece. The same memory is used for every piece: who keeps one has to copy it. */
export async function* pieces(source: ByteSource, from: number, to: number): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(Math.min(PIECE, Math.max(0, to - from)));
  for (let at = from; at < to; at += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, to - at));
    await source.read(at, piece);
    yield piece;
  }
}

/** Digest of a range in constant memory. */
export async function hashRange(
  source: ByteSource,
  from: number,
  to: number,
  algorithm: HashName,
): Promise<Uint8Array> {
  const hash = hasher(algorithm);
  for await (const piece of pieces(source, from, to)) hash.update(piece);
  return new Uint8Array(hash.digest());
}

export function hasher(algorithm: HashName): Hash {
  return createHash(algorithm);
}

/** Copies a range as it is. */
export async function copyRange(
  source: ByteSource,
  from: number,
  to: number,
  sink: ByteSink,
  at: number,
): Promise<void> {
  let position = at;
  for await (const piece of pieces(source, from, to)) {
    await sink.write(position, piece);
    position += piece.length;
  }
}
