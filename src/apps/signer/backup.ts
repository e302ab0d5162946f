// Writing a backup of a signer, running or not: one consistent file that signs nothing without the unlock secret.

import { createHash } from "node:crypto";
import { equalBytes, fromBase64, toHex, toUtf8 } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { sha256Hex } from "../../core/digest.ts";
import { exists, parentOf, readOrNull, type Disk, type DiskFile } from "../../core/disk.ts";
import { formatInstant } from "../../core/instant.ts";
import { tarEnd, tarHeader, tarPadding } from "../../release/tar-writer.ts";
import { leafOf, parseEntry, type Blob } from "../../signing/audit/entry.ts";
import { blobPath, damaged, segmentPath, segmentsOf, type LogPlace } from "../../signing/audit/files.ts";
import { newestNote } from "../../signing/audit/newest-note.ts";
import { formatNoteKey, noteKeyFromSpki, type NoteKey } from "../../signing/audit/note.ts";
import { TileTree } from "../../signing/audit/tiles.ts";
import {
  badBackup,
  CHECKPOINT_FILE,
  formatBackupHead,
  formatSums,
  HEAD_FILE,
  placeInBackup,
  SUMS_FILE,
} from "../../signing/custody/backup.ts";
import { parseSealedKey } from "../../signing/custody/custody.ts";
import { SigningError } from "../../signing/errors.ts";
import { linesIn, piecesOf } from "./segment-stream.ts";
import { loadSettings, LOG_KEY, logOrigin, type SignerFolder } from "./settings.ts";

/** How often the small files are read again when somebody changed them meanwhile. */
const TRIES = 5;

export type BackupFacts = {
  readonly signer: string;
  readonly entries: number;
  /** Hex; empty when the log has no entry yet. */
  readonly root: string;
  readonly config: string;
  readonly files: number;
  readonly bytes: number;
  /** SHA-256 of the list of digests: the backup's name in the audit log when it is restored. */
  readonly id: string;
};

/**
 * Takes no lock and disturbs nobody: the log only grows, and entries up to a signed checkpoint never change. `onBytes` counts towards
 * `backupSize`. The log is checked against its checkpoint on the way, so that a damaged one is never kept as a good one.
 * Errors: `signing/not-found`, `signing/bad-config`, `signing/log-damaged`, `signing/busy`, `disk/*`.
 */
export async function backupSigner(given: {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly folder: SignerFolder;
  /** The log, in the folder or elsewhere. */
  readonly log: LogPlace;
  readonly to: string;
  readonly onBytes: (bytes: number) => void;
}): Promise<BackupFacts> {
  const { disk, clock, folder, log, to } = given;
  const small = await smallFiles(disk, folder);
  const { config, sha256 } = await loadSettings(disk, folder);
  const { spki } = parseSealedKey(small.get(`keys/${LOG_KEY}.json`) ?? new Uint8Array(0));
  const key = noteKeyFromSpki(logOrigin(config.service.name), fromBase64(spki ?? ""));
  const newest = (await exists(log.disk, log.folder)) ? await newestNote(log.disk, log.folder, key) : null;
  const size = newest?.checkpoint.size ?? 0;

  const beside = `${to}.part`;
  if (await exists(disk, beside)) await disk.removeFile(beside);
  const tar = new TarFile(await disk.open(beside, "create", 0o600), given.onBytes);
  const head = {
    kind: "upkeep-signer-backup",
    version: 1,
    signer: config.service.name,
    made: formatInstant(clock.now()),
    config: sha256,
    entries: size,
    log: formatNoteKey(key),
  } as const;
  let root = "";
  try {
    await tar.add(HEAD_FILE, formatBackupHead(head));
    for (const [path, bytes] of small) await tar.add(path, bytes);
    if (newest !== null) {
      await tar.add(CHECKPOINT_FILE, toUtf8(newest.note));
      root = toHex(newest.checkpoint.root);
      await addLog(log.disk, log.folder, key, newest.checkpoint, tar);
    }
    await tar.end();
  } catch (error) {
    await tar.close();
    await disk.removeFile(beside);
    throw error;
  }
  await tar.close();
  await disk.rename(beside, to);
  await disk.syncDirectory(parentOf(to));
  return {
    signer: config.service.name,
    entries: size,
    root,
    config: sha256,
    files: tar.sums.length,
    bytes: tar.at,
    id: tar.id,
  };
}

/** Roughly what a backup will have to copy, for a progress bar. */
export async function backupSize({ disk, folder }: LogPlace): Promise<number> {
  let total = 0;
  for (const sub of ["entries", "blobs"]) {
    const path = `${folder}/${sub}`;
    if (!(await exists(disk, path))) continue;
    for (const name of await disk.list(path)) total += (await disk.stat(`${path}/${name}`)).size;
  }
  return total;
}

/** Configuration, certificates and sealed parts, all of one moment. */
async function smallFiles(disk: Disk, folder: SignerFolder): Promise<Map<string, Uint8Array>> {
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const [one, two] = [await readSmall(disk, folder), await readSmall(disk, folder)];
    const same =
      one.size === two.size &&
      [...one].every(([path, bytes]) => equalBytes(bytes, two.get(path) ?? new Uint8Array(0)));
    if (same) return one;
  }
  throw new SigningError("signing/busy", "The configuration keeps changing while it is copied; try again.");
}

