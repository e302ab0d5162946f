// Files as byte sources and sinks, by position and in bounded pieces.

import { open, type FileHandle } from "node:fs/promises";
import { ArtifactError } from "../artifact/errors.ts";
import type { ByteSink, ByteSource } from "../artifact/source.ts";

export type OpenSource = ByteSource & { readonly close: () => Promise<void> };
export type OpenSink = ByteSink & { readonly sync: () => Promise<void>; readonly close: () => Promise<void> };

export async function openSource(path: string): Promise<OpenSource> {
  const handle = await open(path, "r");
  return { ...sourceOf(handle, (await handle.stat()).size), close: () => handle.close() };
}

function sourceOf(handle: FileHandle, size: number): ByteSource {
  return {
    size,
    read: async (position, into) => {
      for (let got = 0; got < into.length;) {
        const { bytesRead } = await handle.read(into, got, into.length - got, position + got);
        if (bytesRead === 0) {
          throw new ArtifactError("artifact/changed", "The file became shorter while it was read.", {
            position,
          });
        }
        got += bytesRead;
      }
    },
  };
}

/** A new file; refuses one that exists. */
export async function openSink(path: string, mode: number): Promise<OpenSink> {
  const handle = await open(path, "wx", mode);
  return {
    write: async (position, bytes) => {
      for (let put = 0; put < bytes.length;) {
        put += (await handle.write(bytes, put, bytes.length - put, position + put)).bytesWritten;
      }
    },
    truncate: (size) => handle.truncate(size),
    sync: () => handle.sync(),
    close: () => handle.close(),
  };
}
