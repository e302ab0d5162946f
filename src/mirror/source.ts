// The Source port: a place that has files by path, whether a web server, a folder, memory or a neighbour.

import { collect, BytesError } from "../core/bytes.ts";
import { MirrorError } from "./errors.ts";

export type OpenOptions = {
  /** First byte wanted; 0 by default. A source that cannot start there starts at 0 and says so in `offset`. */
  readonly offset?: number;
  /** Refuse a file longer than this many bytes in all, at the latest when the first byte beyond would be passed on. */
  readonly limit: number;
  readonly signal?: AbortSignal;
  /** The caller takes a compressed form that the source decompresses on the way: for a whole file only, within `limit`. */
  readonly compressed?: "welcome";
};

export type Opened = {
  /** Position of the first byte of `body` in the file. */
  readonly offset: number;
  /** Length of the whole file if the source says so. Not trusted. */
  readonly length: number | null;
  /** True when it traveled compressed, so that a fault may be that of the compressed form alone. */
  readonly compressed?: boolean;
  /** To be consumed once. Leaving the loop early releases whatever feeds it. Throws `MirrorError`. */
  readonly body: AsyncIterable<Uint8Array>;
};

/**
 * A place that has files by path. Nothing it says is trusted.
 *
 * Paths are relative, `/`-separated, each segment percent-encoded (RFC 3986), never `.`, `..` or empty.
 * `open` throws `MirrorError`; it does not retry.
 */
export interface Source {
  /** For messages: an address or a folder, without secrets. */
  readonly name: string;
  open(path: string, options: OpenOptions): Promise<Opened>;
}

/** A whole small file. Errors: those of `open`, and `mirror/too-long`. */
export async function readAll(
  source: Source,
  path: string,
  limit: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const { offset, body } = await source.open(path, { limit, ...(signal === undefined ? {} : { signal }) });
  if (offset !== 0)
    throw sourceError("mirror/bad-answer", source, path, "it began in the middle of the file");
  try {
    return await collect(body, limit);
  } catch (cause) {
    if (!(cause instanceof BytesError)) throw cause;
    throw sourceError("mirror/too-long", source, path, `it is longer than the allowed ${limit} bytes`, {
      cause,
      limit,
    });
  }
}

/** The part of a source below a folder. */
export function below(source: Source, folder: string): Source {
  checkPath(source, folder);
  return {
    name: `${source.name.replace(/\/$/, "")}/${folder}`,
    open: async (path, options) => source.open(`${folder}/${checkPath(source, path)}`, options),
  };
}

/** Refuses paths that no source may be asked for. Throws `mirror/bad-path`; returns the path. */
export function checkPath(source: Pick<Source, "name">, path: string): string {
  for (const segment of path.split("/")) {
    let decoded: string;
    try {
      decoded = decodeURIComponent(segment);
    } catch (cause) {
      throw sourceError("mirror/bad-path", source, path, "a segment is not percent-encoded UTF-8", { cause });
    }
    if (segment === "" || decoded === "." || decoded === "..")
      throw sourceError("mirror/bad-path", source, path, "the path leaves its place");
    if (!/^[A-Za-z0-9._~%-]+$/.test(segment))
      throw sourceError("mirror/bad-path", source, path, "a segment is not percent-encoded");
  }
  return path;
}

/** A `MirrorError` in the form all sources use: "SOURCE/PATH cannot be used: WHAT." */
export function sourceError(
  code: MirrorError["code"],
  source: Pick<Source, "name">,
  path: string,
  what: string,
  more: { cause?: unknown; hint?: string | undefined; [fact: string]: unknown } = {},
): MirrorError {
  const { cause, hint, ...facts } = more;
  return new MirrorError(
    code,
    `${path} of ${source.name} cannot be used: ${what}.`,
    { source: source.name, path, ...(facts as { [name: string]: string | number }) },
    { cause, ...(hint === undefined ? {} : { hint }) },
  );
}
