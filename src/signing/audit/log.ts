// The audit log: entries appended in groups, durable before anybody hears of them, then covered by a signed checkpoint.

import { concat, equalBytes, toBase64, toHex, toUtf8 } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { sha256Hex } from "../../core/digest.ts";
import { exists, makeDirectories, writeAtomic, type FileStore, type DiskFile } from "../../core/disk.ts";
import { formatInstant, SECOND } from "../../core/instant.ts";
import { SigningError } from "../errors.ts";
import { signCheckpoint } from "./checkpoint.ts";
import {
  encodeEntry,
  leafOf,
  MAX_ENTRY,
  MAX_INLINE,
  parseEntry,
  type AuditEntry,
  type Blob,
  type EntryBody,
} from "./entry.ts";
import {
  blobPath,
  damaged,
  headPath,
  HEAD_SLOT,
  readEntryBytes,
  readTile,
  SEGMENT,
  segmentPath,
} from "./files.ts";
import type { NoteKey } from "./note.ts";
import { TileWriter } from "./publish.ts";
import { formatReceipt } from "./receipt.ts";
import { readTail, type Tail } from "./tail.ts";
import { TILE_WIDTH, TileTree } from "./tiles.ts";

/** The published checkpoint and partial tiles are renewed at most this often. */
const PUBLISH_EVERY = SECOND;

export type AuditLogPorts = {
  readonly disk: FileStore;
  readonly clock: Clock;
  /** Absolute path of the log's own folder. */
  readonly folder: string;
  readonly key: NoteKey;
  /** Signs with the log key. */
  readonly sign: (message: Uint8Array) => Promise<Uint8Array>;
  /** Called before each group is taken: a moment's wait makes a busy log write fewer and larger groups. */
  readonly gather?: () => Promise<void>;
};

/** `bytes` is the entry's one spelling. */
export type Appended = { readonly entry: AuditEntry; readonly index: number; readonly bytes: Uint8Array };
/** An entry that a checkpoint covers. */
export type Sealed = Appended & { readonly checkpoint: string; readonly size: number };

type Waiting = {
  readonly body: EntryBody;
  readonly appended: (done: Appended) => void;
  readonly sealed: (done: Sealed) => void;
  readonly fail: (error: unknown) => void;
};

/**
 * The append-only log. One writer per folder. Two stages work at a time: while the checkpoint over one group is signed and
 * synced, the entries of the next are written and synced. A checkpoint covers durable entries only.
 */
export class AuditLog {
  readonly #ports: AuditLogPorts;
  readonly #tree: TileTree;
  #file: DiskFile;
  #head: DiskFile;
  #first: number;
  #offset: number;
  #prev: string;
  #bundle: Uint8Array[];
  #slot = 0;
  #waiting: Waiting[] = [];
  #running: Promise<void> | null = null;
  /** Durable entries whose checkpoint is still to come. */
  #unsealed: { readonly waiting: Waiting; readonly done: Appended }[] = [];
  #durable: { readonly size: number; readonly root: Uint8Array };
  #sealing: Promise<void> | null = null;
  readonly #tiles: TileWriter;
  readonly #followers: ((entry: AuditEntry) => void)[] = [];
  #failed: unknown = null;
  #published = -Infinity;
  #checkpoint = "";
  #closed = false;
  #covered: number;

  private constructor(
    ports: AuditLogPorts,
    tree: TileTree,
    at: { file: DiskFile; head: DiskFile; tail: Tail; bundle: Uint8Array[] },
  ) {
    this.#ports = ports;
    this.#tree = tree;
    this.#file = at.file;
    this.#head = at.head;
    this.#first = at.tail.first;
    this.#offset = at.tail.offset;
    this.#prev = at.tail.prev;
    this.#bundle = at.bundle;
    this.#checkpoint = at.tail.head?.note ?? "";
    this.#covered = at.tail.head?.size ?? 0;
    this.#durable = { size: tree.size, root: tree.root() };
    this.#tiles = new TileWriter(ports, (error) => this.#fail(error));
  }

