// A strict, streaming tar reader: POSIX ustar with pax headers and GNU long names; whatever else tar can say is refused.

import { quoteName, rawName } from "../core/raw-name.ts";
import { ByteReader } from "./byte-reader.ts";
import type { ArchiveEntry, EntryKind } from "./entry-path.ts";
import { SlotError } from "./errors.ts";

const BLOCK = 512;
const MAX_EXTENDED = 64 * 1024;
/** tar fills its last record with zeros: 10 KiB unless told otherwise, and no tape has records as long as this. */
const MAX_RECORD = 1024 * 1024;
/** Extended headers in a row before one entry. */
const MAX_HEADERS = 8;

/** pax keys that change nothing that is installed (POSIX pax, and what GNU tar, bsdtar, Go and git write). */
const IGNORED_PAX =
  /^(?:[amc]time|uid|gid|uname|gname|comment|charset|hdrcharset|(?:SCHILY|LIBARCHIVE|RHT)\..+)$/;

/** Type flags by name, for the sentence that refuses them. */
const REFUSED: { readonly [flag: string]: string } = {
  "1": "a hard link",
  "3": "a character device",
  "4": "a block device",
  "6": "a named pipe",
  "7": "a contiguous file",
  S: "a sparse file",
  M: "a part of another volume",
  V: "a volume label",
};

type Overrides = { path?: string; target?: string; size?: number };

/**
 * Entries in order; read each one's content before asking for the next (what is left is skipped).
 * Errors: `slot/bad-archive`, `slot/unsafe-entry`.
 */
export async function* readTar(source: AsyncIterable<Uint8Array>): AsyncGenerator<ArchiveEntry> {
  const reader = new ByteReader(source);
  try {
    for (;;) {
      const entry = await nextHeader(reader);
      if (entry === null) return await finish(reader);
      let left = entry.size;
      const content = async function* (): AsyncGenerator<Uint8Array> {
        while (left > 0) {
          const part = await reader.some(Math.min(left, 64 * 1024));
          if (part === null) throw bad("it ends in the middle of a file", reader);
          left -= part.length;
          yield part;
        }
      };
      yield { ...entry, content: content() };
      for await (const _ of content());
      await padding(reader, entry.size);
    }
  } finally {
    await reader.close();
  }
}

async function nextHeader(reader: ByteReader): Promise<Omit<ArchiveEntry, "content"> | null> {
  const given: Overrides = {};
  for (let headers = 0; headers <= MAX_HEADERS; headers++) {
    const block = await reader.take(BLOCK);
    if (block.length < BLOCK) throw bad("it ends without an end mark", reader);
    if (block.every((byte) => byte === 0)) {
      if (headers > 0) throw bad("an extended header has no entry", reader);
      return null;
    }
    checkBlock(block, reader);
    const flag = block[156] === 0 ? "0" : String.fromCharCode(block[156]!);
    const size = number(block, 124, 12, reader);
    if (flag === "x" || flag === "g") {
      const pax = parsePax(await extended(reader, size), reader);
      if (flag === "x") Object.assign(given, pax);
      else if (Object.keys(pax).length > 0) throw bad("a global header names a path or a size", reader);
    } else if (flag === "L") {
      given.path = longName(await extended(reader, size));
    } else if (flag === "K") {
      given.target = longName(await extended(reader, size));
    } else {
      return entryOf(block, flag, size, given, reader);
    }
  }
  throw bad("too many extended headers stand before one entry", reader);
}

function entryOf(
  block: Uint8Array,
  flag: string,
  size: number,
  given: Overrides,
  reader: ByteReader,
): Omit<ArchiveEntry, "content"> {
  const prefix = isPosix(block) ? text(block, 345, 155) : "";
  const name = text(block, 0, 100);
  const path = given.path ?? (prefix === "" ? name : `${prefix}/${name}`);
  const kinds: { readonly [flag: string]: EntryKind } = { "0": "file", "2": "link", "5": "directory" };
  const kind = kinds[flag];
  if (kind === undefined) {
    const what = REFUSED[flag] ?? `of the unknown type ${JSON.stringify(flag)}`;
    throw new SlotError(
      "slot/unsafe-entry",
      `The archive is refused because of its entry ${quoteName(path)}: it is ${what}.`,
      { entry: path.slice(0, 120), type: flag },
    );
  }
  const length = given.size ?? size;
  if (kind !== "file" && length !== 0) throw bad("a folder or a link has content", reader);
  if (kind === "file" && path.endsWith("/")) throw bad("a file is named like a folder", reader);
  const mode = number(block, 100, 8, reader);
  return {
    path,
    kind,
    size: length,
    // Only this bit is kept: no set-user-id, no owner, no times.
    executable: kind === "file" && (mode & 0o100) !== 0,
    target: kind === "link" ? (given.target ?? text(block, 157, 100)) : "",
  };
}

