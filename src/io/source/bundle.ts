// An offline bundle, or a folder, as a source: a copy of a repository that somebody carried here. Nothing in it is trusted.

import { createHash } from "node:crypto";
import { concat, equalBytes, fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { statOrNull, type Disk, type DiskFile } from "../../core/disk.ts";
import { checkPath, sourceError, type Opened, type OpenOptions, type Source } from "../../mirror/source.ts";
import { MirrorError } from "../../mirror/errors.ts";
import { tarEnd, tarHeader, tarPadding, type TarEntry } from "../../release/tar-writer.ts";
import { diskSource } from "./disk.ts";

const BLOCK = 512;
const CHUNK = 256 * 1024;
/** More than any path of a repository. */
const MAX_PATH_RECORD = 8 * 1024;
/** Files of a bundle; a repository of 100,000 releases would have three times as many. */
const MAX_FILES = 1_000_000;

/**
 * The last file of a bundle: SHA-256 of all bytes before it. It finds what a bad stick did, at once and wherever; it is no reason
 * to believe anything, since who changes a bundle can change it as well.
 */
const DIGEST = "bundle.sha256";

/** `from`: where it lies, or its bytes. */
export type BundleFile = { readonly path: string; readonly size: number; readonly from: string | Uint8Array };

/** Writes the files as one tar: the same bytes for the same files. Errors: `disk/*`, `release/bad-name` for a file of 8 GiB or more. */
export async function writeBundle(
  disk: Disk,
  to: string,
  files: readonly BundleFile[],
  onBytes: (bytes: number) => void,
): Promise<void> {
  const beside = `${to}.part`;
  const target = await disk.open(beside, "write", 0o644);
  const digest = createHash("sha256");
  let at = 0;
  const put = async (bytes: Uint8Array): Promise<void> => {
    digest.update(bytes);
    await target.write(at, bytes);
    at += bytes.length;
  };
  try {
    await target.truncate(0);
    for (const { path, size, from } of files) {
      await put(tarHeader(entryOf(path, size)));
      if (typeof from !== "string") {
        await put(from);
        await put(tarPadding(size));
        continue;
      }
      const source = await disk.open(from, "read");
      try {
        for (let copied = 0; copied < size;) {
          const bytes = await source.read(copied, Math.min(CHUNK, size - copied));
          if (bytes.length === 0) throw changed(to, `${path} became shorter while it was copied`);
          await put(bytes);
          copied += bytes.length;
          onBytes(bytes.length);
        }
      } finally {
        await source.close();
      }
      await put(tarPadding(size));
    }
    const seen = toUtf8(`${digest.digest("hex")}\n`);
    await target.write(
      at,
      concat([tarHeader(entryOf(DIGEST, seen.length)), seen, tarPadding(seen.length), tarEnd()]),
    );
    await target.sync();
  } finally {
    await target.close();
  }
  await disk.rename(beside, to);
}

/**
 * A folder with `metadata/` and `targets/`, or a bundle. Only the one form that `writeBundle` makes is read, and only if it is whole.
 * Errors: `mirror/not-found`, `mirror/wrong-content`, `disk/*`.
 */
export async function broughtSource(disk: Disk, path: string): Promise<Source> {
  const stat = await statOrNull(disk, path);
  if (stat?.kind === "directory") {
    if ((await statOrNull(disk, `${path}/metadata`))?.kind === "directory") return diskSource(disk, path);
    throw new MirrorError("mirror/not-found", `${path} holds no metadata/: it is no copy of a repository.`, {
      source: path,
      path: "metadata",
    });
  }
  if (stat?.kind !== "file") {
    throw new MirrorError("mirror/not-found", `${path} is neither a bundle nor a folder.`, {
      source: path,
      path: "",
    });
  }
  const index = await readIndex(disk, path, stat.size);
  return {
    name: path,
    open: async (wanted: string, options: OpenOptions): Promise<Opened> => {
      const { offset = 0, limit, signal } = options;
      const name = checkPath({ name: path }, wanted).split("/").map(decodeURIComponent).join("/");
      const found = index.get(name);
      if (found === undefined)
        throw sourceError("mirror/not-found", { name: path }, wanted, "it is not in there");
      if (found.size > limit)
        throw sourceError(
          "mirror/too-long",
          { name: path },
          wanted,
          `it is ${found.size} bytes long, and ${limit} are allowed`,
        );
      const begin = offset <= found.size ? offset : 0;
      const body = part(disk, path, wanted, found.at + begin, found.at + found.size, signal);
      return { offset: begin, length: found.size, body };
    },
  };
}

function entryOf(path: string, size: number): TarEntry {
  return { kind: "file", path, size, executable: false };
}

type Index = ReadonlyMap<string, { readonly at: number; readonly size: number }>;

async function readIndex(disk: Disk, path: string, length: number): Promise<Index> {
  const index = new Map<string, { at: number; size: number }>();
  const file = await disk.open(path, "read");
  try {
    for (let at = 0; ;) {
      const named = await headerAt(file, path, at, await exactly(file, path, at, BLOCK));
      const name = named.path;
      if (name === DIGEST) {
        await checkEnd(file, path, at, length);
        return index;
      }
      if (index.has(name)) throw changed(path, `${name} appears twice`);
      if (index.size >= MAX_FILES) throw changed(path, `it holds more than ${MAX_FILES} files`);
      const begin = at + named.length;
      index.set(name, { at: begin, size: named.size });
      at = begin + named.size + tarPadding(named.size).length;
      if (at > length) throw changed(path, `it ends within ${name}`);
    }
  } finally {
    await file.close();
  }
}

/** Everything from `at` on follows from everything before. */
async function checkEnd(file: DiskFile, path: string, at: number, length: number): Promise<void> {
  const digest = createHash("sha256");
  for (let done = 0; done < at;) {
    const bytes = await exactly(file, path, done, Math.min(CHUNK, at - done));
    digest.update(bytes);
    done += bytes.length;
  }
  const seen = toUtf8(`${digest.digest("hex")}\n`);
  const end = concat([tarHeader(entryOf(DIGEST, seen.length)), seen, tarPadding(seen.length), tarEnd()]);
  if (at + end.length !== length) throw changed(path, "something follows its end");
  if (!equalBytes(end, await exactly(file, path, at, end.length)))
    throw changed(path, "its bytes are not those that were written");
}

/** Reads what may be a header and takes it only if it is, byte for byte, the one that would have been written. */
async function headerAt(
  file: DiskFile,
  path: string,
  at: number,
  first: Uint8Array,
): Promise<{ readonly path: string; readonly size: number; readonly length: number }> {
  const isPax = first[156] === 0x78;
  const recordSize = isPax ? octal(first, path) : 0;
  if (recordSize > MAX_PATH_RECORD) throw changed(path, "a name in it is too long");
  const body = isPax ? BLOCK + recordSize + tarPadding(recordSize).length : 0;
  const header = isPax ? await exactly(file, path, at + body, BLOCK) : first;
  const size = octal(header, path);
  let name: string;
  try {
    name = isPax
      ? (/^\d+ path=(.*)\n$/s.exec(fromUtf8(await exactly(file, path, at + BLOCK, recordSize)))?.[1] ?? "")
      : fromUtf8(first.subarray(0, 100)).replace(/\0+$/, "");
  } catch (cause) {
    throw changed(path, "a name in it is not text", cause);
  }
  const expected = tarHeader(entryOf(name, size));
  const found = await exactly(file, path, at, body + BLOCK);
  if (name === "" || Buffer.compare(expected, found) !== 0)
    throw changed(path, "it holds something that is not written into bundles");
  return { path: name, size, length: expected.length };
}

function octal(header: Uint8Array, path: string): number {
  const text = Buffer.from(header.subarray(124, 136)).toString("latin1");
  if (!/^[0-7]{11}\0$/.test(text)) throw changed(path, "a size in it is not a number");
  return Number.parseInt(text, 8);
}

async function exactly(file: DiskFile, path: string, at: number, length: number): Promise<Uint8Array> {
  const bytes = await file.read(at, length);
  if (bytes.length < length) throw changed(path, "it ends too early");
  return bytes;
}

async function* part(
  disk: Disk,
  path: string,
  wanted: string,
  begin: number,
  end: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  const file = await disk.open(path, "read");
  try {
    for (let at = begin; at < end;) {
      if (signal?.aborted === true)
        throw sourceError("mirror/aborted", { name: path }, wanted, "the caller gave up", {
          cause: signal.reason,
        });
      const bytes = await file.read(at, Math.min(CHUNK, end - at));
      if (bytes.length === 0) throw changed(path, "it became shorter while it was read");
      at += bytes.length;
      yield bytes;
    }
  } finally {
    await file.close();
  }
}

function changed(path: string, what: string, cause?: unknown): MirrorError {
  return new MirrorError(
    "mirror/wrong-content",
    `${path} is no whole bundle: ${what}.`,
    { source: path, path: "" },
    { cause, hint: "Copy it once more, or make it again with `upkeep repo bundle`." },
  );
}
