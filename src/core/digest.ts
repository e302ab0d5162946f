// Digests: SHA-256 and SHA-512 of bytes and streams, and the RFC 6962 Merkle root over pieces.

import { createHash, hash, type Hash } from "node:crypto";
import { equalBytes, fromHex, toHex } from "./bytes.ts";

export type DigestAlgorithm = "sha256" | "sha512";

/** Both digests that a signed description of a file carries, lower-case hex. */
export type Digests = { readonly sha256: string; readonly sha512: string };

export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(hash("sha256", bytes, "buffer"));
}

export function sha512(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(hash("sha512", bytes, "buffer"));
}

export function sha256Hex(bytes: Uint8Array): string {
  return hash("sha256", bytes, "hex");
}

export function sha512Hex(bytes: Uint8Array): string {
  return hash("sha512", bytes, "hex");
}

export function digestsOf(bytes: Uint8Array): Digests {
  return { sha256: sha256Hex(bytes), sha512: sha512Hex(bytes) };
}

/** Running length, SHA-256 and SHA-512 of one stream. */
export class RunningDigests {
  readonly #sha256: Hash = createHash("sha256");
  readonly #sha512: Hash = createHash("sha512");
  length = 0;

  update(part: Uint8Array): void {
    this.#sha256.update(part);
    this.#sha512.update(part);
    this.length += part.length;
  }

  /** May be called once. */
  digests(): Digests {
    return { sha256: this.#sha256.digest("hex"), sha512: this.#sha512.digest("hex") };
  }
}

/** Constant-time comparison of lower-case hex digests. */
export function sameDigest(a: string, b: string): boolean {
  return equalBytes(fromHex(a), fromHex(b));
}

/** RFC 6962 section 2.1: leaf hash = SHA-256(0x00 || piece). */
export function merkleLeaf(piece: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(LEAF).update(piece).digest());
}

/** RFC 6962 section 2.1: node hash = SHA-256(0x01 || left || right). */
export function merkleNode(left: Uint8Array, right: Uint8Array): Uint8Array {
  // One call over a joined buffer costs a third less than a hash object fed three times.
  const joined = new Uint8Array(1 + left.length + right.length);
  joined[0] = 1;
  joined.set(left, 1);
  joined.set(right, 1 + left.length);
  return sha256(joined);
}

/**
 * RFC 6962 Merkle tree hash over leaf hashes, each made with `merkleLeaf`.
 * The left subtree is always the largest power of two, which is the same as carrying an odd last node upwards.
 */
export function merkleRoot(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return sha256(new Uint8Array(0));
  let level: readonly Uint8Array[] = leaves;
  while (level.length > 1) {
    const next: Uint8Array[] = [];
    for (let i = 0; i + 1 < level.length; i += 2) next.push(merkleNode(level[i]!, level[i + 1]!));
    if (level.length % 2 === 1) next.push(level[level.length - 1]!);
    level = next;
  }
  return level[0]!;
}

/** Merkle root over fixed-size pieces, fed as a stream of parts of any size. */
export class RunningMerkle {
  readonly #pieceSize: number;
  readonly #leaves: Uint8Array[] = [];
  #hash: Hash | undefined;
  #filled = 0;

  constructor(pieceSize: number) {
    this.#pieceSize = pieceSize;
  }

  update(part: Uint8Array): void {
    let rest = part;
    while (rest.length > 0) {
      this.#hash ??= createHash("sha256").update(LEAF);
      const take = rest.subarray(0, this.#pieceSize - this.#filled);
      this.#hash.update(take);
      this.#filled += take.length;
      rest = rest.subarray(take.length);
      if (this.#filled === this.#pieceSize) this.#close();
    }
  }

  /** The leaf hashes; call once, after the last update. */
  leaves(): readonly Uint8Array[] {
    if (this.#filled > 0) this.#close();
    return this.#leaves;
  }

  rootHex(): string {
    return toHex(merkleRoot(this.leaves()));
  }

  #close(): void {
    this.#leaves.push(new Uint8Array(this.#hash!.digest()));
    this.#hash = undefined;
    this.#filled = 0;
  }
}

const LEAF = Uint8Array.of(0);
