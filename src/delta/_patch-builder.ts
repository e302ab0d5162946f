// Builds hd1 patches by hand for tests, good ones and bad ones.

import { zstdCompressSync } from "node:zlib";
import { concat } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { STREAMS, writeHeader, type PatchHeader, type StreamName } from "./hd1-format.ts";

export type Streams = { readonly [S in StreamName]?: readonly number[] };

export type Written = {
  readonly old: Uint8Array;
  readonly target: Uint8Array;
  readonly sections: readonly Streams[];
  readonly header?: Partial<PatchHeader>;
  /** Changes what the head of the first section says. */
  readonly head?: (view: DataView) => void;
};

export function buildPatch({ old, target, sections, header = {}, head }: Written): Uint8Array {
  const start = writeHeader({
    oldLength: old.length,
    newLength: target.length,
    from: sha256Hex(old),
    to: sha256Hex(target),
    ...header,
  });
  const parts = sections.flatMap((streams, n) => {
    const view = new DataView(new ArrayBuffer(STREAMS.length * 8));
    const packed = STREAMS.map((name, i) => {
      const raw = Uint8Array.from(streams[name] ?? []);
      const bytes = raw.length === 0 ? raw : new Uint8Array(zstdCompressSync(raw));
      view.setUint32(i * 8, raw.length, true);
      view.setUint32(i * 8 + 4, bytes.length, true);
      return bytes;
    });
    if (n === 0) head?.(view);
    return [new Uint8Array(view.buffer), ...packed];
  });
  return concat([start, ...parts]);
}