function isPosix(block: Uint8Array): boolean {
  return block[262] === 0 && block[263] === 0x30 && block[264] === 0x30;
}

function checkBlock(block: Uint8Array, reader: ByteReader): void {
  const magic = Buffer.from(block.subarray(257, 265)).toString("latin1");
  // POSIX: "ustar\0" "00"; GNU: "ustar  \0".
  if (magic !== "ustar\u000000" && magic !== "ustar  \0")
    throw bad("a header is not that of a ustar archive", reader);
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 0x20 : block[i]!;
  if (number(block, 148, 8, reader) !== sum) throw bad("a header's checksum is wrong", reader);
}

/** Octal digits ended by NUL or space; or, for what octal cannot hold, GNU's base 256. */
function number(block: Uint8Array, at: number, length: number, reader: ByteReader): number {
  const field = block.subarray(at, at + length);
  if (field[0] === 0x80) {
    let value = 0;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    if (!Number.isSafeInteger(value)) throw bad("a number is too large", reader);
    return value;
  }
  const digits = Buffer.from(field).toString("latin1");
  if (!/^ *[0-7]*[\0 ]*$/.test(digits)) throw bad("a number is malformed", reader);
  const value = Number.parseInt(digits.replaceAll(/[\0 ]/g, "") || "0", 8);
  if (!Number.isSafeInteger(value)) throw bad("a number is too large", reader);
  return value;
}

function text(block: Uint8Array, at: number, length: number): string {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  // What is not UTF-8 is refused with its name, by the same list as every other name.
  return rawName(end < 0 ? field : field.subarray(0, end));
}

async function extended(reader: ByteReader, size: number): Promise<Uint8Array> {
  if (size > MAX_EXTENDED) throw bad(`an extended header is longer than ${MAX_EXTENDED} bytes`, reader);
  const bytes = await reader.take(size);
  if (bytes.length < size) throw bad("it ends in the middle of an extended header", reader);
  await padding(reader, size);
  return bytes;
}

function longName(bytes: Uint8Array): string {
  // GNU tar ends the name with one NUL.
  return rawName(bytes.at(-1) === 0 ? bytes.subarray(0, -1) : bytes);
}

/** POSIX pax: records of the form "length key=value\n", where length counts the whole record. */
function parsePax(bytes: Uint8Array, reader: ByteReader): Overrides {
  const out: Overrides = {};
  const seen = new Set<string>();
  let at = 0;
  while (at < bytes.length) {
    const space = bytes.indexOf(0x20, at);
    const digits = Buffer.from(bytes.subarray(at, space < 0 ? at : space)).toString("latin1");
    const length = /^[1-9]\d{0,5}$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    if (length === 0 || end > bytes.length || end <= space + 1 || bytes[end - 1] !== 0x0a)
      throw bad("a pax record is malformed", reader);
    const record = rawName(bytes.subarray(space + 1, end - 1));
    const equals = record.indexOf("=");
    if (equals < 1) throw bad("a pax record is malformed", reader);
    const [key, value] = [record.slice(0, equals), record.slice(equals + 1)];
    if (seen.has(key)) throw bad(`the pax key ${quoteName(key, 40)} appears twice`, reader);
    seen.add(key);
    if (key === "path") out.path = value;
    else if (key === "linkpath") out.target = value;
    else if (key === "size") {
      if (!/^(?:0|[1-9]\d{0,15})$/.test(value)) throw bad("a pax size is malformed", reader);
      out.size = Number(value);
    } else if (!IGNORED_PAX.test(key))
      throw bad(`the pax key ${quoteName(key, 40)} is not understood`, reader);
    at = end;
  }
  return out;
}

async function padding(reader: ByteReader, size: number): Promise<void> {
  const rest = (BLOCK - (size % BLOCK)) % BLOCK;
  const bytes = await reader.take(rest);
  if (bytes.length < rest) throw bad("it ends in the middle of a block", reader);
  if (bytes.some((byte) => byte !== 0)) throw bad("there is something in the padding behind a file", reader);
}

/** Two zero blocks end an archive; after them only the zeros that fill tar's last record, which has an end, too. */
async function finish(reader: ByteReader): Promise<void> {
  const second = await reader.take(BLOCK);
  if (second.length < BLOCK) throw bad("it ends without an end mark", reader);
  const end = reader.position + MAX_RECORD;
  for (let part: Uint8Array | null = second; part !== null; part = await reader.some(64 * 1024)) {
    if (part.some((byte) => byte !== 0)) throw bad("there is something behind the end mark", reader);
    if (reader.position > end) throw bad(`more than ${MAX_RECORD} zeros stand behind the end mark`, reader);
  }
}

function bad(what: string, reader: ByteReader): SlotError {
  return new SlotError(
    "slot/bad-archive",
    `The tar archive is refused near byte ${reader.position}: ${what}.`,
    { at: reader.position },
  );
}
