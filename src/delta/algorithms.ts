// The algorithms that make and apply patches, by the name that a release manifest gives them.

import { DeltaError } from "./errors.ts";
import { applyHd1, makeHd1, type Expected } from "./hd1.ts";
import { isHd1 } from "./hd1-format.ts";
import { applyZstd, makeZstd } from "./zstd.ts";

export type Algorithm = {
  /** Errors: `delta/too-large`. */
  readonly make: (old: Uint8Array, target: Uint8Array, onProgress?: (bytes: number) => void) => Uint8Array;
  /**
   * The new file in parts. What was given is right only when the generator ended without an error.
   * Errors: `delta/malformed`, `delta/wrong-base`, `delta/wrong-result`, `delta/too-large`.
   */
  readonly apply: (old: Uint8Array, patch: Uint8Array, expected: Expected) => Generator<Uint8Array>;
};

export const ALGORITHMS = {
  hd1: { make: makeHd1, apply: applyHd1 },
  zstd: { make: makeZstd, apply: applyZstd },
} as const satisfies { readonly [name: string]: Algorithm };
export type AlgorithmName = keyof typeof ALGORITHMS;

export const ALGORITHM_NAMES = Object.keys(ALGORITHMS) as readonly AlgorithmName[];

export function isAlgorithm(name: string): name is AlgorithmName {
  return Object.hasOwn(ALGORITHMS, name);
}

/** Errors: `delta/unknown-algorithm`. */
export function algorithmOf(name: string): Algorithm {
  if (isAlgorithm(name)) return ALGORITHMS[name];
  throw new DeltaError(
    "delta/unknown-algorithm",
    `"${name.slice(0, 40)}" is no algorithm for patches; there are ${ALGORITHM_NAMES.join(" and ")}.`,
    { name: name.slice(0, 40), known: ALGORITHM_NAMES },
  );
}

/** By the first bytes; null if no algorithm begins so. */
export function recognizeAlgorithm(patch: Uint8Array): AlgorithmName | null {
  if (isHd1(patch)) return "hd1";
  // RFC 8878, 3.1.1: the magic number of a frame.
  const zstd = [0x28, 0xb5, 0x2f, 0xfd];
  return zstd.every((byte, i) => patch[i] === byte) ? "zstd" : null;
}
