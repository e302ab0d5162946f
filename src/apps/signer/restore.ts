// Making a signer from a backup: read strictly, checked to the last byte and the last seal, and there as a whole or not at all.

import { concat, fromBase64, toHex } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { sha256Hex } from "../../core/digest.ts";
import { exists, makeDirectories, parentOf, removeTree, type Disk, type DiskFile } from "../../core/disk.ts";
import { formatInstant, parseInstant } from "../../core/instant.ts";
import { readTar } from "../../slot/tar.ts";
import { SlotError } from "../../slot/errors.ts";
import { openCheckpoint, type Checkpoint } from "../../signing/audit/checkpoint.ts";
import type { AuditEntry } from "../../signing/audit/entry.ts";
import {
  headPath,
  HEAD_SLOT,
  readSegment,
  segmentsOf,
  splitLines,
  storeTile,
} from "../../signing/audit/files.ts";
import { formatNoteKey, noteKeyFromSpki, type NoteKey } from "../../signing/audit/note.ts";
import { leafOf } from "../../signing/audit/entry.ts";
import { entryBundle, tilePath, TILE_WIDTH, TileTree } from "../../signing/audit/tiles.ts";
import { openAdmin } from "../../signing/policy/admins.ts";
import { verifyLog } from "../../signing/audit/verify.ts";
import {
  badBackup,
  CHECKPOINT_FILE,
  checkSums,
  HEAD_FILE,
  MAX_FILES,
  parseBackupHead,
  placeInBackup,
  SUMS_FILE,
  type BackupHead,
} from "../../signing/custody/backup.ts";
import {
  openKey,
  openWith,
  parseSealedKey,
  parseUnlock,
  purposeKey,
  wrappingKey,
  type Unlock,
} from "../../signing/custody/custody.ts";
import { SigningError } from "../../signing/errors.ts";
import {
  IDENTITY_KEY,
  loadSettings,
  LOG_KEY,
  logOrigin,
  signerFolderAt,
  type SignerFolder,
} from "./settings.ts";
import { readAdmins } from "./admin-requests.ts";
import { moveLog, setStore, type Target } from "./move-log.ts";
import { openOwnLog } from "./own-log.ts";

const CHUNK = 256 * 1024;

export type RestoreFacts = {
  readonly signer: string;
  readonly made: string;
  /** Entries that came with the backup; one more says that it was restored. */
  readonly entries: number;
  readonly root: string;
  readonly keys: readonly string[];
  /** Whether the log's newest entry about it names the configuration that was restored; null when the log has none. */
  readonly configInLog: boolean | null;
};

/**
 * `unlock` asks for passphrase or shares and gives the secret: with it every seal is opened once, and the log's key signs the entry that says
 * that this is a restored signer. Errors: `signing/exists`, `signing/bad-backup`, `signing/locked`, `signing/refused`, `disk/*`, and those
 * of `moveLog`.
 */
export async function restoreSigner(given: {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly from: string;
  readonly folder: SignerFolder;
  readonly unlock: (unlock: Unlock) => Promise<Uint8Array>;
  /** A configuration that the log does not name may have been changed in the backup by somebody who could not change the log. */
  readonly acceptConfiguration: boolean;
  /** Where the log shall be from now on; without it where the configuration in the backup says. */
  readonly store?: Target;
  readonly onBytes: (bytes: number) => void;
}): Promise<RestoreFacts> {
  const { disk, folder } = given;
  if ((await exists(disk, folder.root)) && (await disk.list(folder.root)).length > 0) {
    throw new SigningError(
      "signing/exists",
      `There is a signer in ${folder.root} already; a backup is restored to an empty place only.`,
      { folder: folder.root },
      { hint: "Name another one with --data, or move the old folder away first." },
    );
  }
  const staged = signerFolderAt(`${folder.root}.restoring`);
  await removeTree(disk, staged.root);
  try {
    for (const sub of ["", "/keys", "/certificates", "/audit", "/audit/entries", "/audit/blobs"])
      await makeDirectories(disk, `${staged.root}${sub}`, 0o700);
    const { head, id } = await unpack(given, staged);
    const { secret, key } = await openSeals(given, staged, head);
    const { checkpoint, configInLog } = await checkLog(disk, staged, key, head);
    if (configInLog === false && !given.acceptConfiguration) {
      throw new SigningError(
        "signing/refused",
        "The configuration in the backup is not the one that its audit log names last: it was changed while the signer was stopped, or in the backup.",
        { config: head.config },
        {
          hint: "Read signer.toml in the backup (it is a tar). If it is yours, repeat with --accept-configuration.",
        },
      );
    }
    const root = checkpoint === null ? "0".repeat(64) : toHex(checkpoint.root);
    await continueLog(given, staged, secret, { head, id, root });
    secret.fill(0);
    await setStore(disk, staged, given.store ?? null);
    await moveLog(given, staged, key, async () => {
      if (await exists(disk, folder.root)) await disk.removeDirectory(folder.root);
      await disk.rename(staged.root, folder.root);
      await disk.syncDirectory(parentOf(folder.root));
    });
    return {
      signer: head.signer,
      made: head.made,
      entries: head.entries,
      root,
      keys: (await disk.list(`${folder.root}/keys`)).map((name) => name.replace(/\.json$/, "")),
      configInLog,
    };
  } catch (error) {
    await removeTree(disk, staged.root);
    throw error;
  }
}

