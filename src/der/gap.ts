// DER around a long run of bytes that is not at hand: what stands before and behind it, so that it can be hashed as it streams by.

import { concat } from "../core/bytes.ts";
import { header } from "./writer.ts";

/** Elements with `gap` bytes missing between `before` and `after`. */
export type Gapped = { readonly before: Uint8Array; readonly gap: number; readonly after: Uint8Array };

/** A primitive element whose content of `length` bytes is the gap. */
export function gapOf(tag: number, length: number): Gapped {
  return { before: header(tag, length), gap: length, after: new Uint8Array(0) };
}

/** One element around `inner`, with whole elements to its left and right. */
export function around(
  tag: number,
  left: readonly Uint8Array[],
  inner: Gapped,
  right: readonly Uint8Array[] = [],
): Gapped {
  const [head, tail] = [concat([...left, inner.before]), concat([inner.after, ...right])];
  const length = head.length + inner.gap + tail.length;
  return { before: concat([header(tag, length), head]), gap: inner.gap, after: tail };
}

/** The elements with the gap filled. */
export function filled({ before, gap, after }: Gapped, bytes: Uint8Array): Uint8Array {
  if (bytes.length !== gap) throw new Error(`the gap has ${gap} bytes, not ${bytes.length}`);
  return concat([before, bytes, after]);
}
