// gzip as a stream of bytes, in constant memory; the consumer's limit is what stops a bomb.

import { createGunzip } from "node:zlib";
import { SlotError } from "./errors.ts";

/** Decompresses as the consumer pulls. Errors: `slot/bad-archive`, and those of the source. */
export async function* gunzip(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const inflater = createGunzip({ chunkSize: 64 * 1024 });
  const closed = new Promise<void>((resolve) => inflater.once("close", () => resolve()));
  let sourceError: unknown;
  const feed = async (): Promise<void> => {
    try {
      for await (const part of source) {
        if (inflater.destroyed) return;
        // The callback comes when this part was consumed, so at most one part waits here.
        await Promise.race([closed, new Promise<void>((resolve) => inflater.write(part, () => resolve()))]);
      }
      if (!inflater.destroyed) inflater.end();
    } catch (error) {
      sourceError = error;
      inflater.destroy();
    }
  };
  const fed = feed();
  try {
    for await (const part of inflater) yield part as Uint8Array;
  } catch (cause) {
    if (sourceError !== undefined) throw sourceError;
    throw new SlotError("slot/bad-archive", "The gzip data is damaged or ends too early.", {}, { cause });
  } finally {
    inflater.destroy();
    await fed;
  }
}
