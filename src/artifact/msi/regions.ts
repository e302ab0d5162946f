// An installer package from its first to its last byte: what its signature covers, and what lies between.

import type { Region } from "../format.ts";
import type { Range } from "../rewrite.ts";
import type { Storage, Stream } from "./compound.ts";
import { isSignature, type Installer } from "./installer.ts";

/** [MS-CFB] 2.2: streams below 4096 bytes are cut into sectors of 64. */
const SMALL = { limit: 4096, sector: 64 };

type Part = { readonly from: number; readonly to: number; readonly what: string; readonly covered: boolean };

/** Neighbours of one kind are one region. */
export function regionsOf(installer: Installer, size: number): readonly Region[] {
  const parts: Part[] = streams(installer.file.root).flatMap((stream) => {
    const signature = installer.file.root.children.includes(stream) && isSignature(stream);
    const [what, covered] = signature ? (["signature", false] as const) : (["contents", true] as const);
    return ranges(stream).map(({ offset, size: length }) => ({
      from: offset,
      to: offset + length,
      what,
      covered,
    }));
  });
  const add = (list: readonly Range[], what: string): void => {
    for (const { offset, size: length } of list)
      parts.push({ from: offset, to: offset + length, what, covered: false });
  };
  add(slackOf(installer, size), "rest of a sector behind the end of a stream");
  add(installer.file.unowned, "belongs to nothing");
  const out: Part[] = [];
  const push = (part: Part): void => {
    const last = out.at(-1);
    if (part.to <= part.from) return;
    if (last?.what === part.what && last.to === part.from) out[out.length - 1] = { ...last, to: part.to };
    else out.push(part);
  };
  const tables =
    installer.extended === null
      ? "header, tables and directory"
      : "header, tables and directory (names, sizes and times are covered by their own digest)";
  let at = 0;
  for (const part of parts.toSorted((a, b) => a.from - b.from)) {
    push({ from: at, to: part.from, what: tables, covered: false });
    push({ ...part, from: Math.max(at, part.from) });
    at = Math.max(at, part.to);
  }
  push({ from: at, to: size, what: tables, covered: false });
  return out;
}

/** The rest of each stream's last sector. */
export function slackOf(installer: Installer, size: number): readonly Range[] {
  const sector = installer.file.majorVersion === 3 ? 512 : 4096;
  return streams(installer.file.root).flatMap((stream) => {
    const last = ranges(stream).at(-1);
    if (last === undefined) return [];
    const unit = stream.size < SMALL.limit ? SMALL.sector : sector;
    const end = last.offset + last.size;
    const rest = Math.min(Math.ceil(end / unit) * unit, size) - end;
    return rest > 0 ? [{ offset: end, size: rest }] : [];
  });
}

function streams(storage: Storage): readonly Stream[] {
  return storage.children.flatMap((child) => (child.kind === "stream" ? [child] : streams(child)));
}

function ranges(stream: Stream): readonly Range[] {
  return stream.pieces.filter((piece): piece is Range => !(piece instanceof Uint8Array));
}
