// The Merkle tree of the audit log as tiles of 256 hashes (C2SP tlog-tiles), its right edge kept in memory.

import { concat } from "../../core/bytes.ts";
import { merkleNode, sha256 } from "../../core/digest.ts";
import { SigningError } from "../errors.ts";
import { consistencyProof, inclusionProof, rangeHash } from "./proof.ts";

export const TILE_WIDTH = 256;
const HASH = 32;
const CACHED = 64;

/** tlog-tiles "Merkle Tree": index 1234067 is `x001/x234/067`. */
export function tilePath(level: number | "entries", index: number, width = TILE_WIDTH): string {
  let rest = Math.floor(index / 1000);
  let path = three(index % 1000);
  for (; rest > 0; rest = Math.floor(rest / 1000)) path = `x${three(rest % 1000)}/${path}`;
  return `tile/${level}/${path}${width === TILE_WIDTH ? "" : `.p/${width}`}`;
}

function three(n: number): string {
  return String(n).padStart(3, "0");
}

/** tlog-tiles "Log entries": big-endian uint16 length, then the entry. */
export function entryBundle(entries: readonly Uint8Array[]): Uint8Array {
  return concat(entries.flatMap((entry) => [Uint8Array.of(entry.length >> 8, entry.length & 0xff), entry]));
}

/** The entry at `at` of a bundle, or null if the bundle is not one or ends before it. */
export function bundledEntry(bundle: Uint8Array, at: number): Uint8Array | null {
  let start = 0;
  for (let i = 0; start + 2 <= bundle.length; i++) {
    const end = start + 2 + ((bundle[start]! << 8) | bundle[start + 1]!);
    if (end > bundle.length) return null;
    if (i === at) return bundle.subarray(start + 2, end);
    start = end;
  }
  return null;
}

/** One tile with every subtree hash inside it: `#levels[0]` are its hashes, `#levels[8]` its root. */
class Tile {
  readonly #levels: readonly Uint8Array[] = Array.from(
    { length: 9 },
    (_, level) => new Uint8Array((TILE_WIDTH >> level) * HASH),
  );

  static of(hashes: Uint8Array): Tile {
    const tile = new Tile();
    for (let i = 0; i * HASH < hashes.length; i++) tile.set(i, hashes.subarray(i * HASH, (i + 1) * HASH));
    return tile;
  }

  /** In order; completes the subtrees that end here. */
  set(index: number, hash: Uint8Array): void {
    let [at, value] = [index, hash];
    for (let level = 0; ; level++) {
      this.#levels[level]!.set(value, at * HASH);
      if (at % 2 === 0 || level === 8) return;
      value = merkleNode(this.get(level, at - 1), value);
      at = (at - 1) / 2;
    }
  }

  get(level: number, index: number): Uint8Array {
    return this.#levels[level]!.subarray(index * HASH, (index + 1) * HASH);
  }

  hashes(width = TILE_WIDTH): Uint8Array {
    return this.#levels[0]!.slice(0, width * HASH);
  }
}

export type FullTile = { readonly level: number; readonly index: number; readonly hashes: Uint8Array };

/** Reads a full tile that was handed out by `take` before. */
export type ReadTile = (level: number, index: number) => Promise<Uint8Array>;

/** A growing tree. Full tiles are handed out once, to be stored, and read back when an old proof needs them. */
export class TileTree {
  #size = 0;
  /** Per level: the partial tile at the right edge. */
  readonly #edge: Tile[] = [];
  readonly #full: FullTile[] = [];
  readonly #cache = new Map<string, Tile>();
  readonly #read: ReadTile;

  constructor(read: ReadTile) {
    this.#read = read;
  }

  get size(): number {
    return this.#size;
  }

  push(leaf: Uint8Array): void {
    this.#pushAt(0, leaf, Math.floor(this.#size / TILE_WIDTH));
    this.#size++;
  }

