// The static plane: the repository's files as any web server would give them, with validators, single ranges and honest cache headers.

import { constants, createReadStream, type Stats } from "node:fs";
import { realpath, type FileHandle } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import { openPlain } from "../system/open-plain.ts";
import { HttpError } from "./errors.ts";
import type { Answer, Call } from "./server.ts";

/** Large parts cost the least processor time; small ones bound the memory when very many are served at once. */
const LARGE_PART = 512 * 1024;
const SMALL_PART = 64 * 1024;
const LARGE_AT_ONCE = 64;
/** Files up to this size are read whole and sent in one write. */
const WHOLE = 64 * 1024;

export type StaticFiles = {
  /** `path` is what follows the prefix, still percent-encoded. */
  readonly answer: (call: Call, path: string) => Promise<Answer>;
  /** Transfers under way. */
  readonly active: () => number;
};

/** Serves regular files below `root`. The folder may be missing or empty at first. */
export function staticFiles(root: string): StaticFiles {
  let active = 0;
  return {
    active: () => active,
    answer: async (call, path) => {
      if (call.method !== "GET" && call.method !== "HEAD") {
        throw new HttpError(
          "http/method-not-allowed",
          "Files can only be read.",
          {},
          { headers: { allow: "GET, HEAD" } },
        );
      }
      const names = safeNames(path);
      const form = names === null ? null : await zstdForm(root, names, call);
      const handle = names === null ? null : (form ?? (await openBelow(root, names)));
      if (names === null || handle === null) {
        throw new HttpError("http/not-found", "There is no such file here.");
      }
      let kept = false;
      try {
        const stat = await handle.stat();
        if (!stat.isFile()) throw new HttpError("http/not-found", "There is no such file here.");
        const headers = headersFor(names, stat, form !== null);
        if (isUnchanged(call.headers["if-none-match"], headers["etag"])) {
          return { status: 304, headers, body: null };
        }
        const range = wantedRange(call, headers["etag"], stat.size);
        const { start, end } = range ?? { start: 0, end: stat.size - 1 };
        const length = end - start + 1;
        const all = {
          ...headers,
          "content-length": String(length),
          ...(range === null ? {} : { "content-range": `bytes ${start}-${end}/${stat.size}` }),
        };
        const status = range === null ? 200 : 206;
        call.notes["bytes"] = length;
        if (call.method === "HEAD") return { status, headers: all, body: null };
        if (length <= WHOLE) return { status, headers: all, body: await readWhole(handle, start, length) };
        kept = true;
        return {
          stream: async (response) => {
            active++;
            try {
              await send(response, handle, status, all, { start, end }, active > LARGE_AT_ONCE);
            } finally {
              active--;
            }
          },
        };
      } finally {
        if (!kept) await handle.close();
      }
    },
  };
}

async function send(
  response: ServerResponse,
  handle: FileHandle,
  status: number,
  headers: Readonly<Record<string, string>>,
  range: { start: number; end: number },
  crowded: boolean,
): Promise<void> {
  response.writeHead(status, headers);
  const file = createReadStream("", {
    fd: handle,
    ...range,
    highWaterMark: crowded ? SMALL_PART : LARGE_PART,
  });
  try {
    await pipeline(file, response);
  } catch {
    // The reader has gone, or the file ended early: a cut connection tells that the answer is not whole.
    response.destroy();
  }
}

async function readWhole(handle: FileHandle, start: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let got = 0;
  while (got < length) {
    const { bytesRead } = await handle.read(bytes, got, length - got, start + got);
    if (bytesRead === 0) throw new HttpError("http/unavailable", "The file changed while it was read.");
    got += bytesRead;
  }
  return bytes;
}

