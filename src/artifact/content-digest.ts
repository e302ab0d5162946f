// The digests of a stretch of a file, all of them in one pass, in constant memory.

import { RunningMerkle } from "../core/digest.ts";
import type { HashName } from "../der/algorithms.ts";
import { hasher, pieces, type ByteSource } from "./source.ts";

export type ContentDigests = {
  /** Bytes that were read. */
  readonly length: number;
  /** The digest by that algorithm; null if it was not asked for. */
  readonly of: (algorithm: HashName) => Uint8Array | null;
  /** Lower-case hex; null if it was not asked for. */
  readonly merkleRoot: string | null;
};

/** Reads `[0, length)` once. `pieceSize` asks for the Merkle root over pieces of that size. Errors: `artifact/changed` and the disk's. */
export async function digestContent(
  source: ByteSource,
  length: number,
  algorithms: readonly HashName[],
  pieceSize?: number,
): Promise<ContentDigests> {
  const running = new Map([...new Set(algorithms)].map((algorithm) => [algorithm, hasher(algorithm)]));
  const merkle = pieceSize === undefined ? null : new RunningMerkle(pieceSize);
  for await (const piece of pieces(source, 0, length)) {
    for (const hash of running.values()) hash.update(piece);
    merkle?.update(piece);
  }
  const done = new Map([...running].map(([algorithm, hash]) => [algorithm, new Uint8Array(hash.digest())]));
  return {
    length,
    of: (algorithm) => done.get(algorithm) ?? null,
    merkleRoot: merkle === null ? null : merkle.rootHex(),
  };
}
