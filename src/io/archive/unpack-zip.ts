// Zip archives as a stream of entries; their central directory is read by yauzl, every byte through the Disk port.

import { Readable } from "node:stream";
import { crc32 } from "node:zlib";
import { fromRandomAccessReader, RandomAccessReader, type Entry, type ZipFile } from "yauzl";
import { quoteName, rawName } from "../../core/raw-name.ts";
import { DiskError, type Disk, type DiskFile } from "../../core/disk.ts";
import type { ArchiveEntry } from "../../slot/entry-path.ts";
import { SlotError } from "../../slot/errors.ts";
import type { ZipReader } from "../../slot/unpack.ts";

const PART = 256 * 1024;
/** APPNOTE 4.4.2: upper byte of "version made by"; 3 is Unix, whose mode stands in the external attributes. */
const MADE_BY_UNIX = 3;
const S_IFMT = 0o170000;
const S_IFLNK = 0o120000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const MAX_LINK = 4096;

export const zipReader: ZipReader = { entries: (disk, path) => readZip(disk, path) };

async function* readZip(disk: Disk, path: string): AsyncGenerator<ArchiveEntry> {
  const { size } = await disk.stat(path);
  const file = await disk.open(path, "read");
  try {
    const zip = await openZip(new DiskReader(file), size);
    for (;;) {
      const entry = await nextEntry(zip);
      if (entry === null) return;
      yield await entryOf(zip, entry);
    }
  } finally {
    await file.close();
  }
}

async function entryOf(zip: ZipFile, entry: Entry): Promise<ArchiveEntry> {
  const path = rawName(entry.fileNameRaw);
  if (entry.isEncrypted()) throw unusable(path, "it is encrypted");
  if (entry.compressionMethod !== 0 && entry.compressionMethod !== 8)
    throw unusable(path, `its compression method ${entry.compressionMethod} is not known`);
  const unix = entry.versionMadeBy >> 8 === MADE_BY_UNIX ? entry.externalFileAttributes >>> 16 : 0;
  const type = unix & S_IFMT;
  const folder = path.endsWith("/");
  if (type === S_IFLNK) {
    if (entry.uncompressedSize > MAX_LINK) throw unusable(path, "its link is too long");
    const target = await wholeText(zip, entry);
    return { path, kind: "link", size: 0, executable: false, target, content: nothing() };
  }
  if (type !== 0 && type !== (folder ? S_IFDIR : S_IFREG))
    throw unusable(path, "it is neither a file, a folder nor a link");
  if (folder) {
    if (entry.uncompressedSize !== 0) throw unusable(path, "it is a folder with content");
    return { path, kind: "directory", size: 0, executable: false, target: "", content: nothing() };
  }
  return {
    path,
    kind: "file",
    size: entry.uncompressedSize,
    executable: (unix & 0o100) !== 0,
    target: "",
    content: contentOf(zip, entry),
  };
}

/** yauzl checks the length; the CRC is checked here, so that a damaged entry is named. */
async function* contentOf(zip: ZipFile, entry: Entry): AsyncGenerator<Uint8Array> {
  const stream = await new Promise<Readable>((resolve, reject) => {
    zip.openReadStream(entry, (error, stream) => {
      if (error !== null) reject(translate(error));
      else resolve(stream);
    });
  });
  let sum = 0;
  try {
    for await (const part of stream) {
      sum = crc32(part as Buffer, sum);
      yield part as Buffer;
    }
  } catch (error) {
    throw translate(error);
  } finally {
    stream.destroy();
  }
  if (sum !== entry.crc32) throw bad("the checksum of an entry is wrong");
}

async function wholeText(zip: ZipFile, entry: Entry): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of contentOf(zip, entry)) parts.push(part);
  return rawName(Buffer.concat(parts));
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

function openZip(reader: DiskReader, size: number): Promise<ZipFile> {
  return new Promise((resolve, reject) => {
    const options = {
      lazyEntries: true,
      autoClose: false,
      decodeStrings: false,
      validateEntrySizes: true,
      strictFileNames: true,
    };
    fromRandomAccessReader(reader, size, options, (error, zip) => {
      if (error !== null) reject(translate(error));
      else resolve(zip);
    });
  });
}

function nextEntry(zip: ZipFile): Promise<Entry | null> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      zip.removeListener("entry", onEntry);
      zip.removeListener("end", onEnd);
      zip.removeListener("error", onError);
    };
    const onEntry = (entry: Entry): void => (done(), resolve(entry));
    const onEnd = (): void => (done(), resolve(null));
    const onError = (error: Error): void => (done(), reject(translate(error)));
    zip.on("entry", onEntry);
    zip.on("end", onEnd);
    zip.on("error", onError);
    zip.readEntry();
  });
}

class DiskReader extends RandomAccessReader {
  readonly #file: DiskFile;

  constructor(file: DiskFile) {
    super();
    this.#file = file;
  }

  override _readStreamForRange(start: number, end: number): Readable {
    const file = this.#file;
    const parts = async function* (): AsyncGenerator<Uint8Array> {
      for (let at = start; at < end;) {
        const part = await file.read(at, Math.min(PART, end - at));
        if (part.length === 0) return;
        at += part.length;
        yield part;
      }
    };
    return Readable.from(parts(), { objectMode: false });
  }
}

function translate(error: unknown): Error {
  if (error instanceof SlotError || error instanceof DiskError) return error;
  return bad(error instanceof Error ? error.message : String(error), error);
}

function bad(what: string, cause?: unknown): SlotError {
  return new SlotError("slot/bad-archive", `The zip archive is refused: ${what}.`, {}, { cause });
}

function unusable(path: string, why: string): SlotError {
  return new SlotError(
    "slot/unsafe-entry",
    `The archive is refused because of its entry ${quoteName(path)}: ${why}.`,
    { entry: path.slice(0, 120) },
  );
}
