// From what a build left on disk to an artifact: one pass that copies or packs, and knows every digest at the end.

import { createGzip } from "node:zlib";
import { Readable } from "node:stream";
import { RunningDigests, RunningMerkle } from "../../core/digest.ts";
import { makeDirectories, type Disk, type DiskFile, type FileStat } from "../../core/disk.ts";
import { toHex } from "../../core/bytes.ts";
import type { Random } from "../../core/random.ts";
import { ReleaseError } from "../../release/errors.ts";
import { isSlotPath, type Artifact } from "../../release/manifest.ts";
import { EntryGate } from "../../slot/entry-path.ts";
import { entriesOf } from "../../slot/unpack.ts";
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
  /** True when a folder was packed here, rather than a file taken as it is. */
  readonly packed: boolean;
};

export type PackOptions = {
  readonly disk: Disk;
  readonly random: Random;
  /** A folder on the volume of the repository. */
  readonly staging: string;
  readonly pieceSize: number;
  readonly onBytes?: (bytes: number) => void;
};

const CHUNK = 1 << 20;
/** As many as an agent takes. */
const MAX_ENTRIES = 200_000;

/**
 * A folder becomes a tar.gz with the same bytes on every machine; a `.tar.gz`, `.tgz` or `.zip` is taken as an archive;
 * anything else is a single file. Errors: `release/bad-name` and `slot/*` for what no device would unpack, `disk/*`.
 */
export async function packArtifact(source: string, options: PackOptions): Promise<PackedArtifact> {
  const { disk, random, staging, pieceSize } = options;
  await makeDirectories(disk, staging);
  const path = `${staging}/${toHex(random.bytes(8))}.part`;
  const stat = await disk.stat(source);
  const format = formatOf(source, stat);
  const file = await disk.open(path, "create");
  try {
    const sink = sinkTo(file, pieceSize, options.onBytes);
    if (stat.kind === "directory") await packFolder(disk, source, sink);
    else await copyFile(disk, source, stat.size, sink);
    await file.sync();
    const seen =
      format === "file"
        ? {
            unpackedLength: stat.size,
            programs: new Map([["", await file.read(0, PROGRAM_HEAD)]]),
          }
        : await rehearseUnpacking(disk, path, format);
    return {
      path,
      format,
      packed: stat.kind === "directory",
      suffix: format === "file" ? "" : `.${format}`,
      pieceSize,
      ...seen,
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

function formatOf(source: string, stat: FileStat): Artifact["format"] {
  if (stat.kind === "directory") return "tar.gz";
  if (stat.kind !== "file") {
    throw new ReleaseError("release/bad-name", `${source} is neither a file nor a folder.`, { path: source });
  }
  if (/\.(tar\.gz|tgz)$/.test(source)) return "tar.gz";
  return source.endsWith(".zip") ? "zip" : "file";
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
        throw new ReleaseError("release/bad-name", `${path} became shorter while it was read.`, { path });
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
  kind: "tar.gz" | "zip",
): Promise<Pick<PackedArtifact, "unpackedLength" | "programs">> {
  const gate = new EntryGate({ bytes: Number.MAX_SAFE_INTEGER, entries: MAX_ENTRIES });
  const programs = new Map<string, Uint8Array>();
  let unpackedLength = 0;
  for await (const entry of entriesOf(disk, path, { kind }, zipReader, () => {})) {
    const name = gate.admit(entry);
    let length = 0;
    const head = new Uint8Array(Math.min(entry.size, PROGRAM_HEAD));
    for await (const part of entry.content) {
      if (length < head.length) head.set(part.subarray(0, head.length - length), length);
      length += part.length;
    }
    unpackedLength += length;
    if (name !== null && (entry.kind === "link" || (entry.kind === "file" && entry.executable)))
      programs.set(name, entry.kind === "link" ? new Uint8Array(0) : head);
  }
  return { unpackedLength, programs };
}

async function packFolder(disk: Disk, folder: string, sink: Sink): Promise<void> {
  async function* entries(prefix: string): AsyncGenerator<Uint8Array> {
    for (const name of await disk.list(prefix === "" ? folder : `${folder}/${prefix.slice(0, -1)}`)) {
      const path = `${prefix}${name}`;
      if (!isSlotPath(path)) {
        throw new ReleaseError(
          "release/bad-name",
          `${path} has a name that not every device can write; rename it.`,
          { path },
        );
      }
      const full = `${folder}/${path}`;
      const stat = await disk.stat(full);
      if (stat.kind === "directory") {
        yield tarHeader({ kind: "directory", path });
        yield* entries(`${path}/`);
      } else if (stat.kind === "file") {
        yield tarHeader({ kind: "file", path, size: stat.size, executable: (stat.mode & 0o100) !== 0 });
        for await (const part of contentOf(disk, full, stat.size)) {
          sink.seen(part.length);
          yield part;
        }
        yield tarPadding(stat.size);
      } else if (stat.kind === "link") {
        const target = await disk.readLink(full);
        if (!staysInside(path, target)) {
          throw new ReleaseError(
            "release/bad-name",
            `The link ${path} leads out of the folder, to ${target}.`,
            {
              path,
              target,
            },
          );
        }
        yield tarHeader({ kind: "link", path, target });
      } else {
        throw new ReleaseError("release/bad-name", `${path} is a device, socket or pipe.`, { path });
      }
    }
  }
  async function* tar(): AsyncGenerator<Uint8Array> {
    yield* entries("");
    yield tarEnd();
  }
  // zlib writes no time and no name, so equal input gives equal bytes.
  const zipped = Readable.from(tar(), { objectMode: false }).compose(createGzip({ level: 9 }));
  for await (const part of zipped as AsyncIterable<Uint8Array>) await sink.put(part);
}

function staysInside(path: string, target: string): boolean {
  if (target.startsWith("/") || target.includes("\\")) return false;
  let depth = path.split("/").length - 1;
  for (const part of target.split("/")) {
    if (part === "..") depth--;
    else if (part !== "." && part !== "") depth++;
    if (depth < 0) return false;
  }
  return true;
}