  get size(): number {
    return this.#tree.size;
  }

  /** Entries that `checkpoint` covers. */
  get covered(): number {
    return this.#covered;
  }

  /** The last signed checkpoint, empty before the first. */
  get checkpoint(): string {
    return this.#checkpoint;
  }

  /**
   * Opens or starts the log. A tail that no checkpoint covers was never acknowledged to anybody: complete entries of it
   * are kept, a torn or broken rest is cut off and its length returned as `dropped`.
   * Errors: `signing/log-damaged` when entries that were acknowledged are missing or changed.
   */
  static async open(ports: AuditLogPorts): Promise<{ readonly log: AuditLog; readonly dropped: number }> {
    const { disk, folder, key } = ports;
    await makeDirectories(disk, `${folder}/entries`, 0o700);
    await makeDirectories(disk, `${folder}/blobs`, 0o700);
    const tail = await readTail(disk, folder, key);
    const { head, first, kept, dropped } = tail;

    const tree = new TileTree((level, index) => readTile(disk, folder, level, index));
    const full = Math.floor(kept.length / TILE_WIDTH) * TILE_WIDTH;
    // Full tiles of this segment are derived again: a crash may have come before they were written.
    if (first > 0) await tree.restore(first, []);
    for (const bytes of kept) tree.push(leafOf(bytes));
    const log = new AuditLog(ports, tree, {
      file: await disk.open(segmentPath(folder, first), "write", 0o600),
      head: await disk.open(headPath(folder), "write", 0o600),
      tail,
      bundle: kept.slice(full),
    });
    if (dropped > 0) {
      await log.#file.truncate(tail.offset);
      await log.#file.sync();
    }
    await disk.syncDirectory(`${folder}/entries`);
    await disk.syncDirectory(folder);
    if (head !== null) {
      const root = await tree.rootAt(head.size);
      if (toHex(root) !== toHex(head.root)) {
        throw new SigningError(
          "signing/log-damaged",
          'The audit log does not lead to its last checkpoint: entries or tiles were changed. Run "audit verify" to name them.',
          { size: head.size },
        );
      }
    }
    for (let i = 0; i + TILE_WIDTH <= kept.length; i += TILE_WIDTH) {
      log.#tiles.bundle((first + i) / TILE_WIDTH, kept.slice(i, i + TILE_WIDTH));
    }
    for (const tile of tree.take()) log.#tiles.tile(tile);
    await log.#tiles.idle();
    return { log, dropped };
  }

  /** `seen` is called for each entry from now on, in order, as soon as it is durable and before anybody else hears of it. */
  follow(seen: (entry: AuditEntry) => void): void {
    this.#followers.push(seen);
  }