/** The names of a path, or null if it is one that no repository has: empty, dotted, hidden, unfinished or escaping. */
export function safeNames(path: string): readonly string[] | null {
  const names: string[] = [];
  for (const part of path.split("/")) {
    let name: string;
    try {
      name = decodeURIComponent(part);
    } catch {
      return null;
    }
    // Dot files and *.tmp are what a publisher is just writing.
    // eslint-disable-next-line no-control-regex -- control characters are what is looked for
    if (name === "" || name.startsWith(".") || name.endsWith(".tmp") || /[/\\\u0000-\u001f\u007f]/.test(name))
      return null;
    if (Buffer.byteLength(name) > 255) return null;
    // Windows opens other things under such names: streams, devices, and the name without its last dots.
    if (sep === "\\" && /[:*?"<>|]|[. ]$|^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)/i.test(name)) return null;
    names.push(name);
  }
  return names.length <= 32 ? names : null;
}

/** The zstd form beside a target, for who takes it and wants the whole (RFC 9110, 12.5.3); null if there is none. */
async function zstdForm(root: string, names: readonly string[], call: Call): Promise<FileHandle | null> {
  if (names[0] !== "targets" || call.headers.range !== undefined) return null;
  const accepted = String(call.headers["accept-encoding"] ?? "").toLowerCase();
  const wanted = accepted
    .split(",")
    .some((one) => /^\s*zstd\s*(?:;\s*q=(?:1(?:\.0*)?|0\.\d*[1-9]\d*))?\s*$/.test(one));
  return wanted ? openBelow(root, [...names.slice(0, -1), `${names.at(-1)!}.zst`]) : null;
}

/** Opens a file that lies below `root` when every link is followed; null when there is none. */
async function openBelow(root: string, names: readonly string[]): Promise<FileHandle | null> {
  try {
    const [base, path] = await Promise.all([realpath(root), realpath(join(root, ...names))]);
    if (!path.startsWith(`${base}${sep}`)) return null;
    // O_NONBLOCK: a named pipe must not hold the server; it is refused as not a regular file.
    return await openPlain(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG", "EISDIR"].includes(code)) return null;
    // Others are being sent; a device comes back, and the operator sees it in the metrics.
    if (code === "EMFILE" || code === "ENFILE")
      throw new HttpError(
        "http/unavailable",
        "Too many files are open.",
        {},
        { cause: error, headers: { "retry-after": "15" } },
      );
    throw error;
  }
}

function headersFor(names: readonly string[], stat: Stats, compressed: boolean): Record<string, string> {
  const digest = /^[0-9a-f]{64,128}(?=\.)/.exec(names.at(-1)!)?.[0];
  return {
    // The same on every copy of the repository, so that a download can be resumed from another server.
    etag: `"${digest ?? `${stat.size.toString(36)}-${Math.round(stat.mtimeMs * 1000).toString(36)}`}${compressed ? "-zstd" : ""}"`,
    ...(names[0] === "targets" ? { vary: "accept-encoding" } : {}),
    ...(compressed ? { "content-encoding": "zstd" } : {}),
    "last-modified": stat.mtime.toUTCString(),
    "cache-control": isImmutable(names) ? "public, max-age=31536000, immutable" : "no-cache",
    "content-type": names.at(-1)!.endsWith(".json") ? "application/json" : "application/octet-stream",
    "accept-ranges": "bytes",
  };
}

/**
 * TUF 6: with consistent snapshots every name but `timestamp.json` carries a version or a digest and never changes its content.
 * A name without one (older repositories) must be asked for again.
 */
function isImmutable(names: readonly string[]): boolean {
  const file = names.at(-1)!;
  if (names[0] === "metadata") return /^[1-9]\d*\./.test(file);
  return names[0] === "targets" && /^(?:[0-9a-f]{64}|[0-9a-f]{128})\./.test(file);
}

/** RFC 9110 section 13.1.2: weak comparison against a list or `*`. */
function isUnchanged(condition: string | undefined, etag: string | undefined): boolean {
  if (condition === undefined) return false;
  if (condition.trim() === "*") return true;
  return condition.split(",").some((one) => one.trim().replace(/^W\//, "") === etag);
}

/**
 * RFC 9110 section 14.2: one range of bytes, or null for the whole file. Several ranges, other units and malformed
 * ones are ignored, as the section allows. Error: `http/bad-range` when nothing of the range exists.
 */
function wantedRange(
  call: Call,
  etag: string | undefined,
  size: number,
): { readonly start: number; readonly end: number } | null {
  const text = call.headers.range;
  if (text === undefined) return null;
  // RFC 9110 section 13.1.5: If-Range needs a strong match; anything else asks for the whole.
  const condition = call.headers["if-range"];
  if (condition !== undefined && condition !== etag) return null;
  const match = /^bytes=(\d*)-(\d*)$/.exec(text.trim());
  if (match === null || text.length > 64) return null;
  const [first, last] = [match[1]!, match[2]!];
  if (first === "" && last === "") return null;
  const unsatisfiable = (): HttpError =>
    new HttpError(
      "http/bad-range",
      `The file has ${size} bytes; none of the asked range exists.`,
      { size },
      {
        headers: { "content-range": `bytes */${size}` },
      },
    );
  if (first === "") {
    const suffix = Number(last);
    if (suffix === 0 || size === 0) throw unsatisfiable();
    return { start: Math.max(0, size - suffix), end: size - 1 };
  }
  const start = Number(first);
  if (last !== "" && Number(last) < start) return null;
  if (start >= size) throw unsatisfiable();
  return { start, end: last === "" ? size - 1 : Math.min(Number(last), size - 1) };
}