async function readSmall(disk: Disk, folder: SignerFolder): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  const take = async (path: string): Promise<void> => {
    const place = placeInBackup(path);
    if (place === null) return;
    const bytes = await readOrNull(disk, `${folder.root}/${path}`, place.limit);
    if (bytes !== null) files.set(path, bytes);
  };
  for (const path of ["signer.toml", "unlock.json", "admins.json"]) await take(path);
  for (const name of await disk.list(folder.root)) if (name.endsWith(".pem")) await take(name);
  for (const sub of ["keys", "certificates"]) {
    if (!(await exists(disk, `${folder.root}/${sub}`))) continue;
    for (const name of await disk.list(`${folder.root}/${sub}`)) await take(`${sub}/${name}`);
  }
  return files;
}

/** Entries up to the checkpoint, then the documents they name. */
async function addLog(
  disk: LogPlace["disk"],
  audit: string,
  key: NoteKey,
  checkpoint: { readonly size: number; readonly root: Uint8Array },
  tar: TarFile,
): Promise<void> {
  const tree = new TileTree(() => Promise.reject(new Error("a tile that is not kept was asked for")));
  const blobs = new Set<string>();
  for (const first of await segmentsOf(disk, audit)) {
    if (tree.size >= checkpoint.size) break;
    if (first !== tree.size) throw damaged(tree.size, "it is missing");
    const path = segmentPath(audit, first);
    const sum = createHash("sha256");
    let end = 0;
    for await (const line of linesIn(disk, path, first)) {
      if (tree.size === checkpoint.size) break;
      const entry = parseEntry(line);
      for (const blob of [
        ...("document" in entry ? [entry.document] : []),
        ...("reply" in entry ? [entry.reply] : []),
      ] as Blob[])
        if (blob.inline === undefined) blobs.add(blob.sha256);
      tree.push(leafOf(line));
      tree.take();
      sum.update(line).update("\n");
      end += line.length + 1;
    }
    const copied = await tar.copy(
      `audit/entries/${String(first).padStart(12, "0")}.jsonl`,
      end,
      piecesOf(disk, path, end),
    );
    // What was checked is what was copied.
    if (copied !== sum.digest("hex")) throw damaged(first, "its segment was changed while it was copied");
  }
  if (tree.size < checkpoint.size) throw damaged(tree.size, "it is missing");
  if (!equalBytes(tree.root(), checkpoint.root)) {
    throw new SigningError(
      "signing/log-damaged",
      `The audit log of ${key.name} does not lead to its checkpoint over ${checkpoint.size} entries, and is not backed up as if it did.`,
      { size: checkpoint.size },
      { hint: 'Run "upkeep audit verify": it names what was changed.' },
    );
  }
  for (const sha256 of [...blobs].toSorted()) {
    const path = `audit/blobs/${sha256}`;
    const bytes = await disk.read(blobPath(audit, sha256), placeInBackup(path)!.limit);
    if (sha256Hex(bytes) !== sha256)
      throw new SigningError("signing/log-damaged", `The document ${sha256} of the audit log was changed.`, {
        sha256,
      });
    await tar.add(path, bytes);
  }
}

class TarFile {
  readonly #file: DiskFile;
  readonly #onBytes: (bytes: number) => void;
  readonly sums: [path: string, sha256: string][] = [];
  at = 0;
  id = "";

  constructor(file: DiskFile, onBytes: (bytes: number) => void) {
    this.#file = file;
    this.#onBytes = onBytes;
  }

  async add(path: string, bytes: Uint8Array): Promise<void> {
    await this.#put(tarHeader({ kind: "file", path, size: bytes.length, executable: false }));
    await this.#put(bytes);
    await this.#put(tarPadding(bytes.length));
    this.sums.push([path, sha256Hex(bytes)]);
    if (path.startsWith("audit/")) this.#onBytes(bytes.length);
  }

  /** A file of so many bytes; returns their SHA-256. */
  async copy(path: string, size: number, pieces: AsyncIterable<Uint8Array>): Promise<string> {
    await this.#put(tarHeader({ kind: "file", path, size, executable: false }));
    const sum = createHash("sha256");
    let left = size;
    for await (const piece of pieces) {
      await this.#put(piece);
      sum.update(piece);
      left -= piece.length;
      this.#onBytes(piece.length);
    }
    if (left !== 0) throw badBackup(`${path} ended while it was copied`, undefined, path);
    await this.#put(tarPadding(size));
    const sha256 = sum.digest("hex");
    this.sums.push([path, sha256]);
    return sha256;
  }

  async end(): Promise<void> {
    const list = formatSums(this.sums);
    this.id = sha256Hex(list);
    await this.add(SUMS_FILE, list);
    await this.#put(tarEnd());
    await this.#file.sync();
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  async #put(bytes: Uint8Array): Promise<void> {
    await this.#file.write(this.at, bytes);
    this.at += bytes.length;
  }
}
