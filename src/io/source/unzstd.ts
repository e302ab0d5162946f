// A zstd body as it is unpacked: never more bytes than the limit, never more memory than a content coding may ask for.

import { constants, createZstdDecompress } from "node:zlib";
import { MirrorError } from "../../mirror/errors.ts";

/** RFC 9659: a content coding uses a window of at most 8 MiB. */
export const WINDOW_LOG = 23;

/** Unpacks as the consumer pulls. Errors: `mirror/too-long`, `mirror/wrong-content`, and those of the source. */
export async function* unzstd(
  packed: AsyncIterable<Uint8Array>,
  limit: number,
  fail: (code: MirrorError["code"], what: string, cause?: unknown) => MirrorError,
): AsyncGenerator<Uint8Array> {
  const unpacker = createZstdDecompress({
    chunkSize: 256 * 1024,
    params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG },
  });
  const closed = new Promise<void>((resolve) => unpacker.once("close", () => resolve()));
  let sourceError: unknown;
  const feed = async (): Promise<void> => {
    try {
      for await (const part of packed) {
        if (unpacker.destroyed) return;
        // The callback comes when this part was consumed, so at most one part waits here.
        await Promise.race([closed, new Promise<void>((resolve) => unpacker.write(part, () => resolve()))]);
      }
      if (!unpacker.destroyed) unpacker.end();
    } catch (error) {
      sourceError = error;
      unpacker.destroy();
    }
  };
  const fed = feed();
  let got = 0;
  try {
    for await (const part of unpacker) {
      const bytes = part as Uint8Array;
      got += bytes.length;
      if (got > limit) throw fail("mirror/too-long", `it unpacks to more than the allowed ${limit} bytes`);
      yield bytes;
    }
  } catch (cause) {
    if (sourceError !== undefined) throw sourceError;
    if (cause instanceof MirrorError) throw cause;
    throw fail("mirror/wrong-content", "its compressed form cannot be unpacked", cause);
  } finally {
    unpacker.destroy();
    await fed;
  }
}
