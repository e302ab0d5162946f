// What is derived from the log's entries for others to read: tiles, bundles and the published checkpoint, written behind the log's back.

import { toUtf8 } from "../../core/bytes.ts";
import { UpkeepError } from "../../core/errors.ts";
import { removeTree, writeAtomic } from "../../core/disk.ts";
import { storeTile, type LogPlace } from "./files.ts";
import { entryBundle, tilePath, type FullTile } from "./tiles.ts";

/** A checkpoint with the partial tiles of its right edge. */
export type Published = {
  readonly checkpoint: string;
  readonly tiles: readonly (FullTile & { readonly width: number })[];
  readonly bundle: { readonly index: number; readonly entries: readonly Uint8Array[] };
};

/**
 * Partial tiles of one place that are kept: those of the newest checkpoint and of the few before it, which a reader may hold that is
 * reading just now. Each bundle repeats the entries of the ones before, so that all of them together would be many times the log.
 */
const PARTIALS_KEPT = 8;

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
  /** Widths of the partial tiles that are on disk, oldest first, by the path of their full tile. */
  readonly #widths = new Map<string, number[]>();

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
      // Only now does nobody who starts to read need the old ones.
      for (const { level, index, width } of tiles) await this.#prune(tilePath(level, index), width);
      if (entries.length > 0) await this.#prune(tilePath("entries", index), entries.length);
    });
  }

  /** Removes what newer checkpoints of the same tile have replaced. What cannot be removed stays: it harms nobody. */
  async #prune(path: string, newest: number): Promise<void> {
    try {
      await this.#removeOld(path, newest);
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
    }
  }

  async #removeOld(path: string, newest: number): Promise<void> {
    const { disk, folder } = this.#place;
    const place = `${folder}/tiles/${path}.p`;
    // Read once after a start: an earlier run, or an earlier version, may have left many.
    const known = this.#widths.get(path) ?? (await widthsIn(disk, place));
    const widths = [...known.filter((width) => width !== newest), newest];
    const old = widths.splice(0, Math.max(0, widths.length - PARTIALS_KEPT));
    this.#widths.set(path, widths);
    for (const width of old) await disk.removeFile(`${place}/${width}`);
  }

  /** tlog-tiles "Partial Tiles": a partial one may go once the full one is there. */
  async #full(path: string, bytes: Uint8Array): Promise<void> {
    await storeTile(this.#place, path, bytes);
    await removeTree(this.#place.disk, `${this.#place.folder}/tiles/${path}.p`);
    this.#widths.delete(path);
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

async function widthsIn(disk: LogPlace["disk"], place: string): Promise<number[]> {
  const names = await disk.list(place);
  return names.flatMap((name) => (/^\d{1,3}$/.test(name) ? [Number(name)] : [])).toSorted((a, b) => a - b);
}
