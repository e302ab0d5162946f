// What a file that is to be released is: an archive that devices unpack, one that has to be packed anew, or a single file.

import { gunzipSync, constants } from "node:zlib";
import { showName } from "../../core/raw-name.ts";
import type { Disk } from "../../core/disk.ts";
import { ReleaseError } from "../../release/errors.ts";

/** `tar.gz` and `zip` are published as they are; of `tar` and `tar.zst` the entries are published as a tar.gz, unless the tar is our canonical one. */
export type SourceKind = "folder" | "tar.gz" | "zip" | "tar" | "tar.zst" | "file";

export type Recognized = {
  readonly kind: SourceKind;
  /** What a person should know of how the file is taken; null when it is as anybody would expect. */
  readonly note: string | null;
};

/** What can be told from content: an archive that can be unpacked here, or the name of what cannot. */
type Content = { readonly kind: Exclude<SourceKind, "folder" | "file"> } | { readonly other: string } | null;

/** Usual suffixes, longest first; a text names what cannot be unpacked. */
const SUFFIXES: readonly (readonly [RegExp, Exclude<SourceKind, "folder" | "file"> | null, string])[] = [
  [/\.(?:tar\.gz|tgz)$/i, "tar.gz", "a tar.gz archive"],
  [/\.(?:tar\.zst|tzst)$/i, "tar.zst", "a tar archive compressed with zstd"],
  [/\.tar$/i, "tar", "a tar archive"],
  [/\.zip$/i, "zip", "a zip archive"],
  [/\.(?:tar\.xz|txz)$/i, null, "a tar archive compressed with xz"],
  [/\.(?:tar\.bz2?|tbz2?|tz2)$/i, null, "a tar archive compressed with bzip2"],
  [
    /\.(?:tar\.(?:lz|lz4|lzma|lzo|br|z)|tlz|taz)$/i,
    null,
    "a tar archive compressed with another tool than gzip",
  ],
  [/\.7z$/i, null, "a 7z archive"],
  [/\.rar$/i, null, "a rar archive"],
  [/\.(?:gz|xz|bz2|zst|lz|lz4|lzma)$/i, null, "a compressed file"],
];

/** First bytes of what is an archive and cannot be unpacked here. */
const MAGIC: readonly (readonly [string, string])[] = [
  ["fd377a585a00", "compressed with xz"],
  ["425a68", "compressed with bzip2"],
  ["28b52ffd", "compressed with zstd"],
  ["04224d18", "compressed with lz4"],
  ["4c5a4950", "compressed with lzip"],
  ["1f9d", "compressed with compress"],
  ["377abcaf271c", "a 7z archive"],
  ["526172211a07", "a rar archive"],
];

const HEAD = 4096;

/**
 * By content and by any usual suffix. What is an archive and cannot be unpacked on a device is refused rather than installed as one file,
 * unless `asFile` says that this is what is wanted. Errors: `release/bad-archive`, `release/bad-name` for what is neither file nor folder, `disk/*`.
 */
export async function recognize(disk: Disk, source: string, asFile = false): Promise<Recognized> {
  const stat = await disk.stat(source);
  if (stat.kind === "directory") return { kind: "folder", note: null };
  if (stat.kind !== "file") {
    throw new ReleaseError("release/bad-name", `${showName(source)} is neither a file nor a folder.`, {
      path: source,
    });
  }
  const content = contentOf(await headOf(disk, source));
  const suffix = SUFFIXES.find(([pattern]) => pattern.test(source)) ?? null;
  const described = content === null ? null : "kind" in content ? `a ${content.kind} archive` : content.other;
  if (asFile)
    return { kind: "file", note: described === null ? null : `${described}, installed as one file as asked` };
  // Many kinds of document are zip archives inside (.jar, .docx): a suffix that names no archive is believed.
  if (suffix === null && content !== null && /\.[a-z][a-z0-9]{0,9}$/i.test(nameOf(source)))
    return { kind: "file", note: `taken as one file for its name, although its content is ${described}` };
  if (content !== null && "kind" in content) {
    const named = suffix?.[1] ?? null;
    const differs = suffix !== null && named !== content.kind;
    const repacked = content.kind === "tar" || content.kind === "tar.zst";
    const note = differs
      ? `a ${content.kind} archive by its content, whatever its name says`
      : repacked
        ? "packed again as tar.gz, which devices unpack"
        : suffix === null
          ? `taken as the ${content.kind} archive that it is`
          : null;
    return { kind: content.kind, note };
  }
  if (suffix?.[1] === "tar.zst" && content !== null && content.other === "compressed with zstd")
    return { kind: "tar.zst", note: "packed again as tar.gz, which devices unpack" };
  // Named like an archive that can be read, and none: its reader says what is wrong with it.
  if (suffix !== null && suffix[1] !== null && content === null) return { kind: suffix[1], note: null };
  if (suffix === null && content === null) return { kind: "file", note: null };
  throw new ReleaseError(
    "release/bad-archive",
    `${showName(source)} is ${content === null ? suffix![2] : described!}, which devices do not unpack.`,
    { path: source },
    {
      hint: "Unpack it and give the folder, or give a .tar.gz, .tar, .tar.zst or .zip; --as-file installs it as the one file that it is.",
    },
  );
}

/** Whether the entries are packed here, so that the published bytes are others than those of the source. */
export function isRepacked(kind: SourceKind): boolean {
  return kind === "folder" || kind === "tar" || kind === "tar.zst";
}

function contentOf(head: Uint8Array): Content {
  const hex = Buffer.from(head.subarray(0, 8)).toString("hex");
  if (isTar(head)) return { kind: "tar" };
  // APPNOTE 4.3.7 and, of an archive without entries, 4.3.16.
  if (hex.startsWith("504b0304") || hex.startsWith("504b0506")) return { kind: "zip" };
  if (hex.startsWith("1f8b08"))
    return isTar(inflatedHead(head)) ? { kind: "tar.gz" } : { other: "compressed with gzip" };
  const found = MAGIC.find(([magic]) => hex.startsWith(magic));
  return found === undefined ? null : { other: found[1] };
}

/** POSIX 1003.1 pax: the header block says "ustar" at byte 257. */
function isTar(head: Uint8Array): boolean {
  return Buffer.from(head.subarray(257, 262)).toString("latin1") === "ustar";
}

function inflatedHead(head: Uint8Array): Uint8Array {
  try {
    return gunzipSync(head, { finishFlush: constants.Z_SYNC_FLUSH });
  } catch {
    return new Uint8Array(0);
  }
}

async function headOf(disk: Disk, source: string): Promise<Uint8Array> {
  const file = await disk.open(source, "read");
  try {
    return await file.read(0, HEAD);
  } finally {
    await file.close();
  }
}

function nameOf(source: string): string {
  return source.slice(source.lastIndexOf("/") + 1);
}
