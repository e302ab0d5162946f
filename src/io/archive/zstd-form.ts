// The zstd form of a target: what a web server sends to those who take it, so that raw files travel compressed.

import { createReadStream, createWriteStream } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { constants, createZstdCompress } from "node:zlib";
import { WINDOW_LOG } from "../source/unzstd.ts";

/** Smaller targets are sent as they are. */
const LEAST = 64 * 1024;
/** Not worth keeping: it saves less than a tenth. */
const MOST = 0.9;

/** Writes the form to `out`, and returns its length whether it is kept or not; null when there is no use in one. Throws errors of the system. */
export async function writeZstdForm(
  path: string,
  out: string,
): Promise<{ readonly length: number; readonly kept: boolean } | null> {
  const { size } = await stat(path);
  if (size < LEAST) return null;
  await pipeline(
    createReadStream(path, { highWaterMark: 1 << 20 }),
    createZstdCompress({
      pledgedSrcSize: size,
      params: {
        [constants.ZSTD_c_compressionLevel]: LEVEL,
        [constants.ZSTD_c_windowLog]: WINDOW_LOG,
      },
    }),
    createWriteStream(out, { flags: "wx", flush: true }),
  );
  const { size: length } = await stat(out);
  const kept = length <= size * MOST;
  if (!kept) await rm(out, { force: true });
  return { length, kept };
}

/** A program of 150 MB takes ten seconds; higher levels take minutes for some percent. */
const LEVEL = 9;
