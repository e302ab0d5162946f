// Merkle proofs of RFC 6962 section 2.1: that an entry is in a tree, and that one tree continues another.

import { equalBytes } from "../../core/bytes.ts";
import { merkleNode, sha256 } from "../../core/digest.ts";

/** Hash of the complete subtree over entries `[index << level, (index + 1) << level)`. */
export type SubtreeHash = (level: number, index: number) => Uint8Array;

/** RFC 6962 2.1: MTH over `[start, end)`; `start` is a multiple of the largest power of two below the width. */
export function rangeHash(read: SubtreeHash, start: number, end: number): Uint8Array {
  const width = end - start;
  if (width === 0) return sha256(new Uint8Array(0));
  const level = Math.round(Math.log2(width));
  if (2 ** level === width && start % width === 0) return read(level, start / width);
  const k = splitPoint(width);
  return merkleNode(rangeHash(read, start, start + k), rangeHash(read, start + k, end));
}

/** RFC 6962 2.1.1: the audit path of entry `index` in a tree of `size` entries, from the leaf's sibling upwards. */
export function inclusionProof(read: SubtreeHash, index: number, size: number): Uint8Array[] {
  const path = (m: number, start: number, end: number): Uint8Array[] => {
    if (end - start === 1) return [];
    const k = splitPoint(end - start);
    return m < k
      ? [...path(m, start, start + k), rangeHash(read, start + k, end)]
      : [...path(m - k, start + k, end), rangeHash(read, start, start + k)];
  };
  return path(index, 0, size);
}

/** RFC 6962 2.1.2: that the tree of `newSize` entries begins with the tree of `oldSize` entries. */
export function consistencyProof(read: SubtreeHash, oldSize: number, newSize: number): Uint8Array[] {
  const sub = (m: number, start: number, end: number, whole: boolean): Uint8Array[] => {
    if (m === end - start) return whole ? [] : [rangeHash(read, start, end)];
    const k = splitPoint(end - start);
    return m <= k
      ? [...sub(m, start, start + k, whole), rangeHash(read, start + k, end)]
      : [...sub(m - k, start + k, end, false), rangeHash(read, start, start + k)];
  };
  return oldSize === 0 || oldSize === newSize ? [] : sub(oldSize, 0, newSize, true);
}

/** RFC 9162 2.1.3.2. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (index >= size || proof.length > 64) return false;
  let [fn, sn] = [BigInt(index), BigInt(size - 1)];
  let hash = leaf;
  for (const p of proof) {
    if (sn === 0n) return false;
    if ((fn & 1n) === 1n || fn === sn) {
      hash = merkleNode(p, hash);
      while ((fn & 1n) === 0n && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      hash = merkleNode(hash, p);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  return sn === 0n && equalBytes(hash, root);
}

/** RFC 9162 2.1.4.2. */
export function verifyConsistency(
  oldSize: number,
  oldRoot: Uint8Array,
  newSize: number,
  newRoot: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (oldSize > newSize || proof.length > 64) return false;
  if (oldSize === newSize) return proof.length === 0 && equalBytes(oldRoot, newRoot);
  if (oldSize === 0) return proof.length === 0;
  const power = Number.isInteger(Math.log2(oldSize)) && 2 ** Math.round(Math.log2(oldSize)) === oldSize;
  const path = power ? [oldRoot, ...proof] : [...proof];
  if (path.length === 0) return false;
  let [fn, sn] = [BigInt(oldSize - 1), BigInt(newSize - 1)];
  while ((fn & 1n) === 1n) [fn, sn] = [fn >> 1n, sn >> 1n];
  let [fr, sr] = [path[0]!, path[0]!];
  for (const c of path.slice(1)) {
    if (sn === 0n) return false;
    if ((fn & 1n) === 1n || fn === sn) {
      [fr, sr] = [merkleNode(c, fr), merkleNode(c, sr)];
      while ((fn & 1n) === 0n && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n];
    } else {
      sr = merkleNode(sr, c);
    }
    [fn, sn] = [fn >> 1n, sn >> 1n];
  }
  return sn === 0n && equalBytes(fr, oldRoot) && equalBytes(sr, newRoot);
}

/** The largest power of two smaller than `width`. */
function splitPoint(width: number): number {
  let k = 1;
  while (k * 2 < width) k *= 2;
  return k;
}
