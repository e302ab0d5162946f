// Tar as we write it: POSIX ustar with pax records for long names, the same bytes for the same tree on every machine.

import { concat, toUtf8 } from "../core/bytes.ts";
import { ReleaseError } from "./errors.ts";

export type TarEntry =
  | { readonly kind: "file"; readonly path: string; readonly size: number; readonly executable: boolean }
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "link"; readonly path: string; readonly target: string };

const BLOCK = 512;
/** Where the size field ends: 8 GiB. */
const MAX_SIZE = 8 ** 11;

/** The header blocks of one entry; for a file, its content and `tarPadding` follow. No owner, no time: they would differ. */
export function tarHeader(entry: TarEntry): Uint8Array {
  if (entry.kind === "file" && entry.size >= MAX_SIZE) {
    throw new ReleaseError(
      "release/bad-name",
      `${entry.path} is larger than the 8 GiB that a tar entry can be.`,
      {
        path: entry.path,
      },
    );
  }
  const path = entry.kind === "directory" ? `${entry.path}/` : entry.path;
  const link = entry.kind === "link" ? entry.target : "";
  const records = [...paxRecord("path", path, 100), ...paxRecord("linkpath", link, 100)];
  if (records.length === 0) return header(entry, path, link);
  const body = toUtf8(records.join(""));
  return concat([
    block("././@PaxHeader", 0o644, body.length, "x", ""),
    body,
    tarPadding(body.length),
    header(entry, truncate(path), truncate(link)),
  ]);
}

/** Zeros up to the next block. */
export function tarPadding(size: number): Uint8Array {
  return new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
}

/** Two empty blocks. */
export function tarEnd(): Uint8Array {
  return new Uint8Array(2 * BLOCK);
}

function header(entry: TarEntry, path: string, link: string): Uint8Array {
  switch (entry.kind) {
    case "file":
      return block(path, entry.executable ? 0o755 : 0o644, entry.size, "0", "");
    case "directory":
      return block(path, 0o755, 0, "5", "");
    case "link":
      return block(path, 0o777, 0, "2", link);
  }
}

/** POSIX pax: "%d %s=%s\n", where the length counts itself. */
function paxRecord(name: string, value: string, limit: number): readonly string[] {
  if (toUtf8(value).length <= limit && /^[\x20-\x7e]*$/.test(value)) return [];
  const rest = toUtf8(` ${name}=${value}\n`).length;
  let length = rest + String(rest).length;
  if (String(length).length !== String(rest).length) length = rest + String(length).length;
  return [`${length} ${name}=${value}\n`];
}

/** What readers without pax would see. */
function truncate(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "_").slice(0, 100);
}

function block(path: string, mode: number, size: number, type: string, link: string): Uint8Array {
  const bytes = new Uint8Array(BLOCK);
  const put = (at: number, text: string): void => bytes.set(toUtf8(text), at);
  const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, "0");
  put(0, path);
  put(100, `${octal(mode, 7)}\0`);
  put(108, `${octal(0, 7)}\0`);
  put(116, `${octal(0, 7)}\0`);
  put(124, `${octal(size, 11)}\0`);
  put(136, `${octal(0, 11)}\0`);
  put(148, "        ");
  put(156, type);
  put(157, link);
  put(257, "ustar\u000000");
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  put(148, `${octal(sum, 6)}\0 `);
  return bytes;
}
