// What a patch is made of, for people: read without the old file, and without unpacking anything.

import { malformed } from "./errors.ts";
import {
  HEADER_LENGTH,
  readHeader,
  SECTION,
  SECTION_HEADER,
  STREAMS,
  type PatchHeader,
  type StreamName,
} from "./hd1-format.ts";

export type PatchDescription = PatchHeader & {
  readonly sections: number;
  /** Bytes in the patch and unpacked, of all sections together. */
  readonly streams: { readonly [S in StreamName]: { readonly packed: number; readonly raw: number } };
};

/** Errors: `delta/malformed`, `delta/too-large`. */
export function describeHd1(patch: Uint8Array): PatchDescription {
  const header = readHeader(patch);
  const sections = Math.ceil(header.newLength / SECTION);
  const view = new DataView(patch.buffer, patch.byteOffset, patch.byteLength);
  const sums = STREAMS.map(() => ({ packed: 0, raw: 0 }));
  let at = HEADER_LENGTH;
  for (let n = 0; n < sections; n++) {
    if (patch.length - at < SECTION_HEADER) throw malformed("it ends within the header of a section");
    const start = at;
    at += SECTION_HEADER;
    for (const [i, sum] of sums.entries()) {
      sum.raw += view.getUint32(start + i * 8, true);
      sum.packed += view.getUint32(start + i * 8 + 4, true);
      at += view.getUint32(start + i * 8 + 4, true);
    }
    if (at > patch.length) throw malformed("it ends within a stream");
  }
  if (at !== patch.length) throw malformed("bytes follow its last section");
  const streams = Object.fromEntries(STREAMS.map((name, i) => [name, sums[i]!]));
  return { ...header, sections, streams: streams as PatchDescription["streams"] };
}