  /** Resolves when the entry would survive a power cut. For intents. Errors: `signing/log-closed`. */
  append(body: EntryBody): Promise<Appended> {
    return new Promise((appended, fail) => this.#queue({ body, appended, sealed: () => {}, fail }));
  }

  /** Resolves when a durable signed checkpoint covers the entry. For results. Errors: `signing/log-closed`. */
  seal(body: EntryBody): Promise<Sealed> {
    return new Promise((sealed, fail) => this.#queue({ body, appended: () => {}, sealed, fail }));
  }

  /**
   * An entry that was appended before, read back and checked against the tree. Errors: `signing/log-damaged` when the files hold another
   * one by now, `schema/invalid`.
   */
  async entry(n: number): Promise<Appended> {
    const { disk, folder } = this.#ports;
    const recent = n - (this.size - this.#bundle.length);
    const bytes = recent >= 0 ? this.#bundle[recent] : await readEntryBytes(disk, folder, n);
    if (bytes === undefined || bytes === null) throw damaged(n, "it is missing");
    if (!equalBytes(leafOf(bytes), await this.#tree.leaf(n))) throw damaged(n, "it was changed");
    return { entry: parseEntry(bytes), index: n, bytes };
  }

  /** Root hash over the first `size` entries, and leaf hash of the last of them. */
  async prefix(size: number): Promise<{ readonly root: Uint8Array; readonly last: Uint8Array }> {
    return { root: await this.#tree.rootAt(size), last: await this.#tree.leaf(size - 1) };
  }

  /** What is durable now: every entry of it was shown to `follow`, and none after. */
  get durable(): { readonly size: number; readonly root: Uint8Array } {
    return this.#durable;
  }

  /** A proof that stands alone: the entry, its inclusion proof, the checkpoint (C2SP tlog-proof). */
  async receipt({ bytes, index, checkpoint, size }: Omit<Sealed, "entry">): Promise<string> {
    return formatReceipt({
      entry: bytes,
      index,
      proof: await this.#tree.inclusion(index, size),
      checkpoint,
    });
  }

  /** Keeps a document with the log. A large one is durable in `blobs/` before this returns. */
  async keep(document: Uint8Array): Promise<Blob> {
    const sha256 = sha256Hex(document);
    const blob = { sha256, length: document.length };
    if (document.length <= MAX_INLINE) return { ...blob, inline: toBase64(document) };
    const path = blobPath(this.#ports.folder, sha256);
    if (!(await exists(this.#ports.disk, path))) await writeAtomic(this.#ports.disk, path, document, 0o600);
    return blob;
  }

  /** Waits for what was appended, publishes, and refuses everything after. Rejects if something could not be published. */
  async close(): Promise<void> {
    this.#closed = true;
    for (let stage; (stage = this.#running ?? this.#sealing) !== null;) await stage;
    if (this.#failed === null && this.#covered > 0) this.#publish();
    try {
      await this.#tiles.idle();
    } finally {
      await this.#file.close();
      await this.#head.close();
    }
  }

  #queue(waiting: Waiting): void {
    if (this.#closed || this.#failed !== null) {
      waiting.fail(
        new SigningError(
          "signing/log-closed",
          "The audit log takes no more entries; nothing is signed without it.",
          {},
          { cause: this.#failed ?? undefined },
        ),
      );
      return;
    }
    this.#waiting.push(waiting);
    this.#running ??= this.#run();
  }

  /** First stage: groups of entries become durable. */
  async #run(): Promise<void> {
    await Promise.resolve();
    // Everything that arrives while one group is being synced forms the next group.
    while (this.#waiting.length > 0) {
      await this.#ports.gather?.();
      const group = this.#waiting.splice(0, SEGMENT);
      try {
        await this.#tiles.room();
        if (this.#failed !== null) throw this.#failed as Error;
        await this.#commit(group);
        this.#sealing ??= this.#sealAll();
      } catch (error) {
        for (const waiting of group) waiting.fail(error);
        this.#fail(error);
      }
    }
    // In the same breath as the last look at the queue, so that nothing can slip in between.
    this.#running = null;
  }

  /** Second stage: a checkpoint over everything that is durable by now, until there is nothing left to cover. */
  async #sealAll(): Promise<void> {
    await Promise.resolve();
    while (this.#covered < this.#durable.size && this.#failed === null) {
      const group = this.#unsealed.splice(0);
      try {
        await this.#seal(this.#durable);
        for (const { waiting, done } of group) {
          waiting.sealed({ ...done, checkpoint: this.#checkpoint, size: this.#covered });
        }
        if (this.#ports.clock.monotonic() - this.#published >= PUBLISH_EVERY) this.#publish();
      } catch (error) {
        for (const { waiting } of group) waiting.fail(error);
        this.#fail(error);
      }
    }
    if (this.#failed !== null) this.#fail(this.#failed);
    this.#sealing = null;
  }

  /** A log that failed once is not written again: what is on disk is decided at the next start. */
  #fail(error: unknown): void {
    this.#failed ??= error;
    for (const waiting of this.#waiting.splice(0)) waiting.fail(error);
    for (const { waiting } of this.#unsealed.splice(0)) waiting.fail(error);
  }

  async #commit(group: readonly Waiting[]): Promise<void> {
    const time = formatInstant(this.#ports.clock.now());
    let rest = group;
    const done: Appended[] = [];
    const bundles: { readonly index: number; readonly entries: readonly Uint8Array[] }[] = [];
    while (rest.length > 0) {
      if (this.size - this.#first === SEGMENT) await this.#nextSegment();
      const part = rest.slice(0, this.#first + SEGMENT - this.size);
      rest = rest.slice(part.length);
      const lines: Uint8Array[] = [];
      for (const { body } of part) {
        const entry = { n: this.size, time, prev: this.#prev, ...body } as AuditEntry;
        const bytes = encodeEntry(entry);
        if (bytes.length > MAX_ENTRY || bytes.includes(0x0a)) {
          throw new SigningError(
            "signing/log-closed",
            `An audit entry of ${bytes.length} bytes does not fit the log.`,
          );
        }
        const leaf = leafOf(bytes);
        this.#prev = toHex(leaf);
        this.#tree.push(leaf);
        this.#bundle.push(bytes);
        lines.push(bytes, NEWLINE);
        done.push({ entry, index: entry.n, bytes });
        if (this.#bundle.length === TILE_WIDTH) {
          bundles.push({ index: this.size / TILE_WIDTH - 1, entries: this.#bundle });
          this.#bundle = [];
        }
      }
      const bytes = concat(lines);
      await this.#file.write(this.#offset, bytes);
      this.#offset += bytes.length;
      await this.#file.sync();
    }
    // The tree holds what is on disk now and nothing more: only this stage pushes to it.
    this.#durable = { size: this.size, root: this.#tree.root() };
    for (const { index, entries } of bundles) this.#tiles.bundle(index, entries);
    for (const tile of this.#tree.take()) this.#tiles.tile(tile);
    for (const { entry } of done) for (const seen of this.#followers) seen(entry);
    group.forEach((waiting, i) => {
      waiting.appended(done[i]!);
      this.#unsealed.push({ waiting, done: done[i]! });
    });
  }

  /** Two slots written in turn: a torn write leaves the other one. */
  async #seal({ size, root }: { readonly size: number; readonly root: Uint8Array }): Promise<void> {
    const { key, sign } = this.#ports;
    const note = await signCheckpoint({ origin: key.name, size, root }, key, sign);
    const bytes = toUtf8(note);
    if (bytes.length >= HEAD_SLOT)
      throw new SigningError("signing/log-closed", "The checkpoint does not fit its slot.");
    await this.#head.write(this.#slot * HEAD_SLOT, concat([bytes, new Uint8Array(HEAD_SLOT - bytes.length)]));
    await this.#head.sync();
    this.#slot = 1 - this.#slot;
    this.#checkpoint = note;
    this.#covered = size;
  }

  async #nextSegment(): Promise<void> {
    const { disk, folder } = this.#ports;
    await this.#file.close();
    this.#first = this.size;
    this.#offset = 0;
    this.#file = await disk.open(segmentPath(folder, this.#first), "write", 0o600);
    await disk.syncDirectory(`${folder}/entries`);
  }

  /** The tree may be ahead of the checkpoint by a group. If that group filled a tile, the next checkpoint is published instead. */
  #publish(): void {
    const index = Math.floor(this.#covered / TILE_WIDTH);
    if (index !== Math.floor(this.size / TILE_WIDTH)) return;
    this.#published = this.#ports.clock.monotonic();
    this.#tiles.publish({
      checkpoint: this.#checkpoint,
      tiles: this.#tree.partial(this.#covered),
      bundle: { index, entries: this.#bundle.slice(0, this.#covered % TILE_WIDTH) },
    });
  }
}

const NEWLINE = Uint8Array.of(0x0a);
