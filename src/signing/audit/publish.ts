// What is derived from the log's entries for others to read: tiles, bundles and the published checkpoint, written behind the log's back.

import { toUtf8 } from "../../core/bytes.ts";
import { removeTree, writeAtomic } from "../../core/disk.ts";
import { storeTile, type LogPlace } from "./files.ts";
import { entryBundle, tilePath, type FullTile } from "./tiles.ts";

/** A checkpoint with the partial tiles of its right edge. */
export type Published = {
  readonly checkpoint: string;
  readonly tiles: readonly (FullTile & { readonly width: number })[];
  readonly bundle: { readonly index: number; readonly entries: readonly Uint8Array[] };
};

/** Steps that may wait to be written before the log waits for them. */
const BEHIND = 64;

/**
 * One step after the other in the order they were given, so that a checkpoint is published after its tiles. Nothing that is
 * acknowledged depends on these files: what a crash keeps from being written is derived again at the next start.
 */
export class TileWriter {
  readonly #place: LogPlace;
  readonly #failed: (error: unknown) => void;
  #chain: Promise<void> = Promise.resolve();
  #behind = 0;
  #error: unknown = null;

  /** `failed` hears of the first error; nothing is written after it. */
  constructor(place: LogPlace, failed: (error: unknown) => void) {
    this.#place = place;
    this.#failed = failed;
  }

  /** Resolves at once unless too much is waiting to be written. */
  room(): Promise<void> {
    return this.#behind < BEHIND ? Promise.resolve() : this.#chain;
  }

  /** Resolves when everything is written. Rejects with the first error there was. */
  async idle(): Promise<void> {
    while (this.#behind > 0) await this.#chain;
    if (this.#error !== null) throw this.#error;
  }

  tile({ level, index, hashes }: FullTile): void {
    this.#then(() => this.#full(tilePath(level, index), hashes));
  }

  bundle(index: number, entries: readonly Uint8Array[]): void {
    this.#then(() => this.#full(tilePath("entries", index), entryBundle(entries)));
  }

  /** tlog-tiles "Partial Tiles": partial tiles exist for every checkpoint that is published. */
  publish({ checkpoint, tiles, bundle }: Published): void {
    this.#then(async () => {
      for (const { level, index, width, hashes } of tiles) {
        await storeTile(this.#place, tilePath(level, index, width), hashes);
      }
      const { index, entries } = bundle;
      if (entries.length > 0)
        await storeTile(this.#place, tilePath("entries", index, entries.length), entryBundle(entries));
      const { disk, folder } = this.#place;
      await writeAtomic(disk, `${folder}/tiles/checkpoint`, toUtf8(checkpoint), 0o600);
    });
  }

  /** tlog-tiles "Partial Tiles": a partial one may go once the full one is there. */
  async #full(path: string, bytes: Uint8Array): Promise<void> {
    await storeTile(this.#place, path, bytes);
    await removeTree(this.#place.disk, `${this.#place.folder}/tiles/${path}.p`);
  }

  #then(step: () => Promise<void>): void {
    this.#behind++;
    this.#chain = this.#chain.then(async () => {
      try {
        if (this.#error === null) await step();
      } catch (error) {
        this.#error = error;
        this.#failed(error);
      } finally {
        this.#behind--;
      }
    });
  }
}
