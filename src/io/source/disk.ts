// A folder as a source of files: a local copy of a repository, a USB stick, a network share.

import type { Disk, DiskFile } from "../../core/disk.ts";
import { DiskError } from "../../core/disk.ts";
import { checkPath, sourceError, type Opened, type OpenOptions, type Source } from "../../mirror/source.ts";

const CHUNK = 256 * 1024;

/** Names are what the percent-encoded path decodes to, as with a web server; a slash hidden in a segment is refused. */
export function diskSource(disk: Disk, folder: string): Source {
  const source = { name: folder };
  return {
    name: folder,
    open: async (path: string, options: OpenOptions): Promise<Opened> => {
      const { offset = 0, limit, signal } = options;
      const names = checkPath(source, path).split("/").map(decodeURIComponent);
      if (names.some((name) => /[/\\\0]/.test(name)))
        throw sourceError("mirror/bad-path", source, path, "a segment hides a separator");
      const full = `${folder}/${names.join("/")}`;
      let file: DiskFile | undefined;
      try {
        const { kind, size } = await disk.stat(full);
        if (kind !== "file") throw sourceError("mirror/not-found", source, path, "it is not a file");
        if (size > limit)
          throw sourceError(
            "mirror/too-long",
            source,
            path,
            `it is ${size} bytes long, and ${limit} are allowed`,
          );
        file = await disk.open(full, "read");
        const begin = offset <= size ? offset : 0;
        return { offset: begin, length: size, body: reading(file, begin, size, source, path, signal) };
      } catch (cause) {
        await file?.close();
        if (!(cause instanceof DiskError)) throw cause;
        const missing = cause.code === "disk/missing" || cause.code === "disk/wrong-kind";
        throw missing
          ? sourceError("mirror/not-found", source, path, "it is not there", { cause })
          : sourceError("mirror/unreachable", source, path, "the folder cannot be read", { cause });
      }
    },
  };
}

async function* reading(
  file: DiskFile,
  begin: number,
  size: number,
  source: Pick<Source, "name">,
  path: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    for (let at = begin; at < size;) {
      if (signal?.aborted === true)
        throw sourceError("mirror/aborted", source, path, "the caller gave up", { cause: signal.reason });
      const bytes = await file.read(at, Math.min(CHUNK, size - at));
      if (bytes.length === 0) return;
      at += bytes.length;
      yield bytes;
    }
  } catch (cause) {
    if (!(cause instanceof DiskError)) throw cause;
    throw sourceError("mirror/unreachable", source, path, "the folder cannot be read", { cause });
  } finally {
    await file.close();
  }
}
