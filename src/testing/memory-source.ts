// A source of files in memory that remembers what it was asked for.

import { MirrorError } from "../mirror/errors.ts";
import { checkPath, sourceError, type Source } from "../mirror/source.ts";

export type MemorySource = Source & {
  /** By path as asked for, percent-encoded. May be changed at any time. */
  readonly files: Map<string, Uint8Array>;
  /** Every path that was asked for, in order; with `@offset` if not from the beginning. */
  readonly requests: string[];
  /** Set to make every answer a failed connection. */
  down: boolean;
};

export type MemorySourceOptions = {
  readonly name?: string;
  /** Bytes per part. */
  readonly chunk?: number;
  /** False for a place that always begins at 0. */
  readonly ranges?: boolean;
};

export function memorySource(
  files: Iterable<readonly [string, Uint8Array]> = [],
  options: MemorySourceOptions = {},
): MemorySource {
  const { name = "memory", chunk = 64 * 1024, ranges = true } = options;
  const source: MemorySource = {
    name,
    files: files instanceof Map ? files : new Map(files),
    requests: [],
    down: false,
    open: async (path, { offset = 0, limit, signal }) => {
      checkPath(source, path);
      source.requests.push(offset === 0 ? path : `${path}@${offset}`);
      if (source.down) throw sourceError("mirror/unreachable", source, path, "it is down");
      const bytes = source.files.get(path);
      if (bytes === undefined) throw sourceError("mirror/not-found", source, path, "it is not there");
      if (bytes.length > limit)
        throw sourceError("mirror/too-long", source, path, `it is ${bytes.length} bytes long`);
      const begin = ranges && offset <= bytes.length ? offset : 0;
      const body = async function* (): AsyncGenerator<Uint8Array> {
        for (let at = begin; at < bytes.length; at += chunk) {
          if (signal?.aborted === true) throw new MirrorError("mirror/aborted", "The caller gave up.");
          yield bytes.subarray(at, at + chunk);
        }
      };
      return { offset: begin, length: bytes.length, body: body() };
    },
  };
  return source;
}
