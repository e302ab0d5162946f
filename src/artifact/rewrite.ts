// A file described as a rewrite of another: literal bytes and ranges to copy, so that large files are never held in memory.

import { copyRange, type ByteSink, type ByteSource } from "./source.ts";

/** A range of the old file. */
export type Range = { readonly offset: number; readonly size: number };
/** Bytes of the new file: given here, or copied from the old one. */
export type Piece = Uint8Array | Range;
export type Rewrite = readonly Piece[];

export function pieceSize(piece: Piece): number {
  return piece instanceof Uint8Array ? piece.length : piece.size;
}

export function rewriteSize(rewrite: Rewrite): number {
  return rewrite.reduce((sum, piece) => sum + pieceSize(piece), 0);
}

/** Writes the new file from its beginning, and cuts the sink off behind it. Errors: `artifact/changed` and the disk's. */
export async function writeRewrite(source: ByteSource, rewrite: Rewrite, sink: ByteSink): Promise<void> {
  let at = 0;
  for (const piece of rewrite) {
    if (piece instanceof Uint8Array) {
      if (piece.length > 0) await sink.write(at, piece);
    } else {
      await copyRange(source, piece.offset, piece.offset + piece.size, sink, at);
    }
    at += pieceSize(piece);
  }
  await sink.truncate(at);
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
