// A signer's backup: a tar whose first file says what it is and whose last one lists the digests of all others.

import { canonicalJson } from "../../core/canonical-json.ts";
import { concat, fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { parseJson, type Json } from "../../core/json.ts";
import { checkSchema, instantSchema, nameSchema, sha256Schema, z } from "../../core/schema.ts";
import { MAX_SEGMENT_BYTES } from "../audit/files.ts";
import { lineSchema } from "../audit/entry.ts";
import { MAX_CONFIG } from "../policy/config.ts";
import { SigningError } from "../errors.ts";

export const HEAD_FILE = "backup.json";
/** In the form that sha256sum writes and checks: `<digest>  <path>` a line. */
export const SUMS_FILE = "SHA256SUMS";
export const CHECKPOINT_FILE = "audit/checkpoint";
export const MAX_FILES = 10_000_000;

const headSchema = z.strictObject({
  kind: z.literal("upkeep-signer-backup"),
  version: z.literal(1),
  /** Name of the signer. */
  signer: nameSchema,
  made: instantSchema,
  /** SHA-256 of signer.toml. */
  config: sha256Schema,
  /** Entries of the audit log that are in here; the checkpoint beside them covers exactly these. */
  entries: z.int().check(z.minimum(0)),
  /** The log's verification key. */
  log: lineSchema,
});
export type BackupHead = z.infer<typeof headSchema>;

export function formatBackupHead(head: BackupHead): Uint8Array {
  return concat([canonicalJson(head as unknown as Json), Uint8Array.of(0x0a)]);
}

/** Errors: `signing/bad-backup`. */
export function parseBackupHead(bytes: Uint8Array): BackupHead {
  try {
    return checkSchema(headSchema, parseJson(bytes), "backup");
  } catch (cause) {
    throw badBackup("it says of itself that it is something else than a backup of a signer", cause);
  }
}

/** Every file that a backup may hold, with the most bytes it may have. Order is the order in the tar. */
const FILES: readonly (readonly [pattern: RegExp, limit: number])[] = [
  [/^backup\.json$/, 16 * 1024],
  [/^signer\.toml$/, MAX_CONFIG],
  [/^unlock\.json$/, 64 * 1024],
  [/^admins\.json$/, 1024 * 1024],
  // Roots that signer.toml names, such as those of time stamps.
  [/^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\.pem$/, 1024 * 1024],
  [/^keys\/[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\.json$/, 64 * 1024],
  [/^certificates\/[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\.pem$/, 1024 * 1024],
  [/^audit\/checkpoint$/, 1024],
  [/^audit\/entries\/\d{12}\.jsonl$/, MAX_SEGMENT_BYTES],
  [/^audit\/blobs\/[0-9a-f]{64}$/, 64 * 1024 * 1024],
  [/^SHA256SUMS$/, 2 * 1024 * 1024 * 1024],
];

/** Where a file stands in the order, and how long it may be; null for a name that no backup holds. */
export function placeInBackup(path: string): { readonly rank: number; readonly limit: number } | null {
  const rank = FILES.findIndex(([pattern]) => pattern.test(path));
  return rank < 0 ? null : { rank, limit: FILES[rank]![1] };
}

export function formatSums(sums: readonly (readonly [path: string, sha256: string])[]): Uint8Array {
  return toUtf8(sums.map(([path, sha256]) => `${sha256}  ${path}\n`).join(""));
}

/** The list must be, byte for byte, that of the files that were read. Errors: `signing/bad-backup` with the first file that differs. */
export function checkSums(
  list: Uint8Array,
  read: readonly (readonly [path: string, sha256: string])[],
): void {
  const listed = fromUtf8(list).split("\n");
  const found = fromUtf8(formatSums(read)).split("\n");
  const at = found.findIndex((line, i) => line !== listed[i]);
  if (at < 0 && listed.length === found.length) return;
  const path = (found[at] === "" ? listed[at] : found[at])?.slice(66) ?? "";
  throw badBackup(
    path === "" ? "its list of digests is not that of its files" : `${path} is not what was written`,
    undefined,
    path,
  );
}

export function badBackup(what: string, cause?: unknown, file = ""): SigningError {
  return new SigningError(
    "signing/bad-backup",
    `The backup is refused: ${what}.`,
    { file },
    { cause, hint: "Nothing was changed. Take another copy, or an earlier backup." },
  );
}