/** Files to their places, each in order, within its limit and named once; the list at the end says whether they are what was written. */
async function unpack(
  given: { readonly disk: Disk; readonly from: string; readonly onBytes: (bytes: number) => void },
  staged: SignerFolder,
): Promise<{ readonly head: BackupHead; readonly id: string }> {
  const { disk, from } = given;
  const read: [path: string, sha256: string][] = [];
  let head: BackupHead | null = null;
  let id: string | null = null;
  let rank = -1;
  try {
    for await (const entry of readTar(bytesOf(disk, from, given.onBytes))) {
      const place = entry.kind === "file" && !entry.executable ? placeInBackup(entry.path) : null;
      if (id !== null || place === null || place.rank < rank || (head === null) !== (place.rank === 0))
        throw badBackup(
          read.length === 0
            ? "it does not begin as one"
            : `${JSON.stringify(entry.path.slice(0, 120))} is not written there`,
          undefined,
          entry.path.slice(0, 120),
        );
      rank = place.rank;
      if (entry.size > place.limit || read.length >= MAX_FILES)
        throw badBackup(`${entry.path} is too large`, undefined, entry.path);
      const parts: Uint8Array[] = [];
      for await (const part of entry.content) parts.push(part.slice());
      const bytes = concat(parts);
      if (entry.path === SUMS_FILE) {
        checkSums(bytes, read);
        id = sha256Hex(bytes);
        continue;
      }
      const sha256 = sha256Hex(bytes);
      if (entry.path.startsWith("audit/blobs/") && !entry.path.endsWith(sha256))
        throw badBackup(`${entry.path} is not what was written`, undefined, entry.path);
      if (entry.path === HEAD_FILE) head = parseBackupHead(bytes);
      else await write(disk, `${staged.root}/${entry.path}`, bytes);
      read.push([entry.path, sha256]);
    }
  } catch (cause) {
    if (cause instanceof SlotError) throw badBackup(cause.message.replace(/\.$/, ""), cause);
    if ((cause as { code?: string }).code === "disk/exists")
      throw badBackup("a file stands in it twice", cause);
    throw cause;
  }
  if (head === null) throw badBackup("it is empty");
  if (id === null) throw badBackup("it ends before its list of digests");
  return { head, id };
}

/** Everything sealed is opened once: with this secret the restored signer will work. */
async function openSeals(
  given: { readonly disk: Disk; readonly unlock: (unlock: Unlock) => Promise<Uint8Array> },
  staged: SignerFolder,
  head: BackupHead,
): Promise<{ readonly secret: Uint8Array; readonly key: NoteKey }> {
  const { disk } = given;
  const settings = await loadSettings(disk, staged).catch((cause: unknown) => {
    throw badBackup("its configuration is not one that a signer would start with", cause, "signer.toml");
  });
  const { config } = settings;
  if (settings.sha256 !== head.config || config.service.name !== head.signer)
    throw badBackup("its configuration belongs to another backup", undefined, "signer.toml");
  const names = (await disk.list(`${staged.root}/keys`)).map((name) => name.replace(/\.json$/, ""));
  for (const name of [IDENTITY_KEY, LOG_KEY, ...Object.keys(config.keys)])
    if (!names.includes(name))
      throw badBackup(`the sealed key ${name} is missing`, undefined, `keys/${name}.json`);
  const unlock = parseUnlock(await disk.read(staged.unlock, 64 * 1024));
  const secret = await given.unlock(unlock);
  let key: NoteKey | null = null;
  for (const name of names) {
    const sealed = parseSealedKey(await disk.read(staged.key(name), 64 * 1024));
    if (sealed.name !== name) throw badBackup(`keys/${name}.json holds the key ${sealed.name.slice(0, 80)}`);
    openKey(wrappingKey(secret, name), sealed).fill(0);
    if (name === LOG_KEY) key = noteKeyFromSpki(logOrigin(head.signer), fromBase64(sealed.spki ?? ""));
  }
  const sealKey = purposeKey(secret, "config v1");
  for (const [name, user] of Object.entries(config.users)) {
    if (user.kind !== "person") continue;
    const [nonce = "", ciphertext = ""] = user.totp.split(".");
    if (openWith(sealKey, { nonce, ciphertext }, `totp ${name}`) === null)
      throw badBackup(`the one-time code secret of ${name} was sealed under another secret`);
  }
  const adminKey = purposeKey(secret, "admins v1");
  for (const [name, sealed] of Object.entries((await readAdmins(disk, staged)).admins))
    if (openAdmin(adminKey, name, sealed) === null)
      throw badBackup(
        `the one-time code secret of the administrator ${name} was sealed under another secret`,
      );
  if (formatNoteKey(key!) !== head.log) throw badBackup("its log's key belongs to another signer");
  return { secret, key: key! };
}

