// How the bytes of a file lie in rows, and what a write changes among them; nothing here asks the database.

/** A row of a file: where its bytes begin and how many there are. */
export type Extent = { readonly at: number; readonly length: number };
export type Piece = { readonly at: number; readonly bytes: Uint8Array };

/** Most bytes of one row. */
export const MAX_CHUNK = 1024 * 1024;

export function endOf(extents: readonly Extent[]): number {
  const last = extents.at(-1);
  return last === undefined ? 0 : last.at + last.length;
}

/** Pieces that follow each other become one: a file that is written in order becomes one row a sync. */
export function appended(pieces: readonly Piece[], piece: Piece): readonly Piece[] {
  const last = pieces.at(-1);
  if (last === undefined || last.at + last.bytes.length !== piece.at) return [...pieces, piece];
  const bytes = new Uint8Array(last.bytes.length + piece.bytes.length);
  bytes.set(last.bytes);
  bytes.set(piece.bytes, last.bytes.length);
  return [...pieces.slice(0, -1), { at: last.at, bytes }];
}

export type Change = {
  /** Rows that go, by where they begin. */
  readonly gone: readonly number[];
  /** Rows that are new, or get other bytes. */
  readonly put: readonly Piece[];
  readonly extents: readonly Extent[];
};

/** What it takes to write `piece`. `read` gives the bytes of a row that is written over in part. */
export async function changeFor(
  extents: readonly Extent[],
  piece: Piece,
  read: (extent: Extent) => Promise<Uint8Array>,
): Promise<Change> {
  const size = endOf(extents);
  if (piece.bytes.length === 0) return { gone: [], put: [], extents };
  if (piece.at >= size) {
    // A gap reads as zeros, as on a disk.
    const gap = piece.at > size ? [{ at: size, bytes: new Uint8Array(piece.at - size) }] : [];
    const put = [...gap, piece].flatMap(cut);
    return { gone: [], put, extents: [...extents, ...put.map(extentOf)] };
  }
  const end = piece.at + piece.bytes.length;
  const met = extents.filter(({ at, length }) => at < end && at + length > piece.at);
  const [first, last] = [met[0]!, met.at(-1)!];
  const from = Math.min(first.at, piece.at);
  const bytes = new Uint8Array(Math.max(end, last.at + last.length) - from);
  const whole = met.length === 1 && first.at === piece.at && first.length === piece.bytes.length;
  if (!whole) for (const extent of met) bytes.set(await read(extent), extent.at - from);
  bytes.set(piece.bytes, piece.at - from);
  const put = cut({ at: from, bytes });
  const kept = extents.filter((extent) => !met.includes(extent));
  return {
    gone: met.map(({ at }) => at).filter((at) => !put.some((other) => other.at === at)),
    put,
    extents: [...kept, ...put.map(extentOf)].toSorted((a, b) => a.at - b.at),
  };
}

const extentOf = ({ at, bytes }: Piece): Extent => ({ at, length: bytes.length });

export function cut({ at, bytes }: Piece): readonly Piece[] {
  if (bytes.length <= MAX_CHUNK) return [{ at, bytes }];
  const pieces: Piece[] = [];
  for (let from = 0; from < bytes.length; from += MAX_CHUNK)
    pieces.push({ at: at + from, bytes: bytes.subarray(from, from + MAX_CHUNK) });
  return pieces;
}
