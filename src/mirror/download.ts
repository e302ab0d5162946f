// Large files as a stream: resumed from a `.part` beside the goal, from several places, in place only when length and digests fit.

import { createHash } from "node:crypto";
import { DiskError, parentOf, type Disk, type DiskFile } from "../core/disk.ts";
import { sameDigest } from "../core/digest.ts";
import { UpkeepError } from "../core/errors.ts";
import { isTransient } from "./errors.ts";
import { isAbort, mostTelling, pause, type Failure, type RetryTools } from "./fetch.ts";
import { sourceError, type Source } from "./source.ts";

export type Progress = {
  /** Bytes on disk so far, what was resumed included. */
  readonly received: number;
  readonly length: number;
  /** Where the last bytes came from; null for what was there already. */
  readonly source: string | null;
};

export type Download = {
  /** In order of preference. */
  readonly sources: readonly Source[];
  /** Path for `Source.open`. */
  readonly from: string;
  /** Where the file goes; `<to>.part` beside it until it is whole and verified. One download per path at a time. */
  readonly to: string;
  readonly length: number;
  /** All must fit; at least one. */
  readonly digests: readonly (readonly ["sha256" | "sha512", string])[];
  readonly disk: Disk;
  readonly tools: RetryTools;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
};

/**
 * Errors: `mirror/wrong-content` when a source sent the whole file and it does not fit, `disk/full` before the first byte if it cannot fit,
 * other `MirrorError` and `DiskError`. What arrived stays in `<to>.part` unless it is known to be wrong.
 */
export async function downloadFile(download: Download): Promise<void> {
  const { disk, to, length } = download;
  const path = `${to}.part`;
  const part = await disk.open(path, "write", 0o600);
  let kept = 0;
  try {
    const { size } = await disk.stat(path);
    kept = size;
    const room = await disk.free(parentOf(path));
    if (room < length - size) {
      throw new DiskError("disk/full", `${to} needs ${length - size} bytes and the volume has ${room}.`, {
        path: to,
        needed: length - size,
        free: room,
      });
    }
    const state = new Part(part, download);
    try {
      await state.resume(size);
      await fill(download, state);
    } finally {
      kept = state.received;
    }
    await part.sync();
  } catch (error) {
    // Nothing worth resuming: nothing is left behind.
    if (kept === 0) await disk.removeFile(path);
    throw error;
  } finally {
    await part.close();
  }
  await disk.rename(path, to);
  await disk.syncDirectory(parentOf(to));
}

/** Takes bytes from one source after the other until the part is whole and right. */
async function fill(download: Download, part: Part): Promise<void> {
  const { sources, from, length, tools, signal } = download;
  const failures: Failure[] = [];
  let left = sources;
  /** Their compressed forms are not right: nothing signed speaks of these. */
  const plainly = new Set<Source>();
  for (let round = 0; left.length > 0 && round < tools.retry.rounds; round++) {
    if (round > 0) await pause(tools, round, signal);
    const again: Source[] = [];
    for (const source of left) {
      for (;;) {
        signal?.throwIfAborted();
        const before = part.received;
        const form = { compressed: false };
        try {
          if (part.received < length) await take(download, part, source, plainly.has(source) ? null : form);
          if (part.isRight()) return;
          const blamed = part.onlySource;
          await part.restart();
          if (blamed !== null) {
            throw sourceError("mirror/wrong-content", source, from, "its digests are not the signed ones");
          }
          // Some of it was here before or came from elsewhere: once more, all from this source.
        } catch (error) {
          if (!(error instanceof UpkeepError) || error instanceof DiskError || isAbort(error, signal))
            throw error;
          if (form.compressed && !isTransient(error)) {
            // The file itself is asked for before its place is blamed.
            plainly.add(source);
            await part.restart();
            continue;
          }
          failures.push({ source, error });
          if (!isTransient(error)) break;
          // A cut that brought us further is no reason to change the source; a slow one is, however far it got.
          if (error.code !== "mirror/slow" && part.received - before >= WORTH_A_CONNECTION) continue;
          again.push(source);
          break;
        }
      }
    }
    left = again;
  }
  // Nobody is left to ask, but what is there may be whole already.
  if (sources.length === 0 && part.received === length && part.isRight()) return;
  throw mostTelling(failures, from);
}

/** Appends what one source sends. */
async function take(
  download: Download,
  part: Part,
  source: Source,
  form: { compressed: boolean } | null,
): Promise<void> {
  const { from, length, signal, onProgress } = download;
  const opened = await source.open(from, {
    offset: part.received,
    limit: length,
    ...(form === null ? {} : { compressed: "welcome" }),
    ...(signal === undefined ? {} : { signal }),
  });
  if (form !== null) form.compressed = opened.compressed === true;
  if (opened.offset !== part.received) {
    if (opened.offset !== 0)
      throw sourceError("mirror/bad-answer", source, from, "it began elsewhere than asked");
    await part.restart();
  }
  if (opened.length !== null && opened.length !== length) {
    throw sourceError(
      "mirror/wrong-content",
      source,
      from,
      `it is ${opened.length} bytes long instead of ${length}`,
    );
  }
  for await (const bytes of opened.body) {
    if (part.received + bytes.length > length) {
      throw sourceError("mirror/too-long", source, from, `it is longer than the signed ${length} bytes`);
    }
    await part.append(bytes, source);
    onProgress?.({ received: part.received, length, source: source.name });
  }
  if (part.received < length) {
    throw sourceError("mirror/too-short", source, from, `it ended after ${part.received} of ${length} bytes`);
  }
}

/** What the slowest allowed source sends within the window of its rate: with less, cutting would evade the speed floor. */
const WORTH_A_CONNECTION = 32 * 1024;
const READ = 1024 * 1024;

/** The growing file with its running digests. */
class Part {
  received = 0;
  readonly #file: DiskFile;
  readonly #download: Download;
  #hashes: ReturnType<typeof createHash>[];
  /** Everything received so far came from this one source in this run; null if not. */
  #only: Source | null | undefined;

  constructor(file: DiskFile, download: Download) {
    this.#file = file;
    this.#download = download;
    this.#hashes = download.digests.map(([algorithm]) => createHash(algorithm));
  }

  get onlySource(): Source | null {
    return this.#only ?? null;
  }

  /** Hashes what an earlier run left; it is not trusted, the digests at the end decide. */
  async resume(size: number): Promise<void> {
    const { length, signal, onProgress } = this.#download;
    if (size > length) return this.restart();
    if (size > 0) this.#only = null;
    while (this.received < size) {
      signal?.throwIfAborted();
      const bytes = await this.#file.read(this.received, Math.min(READ, size - this.received));
      if (bytes.length === 0) break;
      for (const hash of this.#hashes) hash.update(bytes);
      this.received += bytes.length;
    }
    if (size > 0) onProgress?.({ received: this.received, length, source: null });
  }

  async append(bytes: Uint8Array, source: Source): Promise<void> {
    await this.#file.write(this.received, bytes);
    for (const hash of this.#hashes) hash.update(bytes);
    this.received += bytes.length;
    this.#only = this.#only === undefined || this.#only === source ? source : null;
  }

  isRight(): boolean {
    return (
      this.received === this.#download.length &&
      this.#download.digests.every(([, digest], i) =>
        sameDigest(this.#hashes[i]!.copy().digest("hex"), digest),
      )
    );
  }

  async restart(): Promise<void> {
    await this.#file.truncate(0);
    this.received = 0;
    this.#only = undefined;
    this.#hashes = this.#download.digests.map(([algorithm]) => createHash(algorithm));
  }
}
