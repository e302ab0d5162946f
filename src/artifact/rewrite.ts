// A file described as a rewrite of another: literal bytes and ranges to copy, so that large files are never held in memory.

import { ArtifactError } from "./errors.ts";
import type { ByteSource } from "./source.ts";

/** Bytes of the new file: given here, or copied from the old one. */
export type Piece = Uint8Array | { readonly offset: number; readonly size: number };
export type Rewrite = readonly Piece[];

/** Read and written at a time. */
export const CHUNK: number = 1024 * 1024;

export function rewriteSize(rewrite: Rewrite): number {
  return rewrite.reduce((sum, piece) => sum + (piece instanceof Uint8Array ? piece.length : piece.size), 0);
}

/** The new file, in order, at most `CHUNK` at a time. Errors: `artifact/truncated` if the old one became shorter meanwhile. */
export async function* rewritten(source: ByteSource, rewrite: Rewrite): AsyncGenerator<Uint8Array> {
  for (const piece of rewrite) {
    if (piece instanceof Uint8Array) {
      if (piece.length > 0) yield piece;
    } else {
      yield* readRange(source, piece.offset, piece.size);
    }
  }
}

/** A range of a file, at most `CHUNK` at a time. Errors: `artifact/truncated`. */
export async function* readRange(
  source: ByteSource,
  offset: number,
  size: number,
): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size;) {
    const part = await source.read(offset + at, Math.min(CHUNK, size - at));
    if (part.length === 0) {
      throw new ArtifactError("artifact/truncated", "The file became shorter while it was read.", {
        offset: offset + at,
      });
    }
    yield part;
    at += part.length;
  }
}

/** Joins neighbours, so that a file of many small streams is copied in few reads. */
export function joined(rewrite: Rewrite): Rewrite {
  const out: Piece[] = [];
  for (const piece of rewrite) {
    const last = out[out.length - 1];
    if (
      last !== undefined &&
      !(last instanceof Uint8Array) &&
      !(piece instanceof Uint8Array) &&
      last.offset + last.size === piece.offset
    ) {
      out[out.length - 1] = { offset: last.offset, size: last.size + piece.size };
    } else {
      out.push(piece);
    }
  }
  return out;
}