async function checkLog(
  disk: Disk,
  staged: SignerFolder,
  key: NoteKey,
  head: BackupHead,
): Promise<{ readonly checkpoint: Checkpoint | null; readonly configInLog: boolean | null }> {
  const path = `${staged.root}/${CHECKPOINT_FILE}`;
  if (!(await exists(disk, path))) {
    if (head.entries > 0 || (await segmentsOf(disk, staged.audit)).length > 0)
      throw badBackup("the checkpoint of its log is missing", undefined, CHECKPOINT_FILE);
    return { checkpoint: null, configInLog: null };
  }
  const note = await disk.read(path, HEAD_SLOT - 1);
  let checkpoint: Checkpoint;
  try {
    checkpoint = openCheckpoint(note, key);
  } catch (cause) {
    throw badBackup("the checkpoint of its log is not signed by the log's key", cause, CHECKPOINT_FILE);
  }
  await disk.removeFile(path);
  const slots = new Uint8Array(2 * HEAD_SLOT);
  slots.set(note);
  await write(disk, headPath(staged.audit), slots);
  let config: string | null = null;
  const verdict = await verifyLog(disk, staged.audit, key, [], (entry: AuditEntry) => {
    if (entry.kind === "start" || entry.kind === "config") config = entry.config;
  });
  const [fault] = verdict.faults;
  if (fault !== undefined) throw badBackup(`its audit log is damaged: ${fault.sentence.replace(/\.$/, "")}`);
  if (verdict.size !== checkpoint.size || verdict.size !== head.entries)
    throw badBackup(`its log has ${verdict.size} entries, and its checkpoint covers ${checkpoint.size}`);
  return { checkpoint, configInLog: config === null ? null : config === head.config };
}

/** The derived files of the log again, and one entry more: from here on this log and that of the original are two. */
async function continueLog(
  given: { readonly disk: Disk; readonly clock: Clock },
  staged: SignerFolder,
  secret: Uint8Array,
  from: { readonly head: BackupHead; readonly id: string; readonly root: string },
): Promise<void> {
  const { disk, clock } = given;
  await storeTiles(disk, staged.audit);
  const log = await openOwnLog(
    disk,
    clock,
    staged,
    { files: disk, folder: staged.audit },
    from.head.signer,
    secret,
  );
  const { head, id, root } = from;
  await log.seal({
    kind: "restored",
    size: head.entries,
    root,
    made: formatInstant(parseInstant(head.made)),
    backup: id,
  });
  await log.close();
}

/** Tiles are not in the backup, for they follow from the entries. */
async function storeTiles(disk: Disk, audit: string): Promise<void> {
  const tree = new TileTree(() => Promise.reject(new Error("a tile that is not kept was asked for")));
  let bundle: Uint8Array[] = [];
  for (const first of await segmentsOf(disk, audit)) {
    for (const line of splitLines(await readSegment(disk, audit, first)).lines) {
      tree.push(leafOf(line));
      bundle.push(line);
      for (const { level, index, hashes } of tree.take())
        await storeTile({ disk, folder: audit }, tilePath(level, index), hashes);
      if (bundle.length < TILE_WIDTH) continue;
      await storeTile(
        { disk, folder: audit },
        tilePath("entries", tree.size / TILE_WIDTH - 1),
        entryBundle(bundle),
      );
      bundle = [];
    }
  }
}

async function write(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  const file = await disk.open(path, "create", 0o600);
  try {
    await file.write(0, bytes);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.syncDirectory(parentOf(path));
}

async function* bytesOf(
  disk: Disk,
  path: string,
  onBytes: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  const file: DiskFile = await disk.open(path, "read");
  try {
    for (let at = 0; ;) {
      const bytes = await file.read(at, CHUNK);
      if (bytes.length === 0) return;
      at += bytes.length;
      onBytes(bytes.length);
      yield bytes;
    }
  } finally {
    await file.close();
  }
}
