// Files as sources and sinks of bytes: opened once, read at positions, replaced by a rename.

import { constants } from "node:fs";
import { open, realpath, rename, unlink, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { toUtf8 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { ArtifactError } from "../../artifact/errors.ts";
import type { ByteSink, ByteSource } from "../../artifact/source.ts";
import { systemDisk } from "../system/disk.ts";

/** A file that is open for reading; whoever opened it closes it. */
export type OpenSource = ByteSource & { readonly close: () => Promise<void> };

/** For a source that outlives one call; most callers want `withFileSource`. Errors: as `withFileSource`. */
export async function openSource(path: string): Promise<OpenSource> {
  const handle = await opened(path);
  try {
    return { ...(await regular(handle, path)), close: () => handle.close() };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Opens a file for reading and closes it when `use` is done. Links are followed: what a user names is what is meant. Errors: `artifact/unreadable`, `artifact/malformed` (no regular file). */
export async function withFileSource<T>(
  path: string,
  use: (source: ByteSource, handle: FileHandle) => Promise<T>,
): Promise<T> {
  const handle = await opened(path);
  try {
    return await use(await regular(handle, path), handle);
  } finally {
    await handle.close();
  }
}

/**
 * Makes a new version of a file: `make` writes it beside the old one under a name of its own, and may read it back with `written`; then it gets the old one's permissions,
 * is synced and takes its place, or that of `output`. If anything fails, what was there stays. Errors: those of `make`, and `artifact/changed`.
 */
export async function replaceFile<T>(
  path: string,
  output: string,
  make: (source: ByteSource, sink: ByteSink, written: () => Promise<ByteSource>) => Promise<T>,
): Promise<T> {
  return withFileSource(path, async (source, handle) => {
    const before = await handle.stat({ bigint: true });
    // A link stays one: the file that it names is what gets its new version.
    const place = await realpath(output).catch(() => output);
    // Of a length of its own: a name may have 255 bytes, and the file's may have all of them.
    const beside = join(
      dirname(place),
      `.${sha256Hex(toUtf8(place)).slice(0, 16)}.${process.pid}.upkeep-part`,
    );
    const part = await open(
      beside,
      constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0),
      0o600,
    );
    try {
      const result = await make(source, sinkOf(part), async () =>
        sourceOf(part, (await part.stat()).size, beside),
      );
      const after = await handle.stat({ bigint: true });
      // A linker still at work would leave us with half of its output, signed.
      if (after.mtimeNs !== before.mtimeNs || after.size !== before.size)
        throw new ArtifactError("artifact/changed", `${path} was changed while it was being signed.`, {
          path,
        });
      await part.chmod(Number(before.mode & 0o7777n));
      await part.sync();
      await part.close();
      // Windows replaces no file that somebody has open, and this one we have open ourselves.
      if (process.platform === "win32") await handle.close();
      await rename(beside, place);
      await systemDisk.syncDirectory(dirname(place));
      return result;
    } catch (error) {
      await part.close().catch(() => {});
      await unlink(beside).catch(() => {});
      throw error;
    }
  });
}

async function regular(handle: FileHandle, path: string): Promise<ByteSource> {
  const stat = await handle.stat();
  if (!stat.isFile()) throw new ArtifactError("artifact/malformed", `${path} is no regular file.`, { path });
  return sourceOf(handle, stat.size, path);
}

function sourceOf(handle: FileHandle, size: number, path: string): ByteSource {
  return { size, read: (position, into) => readFully(handle, position, into, path) };
}

function sinkOf(handle: FileHandle): ByteSink {
  return {
    write: async (position, bytes) => {
      let put = 0;
      while (put < bytes.length)
        put += (await handle.write(bytes, put, bytes.length - put, position + put)).bytesWritten;
    },
    truncate: (size) => handle.truncate(size),
  };
}

async function readFully(
  handle: FileHandle,
  position: number,
  into: Uint8Array,
  path: string,
): Promise<void> {
  let got = 0;
  while (got < into.length) {
    const { bytesRead } = await handle.read(into, got, into.length - got, position + got);
    if (bytesRead === 0)
      throw new ArtifactError("artifact/changed", `${path} became shorter while it was read.`, { path });
    got += bytesRead;
  }
}

async function opened(path: string): Promise<FileHandle> {
  try {
    // A pipe would hold us until somebody writes to it; opened like this it is refused for what it is.
    return await open(path, constants.O_RDONLY | (process.platform === "win32" ? 0 : constants.O_NONBLOCK));
  } catch (cause) {
    const system = (cause as NodeJS.ErrnoException).code ?? "unknown";
    throw new ArtifactError(
      "artifact/unreadable",
      `${path} cannot be opened (${system}).`,
      { path, system },
      { cause },
    );
  }
}
