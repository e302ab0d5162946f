// The algorithm zstd: one frame with the old file as its dictionary, the form that `zstd --patch-from` writes.

import { constants, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { sha256Hex } from "../core/digest.ts";
import { DeltaError, malformed } from "./errors.ts";
import type { Expected } from "./hd1.ts";

/** A dictionary and what it makes are in memory together, and the window covers both. */
const MAX_TOGETHER = 2 ** 30;

/** Errors: `delta/too-large`. */
export function makeZstd(old: Uint8Array, target: Uint8Array): Uint8Array {
  const log = windowLog(old.length, target.length);
  return zstdCompressSync(target, {
    dictionary: old,
    pledgedSrcSize: target.length,
    params: {
      [constants.ZSTD_c_compressionLevel]: 9,
      [constants.ZSTD_c_windowLog]: log,
      // Smaller tables would hold the end of the old file only.
      [constants.ZSTD_c_hashLog]: Math.min(log, 27),
      [constants.ZSTD_c_chainLog]: Math.min(log, 28),
    },
  });
}

/** Errors: `delta/malformed`, `delta/wrong-result`, `delta/too-large`. */
export function* applyZstd(old: Uint8Array, patch: Uint8Array, expected: Expected): Generator<Uint8Array> {
  const log = windowLog(old.length, expected.length);
  let made: Uint8Array;
  try {
    made = zstdDecompressSync(patch, {
      dictionary: old,
      maxOutputLength: Math.max(expected.length, 1),
      params: { [constants.ZSTD_d_windowLogMax]: log },
    });
  } catch (cause) {
    throw malformed("it cannot be decompressed with this old file to the signed length", { cause });
  }
  const found = sha256Hex(made);
  if (made.length !== expected.length || found !== expected.sha256) {
    throw new DeltaError(
      "delta/wrong-result",
      "The patch made another file than the one that is wanted: the old file is damaged, or the patch is wrong.",
      { expected: expected.sha256, found, expectedLength: expected.length, foundLength: made.length },
    );
  }
  yield made;
}

/** The window that covers both files, from their signed lengths and never from the frame. */
function windowLog(oldLength: number, newLength: number): number {
  const together = oldLength + newLength;
  if (together > MAX_TOGETHER) {
    throw new DeltaError(
      "delta/too-large",
      `The algorithm zstd takes two files of at most ${MAX_TOGETHER} bytes together; these have ${together}.`,
      { limit: MAX_TOGETHER, length: together },
    );
  }
  return Math.max(Math.ceil(Math.log2(together + 1)), 17);
}