  #pushAt(level: number, hash: Uint8Array, tileIndex: number): void {
    const tile = (this.#edge[level] ??= new Tile());
    const at = Math.floor(this.#size / TILE_WIDTH ** level) % TILE_WIDTH;
    tile.set(at, hash);
    if (at + 1 < TILE_WIDTH) return;
    this.#full.push({ level, index: tileIndex, hashes: tile.hashes() });
    this.#keep(`${level}/${tileIndex}`, tile);
    this.#edge[level] = new Tile();
    this.#pushAt(level + 1, tile.get(8, 0), Math.floor(tileIndex / TILE_WIDTH));
  }

  /** Full tiles since the last call. */
  take(): readonly FullTile[] {
    return this.#full.splice(0);
  }

  /** The partial tiles of a size in the last tile, for publishing. */
  partial(size = this.#size): readonly (FullTile & { readonly width: number })[] {
    const tiles: (FullTile & { width: number })[] = [];
    for (let level = 0; TILE_WIDTH ** level <= size; level++) {
      const hashes = Math.floor(size / TILE_WIDTH ** level);
      const width = hashes % TILE_WIDTH;
      const index = Math.floor(hashes / TILE_WIDTH);
      if (width === 0) continue;
      tiles.push({ level, index, width, hashes: this.#edge[level]!.hashes(width) });
    }
    return tiles;
  }

  /**
   * Starts from stored full tiles instead of leaves: `leaves` are those of the last, partial tile.
   * `read` must answer for every full tile below `size`.
   */
  async restore(size: number, leaves: readonly Uint8Array[]): Promise<void> {
    this.#size = size;
    for (let level = 0; TILE_WIDTH ** level <= size; level++) {
      const hashes = Math.floor(size / TILE_WIDTH ** level);
      const width = hashes % TILE_WIDTH;
      const tile = new Tile();
      for (let i = 0; i < width; i++) {
        const below = hashes - width + i;
        tile.set(i, level === 0 ? leaves[i]! : Tile.of(await this.#read(level - 1, below)).get(8, 0));
      }
      this.#edge[level] = tile;
    }
  }

  root(): Uint8Array {
    if (this.#size === 0) return sha256(new Uint8Array(0));
    // The complete subtrees that the size's binary digits name, right to left.
    let root: Uint8Array | null = null;
    let rest = this.#size;
    for (let bit = 1; bit <= this.#size; bit *= 2) {
      if (Math.floor(rest / bit) % 2 === 0) continue;
      const level = Math.round(Math.log2(bit));
      rest -= bit;
      const hash = this.#subtree(level, rest / bit);
      root = root === null ? hash : merkleNode(hash, root);
    }
    return root!;
  }

  /** The hash of one entry. */
  async leaf(index: number): Promise<Uint8Array> {
    await this.#load([index], this.#size);
    return this.#subtree(0, index);
  }

  async inclusion(index: number, size = this.#size): Promise<readonly Uint8Array[]> {
    await this.#load([index, size - 1, size], size);
    return inclusionProof(this.#subtree, index, size);
  }

  async consistency(oldSize: number, newSize = this.#size): Promise<readonly Uint8Array[]> {
    await this.#load([oldSize - 1, oldSize, newSize - 1], newSize);
    return consistencyProof(this.#subtree, oldSize, newSize);
  }

  /** Root of an earlier size. */
  async rootAt(size: number): Promise<Uint8Array> {
    await this.#load([size - 1], size);
    return rangeHash(this.#subtree, 0, size);
  }

  readonly #subtree = (level: number, index: number): Uint8Array => {
    const tileLevel = Math.floor(level / 8);
    const inTile = level % 8;
    const perTile = TILE_WIDTH / 2 ** inTile;
    const tileIndex = Math.floor(index / perTile);
    const tile =
      tileIndex === this.#edgeIndex(tileLevel)
        ? this.#edge[tileLevel]
        : this.#cache.get(`${tileLevel}/${tileIndex}`);
    if (tile === undefined) {
      throw new SigningError(
        "signing/bad-proof",
        `The tile ${tileLevel}/${tileIndex} of the audit log was not loaded.`,
        {
          level: tileLevel,
          index: tileIndex,
        },
      );
    }
    return tile.get(inTile, index % perTile);
  };

  #edgeIndex(tileLevel: number): number {
    return Math.floor(this.#size / TILE_WIDTH ** (tileLevel + 1));
  }

  /** Proof nodes lie in the tiles on the way from these leaves to the top. */
  async #load(leaves: readonly number[], size: number): Promise<void> {
    for (const leaf of leaves) {
      if (leaf < 0) continue;
      for (let level = 0; TILE_WIDTH ** level <= size; level++) {
        const index = Math.floor(leaf / TILE_WIDTH ** (level + 1));
        const name = `${level}/${index}`;
        if (index >= this.#edgeIndex(level) || this.#cache.has(name)) continue;
        this.#keep(name, Tile.of(await this.#read(level, index)));
      }
    }
  }

  #keep(name: string, tile: Tile): void {
    this.#cache.set(name, tile);
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= CACHED) break;
      this.#cache.delete(oldest);
    }
  }
}
