// From what a build left on disk to an artifact: one pass that copies or packs, and knows every digest at the end.

import { createGzip, createZstdDecompress } from "node:zlib";
import { PassThrough, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { RunningDigests, RunningMerkle } from "../../core/digest.ts";
import { makeDirectories, type Disk, type DiskFile } from "../../core/disk.ts";
import { toHex } from "../../core/bytes.ts";
import { quoteName, showName } from "../../core/raw-name.ts";
import type { Random } from "../../core/random.ts";
import { ReleaseError } from "../../release/errors.ts";
import type { Artifact } from "../../release/manifest.ts";
import { wrongName, type NameRules } from "../../slot/entry-name.ts";
import { EntryGate, type EntryHead } from "../../slot/entry-path.ts";
import { SlotError } from "../../slot/errors.ts";
import { entriesOf } from "../../slot/unpack.ts";
import { isRepacked, recognize, type SourceKind } from "./archive-kind.ts";
import { isCanonicalTar } from "./canonical-tar.ts";
import { zipReader } from "./unpack-zip.ts";
import { PROGRAM_HEAD } from "../../release/program-header.ts";
import { tarEnd, tarHeader, tarPadding } from "../../release/tar-writer.ts";

export type PackedArtifact = Pick<
  Artifact,
  "format" | "length" | "sha256" | "sha512" | "pieceSize" | "merkleRoot" | "unpackedLength"
> & {
  /** Where the bytes wait; to be renamed into place. */
  readonly path: string;
  /** What a file name of this format ends with. */
  readonly suffix: string;
  /** What can be started, by path inside the archive, with its first bytes (none for links); a single file stands under "". */
  readonly programs: ReadonlyMap<string, Uint8Array>;
  /** Executable files without a byte, by path inside the archive. */
  readonly hollow: ReadonlySet<string>;
  /** True when it was packed here, rather than a file taken as it is. */
  readonly packed: boolean;
  /** What a person should know of how the source was taken, null if nothing. */
  readonly note: string | null;
};

export type PackOptions = {
  readonly disk: Disk;
  readonly random: Random;
  /** A folder on the volume of the repository. */
  readonly staging: string;
  readonly pieceSize: number;
  readonly onBytes?: (bytes: number) => void;
  /** Whose devices must be able to write the names inside; absent: all. */
  readonly names?: NameRules;
  /** What a folder becomes; absent: `tar`, which devices make again from what they installed. */
  readonly archive?: "tar" | "tar.gz";
  /** An archive is wanted as the one file that it is. */
  readonly asFile?: boolean;
};

const ANY =
  "Say which platform it is for, such as linux=PATH: then only what those devices can write is asked for.";
const CHUNK = 1 << 20;
/** As many as an agent takes. */
const MAX_ENTRIES = 200_000;

/**
 * A folder becomes our canonical tar, or with `archive` a tar.gz, with the same bytes on every machine; a tar and a tar.zst become a tar.gz; a tar.gz
 * or zip is taken as it is, whatever its name;
 * anything else is a single file. Errors: `release/bad-name`, `release/bad-archive`, `release/empty` and `slot/*` for what no device would
 * unpack, `disk/*`.
 */
export async function packArtifact(source: string, options: PackOptions): Promise<PackedArtifact> {
  const { disk, random, staging, pieceSize } = options;
  await makeDirectories(disk, staging);
  const path = `${staging}/${toHex(random.bytes(8))}.part`;
  const recognized = await recognize(disk, source, options.asFile);
  const { kind } = recognized;
  const stat = await disk.stat(source);
  const { archive = "tar" } = options;
  // A tar that we packed ourselves, to have it signed, is published as it is.
  const ours = kind === "tar" && archive === "tar" && (await isCanonicalTar(disk, source));
  const repacked = isRepacked(kind) && !ours;
  const note = ours ? null : recognized.note;
  const format = formatOf(kind, ours, archive);
  const names = options.names ?? "any";
  const file = await disk.open(path, "create");
  try {
    const sink = sinkTo(file, pieceSize, options.onBytes);
    if (kind === "folder") await packFolder(disk, source, sink, names, format === "tar.gz");
    else if (repacked) await repackTar(disk, source, stat.size, kind === "tar.zst", sink);
    else await copyFile(disk, source, stat.size, sink);
    await file.sync();
    const seen =
      format === "file"
        ? {
            unpackedLength: stat.size,
            programs: new Map([["", await file.read(0, PROGRAM_HEAD)]]),
            entries: stat.size === 0 ? 0 : 1,
            hollow: new Set<string>(),
          }
        : await rehearseUnpacking(disk, path, format, names);
    if (seen.entries === 0) {
      throw new ReleaseError(
        "release/empty",
        `${showName(source)} ${format === "file" ? "is an empty file" : "holds no file"}: there is nothing to release.`,
        { path: source },
        { hint: "Look whether the build that made it failed." },
      );
    }
    return {
      path,
      format,
      packed: repacked,
      note,
      suffix: format === "file" ? "" : `.${format}`,
      pieceSize,
      unpackedLength: seen.unpackedLength,
      programs: seen.programs,
      hollow: seen.hollow,
      ...sink.result(),
    };
  } catch (error) {
    await disk.removeFile(path).catch(() => {});
    throw error;
  } finally {
    await file.close();
  }
}

/** Bytes that `packArtifact` will read, for a progress bar. */
export async function sizeOf(disk: Disk, source: string): Promise<number> {
  const stat = await disk.stat(source);
  if (stat.kind !== "directory") return stat.size;
  let total = 0;
  for (const name of await disk.list(source)) total += await sizeOf(disk, `${source}/${name}`);
  return total;
}

function formatOf(kind: SourceKind, ours: boolean, archive: "tar" | "tar.gz"): Artifact["format"] {
  if (kind === "file" || kind === "zip") return kind;
  if (kind === "folder") return archive;
  return ours ? "tar" : "tar.gz";
}

type Sink = {
  put(bytes: Uint8Array): Promise<void>;
  /** Reading progress, which for packing is not the bytes written. */
  readonly seen: (bytes: number) => void;
  result(): Pick<PackedArtifact, "length" | "sha256" | "sha512" | "merkleRoot">;
};

function sinkTo(file: DiskFile, pieceSize: number, onBytes: PackOptions["onBytes"]): Sink {
  const digests = new RunningDigests();
  const merkle = new RunningMerkle(pieceSize);
  return {
    put: async (bytes) => {
      await file.write(digests.length, bytes);
      digests.update(bytes);
      merkle.update(bytes);
    },
    seen: (bytes) => onBytes?.(bytes),
    result: () => ({ length: digests.length, ...digests.digests(), merkleRoot: merkle.rootHex() }),
  };
}

async function* contentOf(disk: Disk, path: string, size: number): AsyncGenerator<Uint8Array> {
  const file = await disk.open(path, "read");
  try {
    for (let at = 0; at < size;) {
      const part = await file.read(at, Math.min(CHUNK, size - at));
      if (part.length === 0) {
        throw new ReleaseError("release/bad-name", `${showName(path)} became shorter while it was read.`, {
          path,
        });
      }
      at += part.length;
      yield part;
    }
  } finally {
    await file.close();
  }
}

async function copyFile(disk: Disk, source: string, size: number, sink: Sink): Promise<void> {
  for await (const part of contentOf(disk, source, size)) {
    await sink.put(part);
    sink.seen(part.length);
  }
}

/** Reads an archive as a device will, without writing: what no device would unpack is refused here already. */
async function rehearseUnpacking(
  disk: Disk,
  path: string,
  kind: "tar" | "tar.gz" | "zip",
  names: NameRules,
): Promise<
  Pick<PackedArtifact, "unpackedLength" | "programs" | "hollow"> & {
    /** Files and links. */
    readonly entries: number;
  }
> {
  const gate = new EntryGate({ bytes: Number.MAX_SAFE_INTEGER, entries: MAX_ENTRIES, names });
  const programs = new Map<string, Uint8Array>();
  const hollow = new Set<string>();
  let [unpackedLength, entries] = [0, 0];
  for await (const entry of entriesOf(disk, path, { kind }, zipReader, () => {})) {
    const name = admitted(gate, entry, names);
    let length = 0;
    const head = new Uint8Array(Math.min(entry.size, PROGRAM_HEAD));
    for await (const part of entry.content) {
      if (length < head.length) head.set(part.subarray(0, head.length - length), length);
      length += part.length;
    }
    unpackedLength += length;
    if (entry.kind !== "directory") entries++;
    if (name !== null && entry.kind === "file" && entry.executable && length === 0) hollow.add(name);
    if (name !== null && (entry.kind === "link" || (entry.kind === "file" && entry.executable)))
      programs.set(name, entry.kind === "link" ? new Uint8Array(0) : head);
  }
  return { unpackedLength, programs, hollow, entries };
}

/** The bytes of the tar stay as they are, and are read as a device reads them afterwards. */
async function repackTar(disk: Disk, source: string, size: number, zstd: boolean, sink: Sink): Promise<void> {
  async function* seen(): AsyncGenerator<Uint8Array> {
    for await (const part of contentOf(disk, source, size)) {
      sink.seen(part.length);
      yield part;
    }
  }
  try {
    await gzipInto(seen(), sink, zstd ? createZstdDecompress() : new PassThrough());
  } catch (cause) {
    if (!/^(?:ZSTD_|Z_)/.test((cause as NodeJS.ErrnoException).code ?? "")) throw cause;
    throw new ReleaseError(
      "release/bad-archive",
      `${showName(source)} is damaged: it cannot be decompressed.`,
      { path: source },
      { cause },
    );
  }
}

/** zlib writes no time and no name, so equal input gives equal bytes. */
async function gzipInto(
  tar: AsyncIterable<Uint8Array>,
  sink: Sink,
  before: NodeJS.ReadWriteStream = new PassThrough(),
): Promise<void> {
  await pipeline(
    Readable.from(tar, { objectMode: false }),
    before,
    createGzip({ level: 9 }),
    async (zipped: AsyncIterable<Uint8Array>) => {
      for await (const part of zipped) await sink.put(part);
    },
  );
}

/** What only devices of another kind could not write is refused with the way out. */
function admitted(gate: EntryGate, head: EntryHead, names: NameRules): string | null {
  try {
    return gate.admit(head);
  } catch (error) {
    const elsewhere = head.path.split("/").some((part) => wrongName(part, "linux") !== null);
    if (!(error instanceof SlotError && error.code === "slot/unsafe-entry") || names !== "any" || elsewhere)
      throw error;
    throw new SlotError(error.code, error.message, error.facts, { hint: ANY });
  }
}

async function packFolder(
  disk: Disk,
  folder: string,
  sink: Sink,
  names: NameRules,
  zipped: boolean,
): Promise<void> {
  // The very rules of an archive, before anything is packed.
  const gate = new EntryGate({ bytes: Number.MAX_SAFE_INTEGER, entries: MAX_ENTRIES, names });
  const admit = (head: EntryHead): void => {
    try {
      admitted(gate, head, names);
    } catch (error) {
      if (!(error instanceof SlotError && error.code === "slot/unsafe-entry")) throw error;
      throw new ReleaseError(
        "release/bad-name",
        `${showName(folder)} cannot be released because of its entry ${quoteName(head.path)}: ${String(error.facts["why"])}.`,
        { path: head.path },
        error.hint === undefined ? {} : { hint: error.hint },
      );
    }
  };
  async function* entries(prefix: string): AsyncGenerator<Uint8Array> {
    for (const name of await disk.list(prefix === "" ? folder : `${folder}/${prefix.slice(0, -1)}`)) {
      const path = `${prefix}${name}`;
      const full = `${folder}/${path}`;
      const stat = await disk.stat(full);
      const head = { path, kind: stat.kind, size: 0, executable: false, target: "" };
      if (stat.kind === "directory") {
        admit({ ...head, kind: stat.kind });
        yield tarHeader({ kind: "directory", path });
        yield* entries(`${path}/`);
      } else if (stat.kind === "file") {
        admit({ ...head, kind: stat.kind });
        yield tarHeader({ kind: "file", path, size: stat.size, executable: (stat.mode & 0o100) !== 0 });
        for await (const part of contentOf(disk, full, stat.size)) {
          sink.seen(part.length);
          yield part;
        }
        yield tarPadding(stat.size);
      } else if (stat.kind === "link") {
        const target = await disk.readLink(full);
        admit({ ...head, kind: stat.kind, target });
        yield tarHeader({ kind: "link", path, target });
      } else {
        throw new ReleaseError(
          "release/bad-name",
          `${quoteName(path)} in ${showName(folder)} is a device, socket or pipe.`,
          { path },
        );
      }
    }
  }
  async function* tar(): AsyncGenerator<Uint8Array> {
    yield* entries("");
    yield tarEnd();
  }
  if (zipped) return gzipInto(tar(), sink);
  for await (const part of tar()) await sink.put(part);
}
