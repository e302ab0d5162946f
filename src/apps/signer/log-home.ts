// Where a signer's audit log is: in its folder, or in the database that `[store]` names; one of them, never both.

import { resolve } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { exists, readOrNull, writeAtomic, type Disk, type FileStore } from "../../core/disk.ts";
import type { SignerConfig } from "../../signing/policy/config.ts";
import { segmentsOf } from "../../signing/audit/files.ts";
import { SigningError } from "../../signing/errors.ts";
import type { Holder, StoreAddress } from "../../io/log-store/signer-store.ts";
import type { SignerFolder } from "./settings.ts";

export type LogHome = {
  readonly files: FileStore;
  /** The log's own folder in `files`. */
  readonly folder: string;
  /** The database, without secrets; null for a folder. */
  readonly store: string | null;
  close(): Promise<void>;
};

/** What has the parts of a home that settings name. */
type Named = { readonly config: SignerConfig };

export function storeAddress(folder: SignerFolder, { config }: Named): StoreAddress | null {
  if (config.store === undefined) return null;
  const { url, "password-file": file } = config.store;
  return { url, passwordFile: file === undefined ? null : resolve(folder.root, file) };
}

/**
 * For commands that only read; a signer may write meanwhile.
 * Errors: `signing/refused` when the log was in the other home before, `signing/store-unavailable`, `signing/store-refused`, `disk/*`.
 */
export async function readHome(disk: Disk, folder: SignerFolder, settings: Named): Promise<LogHome> {
  const address = storeAddress(folder, settings);
  await demandSameHome(disk, folder, address);
  if (address === null) return inFolder(disk, folder.audit);
  const { readStore } = await import("../../io/log-store/signer-store.ts");
  return { ...(await readStore(address, settings.config.service.name)), store: address.url };
}

/**
 * For the one who writes. The folder's own lock is the caller's; that of a database is taken here, and held until `close` or until it is lost.
 * Without `waiting` a log that another signer writes is refused.
 * Errors: `signing/busy`, `signing/refused` when the log was elsewhere before, `signing/store-unavailable`, `signing/store-refused`.
 */
export async function writeHome(
  disk: Disk,
  folder: SignerFolder,
  settings: Named,
  more: {
    readonly clock: Clock;
    readonly waiting?: (holder: Holder) => void;
    readonly lost?: (error: Error) => void;
  },
): Promise<LogHome> {
  const address = storeAddress(folder, settings);
  await demandSameHome(disk, folder, address);
  if (address === null) return inFolder(disk, folder.audit);
  const { writeStore } = await import("../../io/log-store/signer-store.ts");
  const store = await writeStore(address, { signer: settings.config.service.name, ...more });
  try {
    if ((await exists(disk, folder.home)) && !(await hasLog(store.files, store.folder)))
      throw elsewhere(
        `The database ${address.url} holds no log of this signer, and the last one that it used did (${await lastHome(disk, folder)}).`,
        "Name the database that has the log, or restore a backup there. Nothing was written.",
      );
    return { ...store, store: address.url };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Remembers in the signer's folder that the log is in a database, so that taking `[store]` out does not begin another one. */
export async function rememberHome(disk: Disk, folder: SignerFolder, { store }: LogHome): Promise<void> {
  if (store === null || (await lastHome(disk, folder)) === store) return;
  await writeAtomic(disk, folder.home, toUtf8(`${store}\n`), 0o600);
}

export async function hasLog(files: FileStore, folder: string): Promise<boolean> {
  return (await exists(files, `${folder}/entries`)) && (await segmentsOf(files, folder)).length > 0;
}

/** A log that begins anew would forget what was signed, counted and used; receipts of both would contradict each other. */
async function demandSameHome(disk: Disk, folder: SignerFolder, address: StoreAddress | null): Promise<void> {
  if (address !== null && (await hasLog(disk, folder.audit)))
    throw elsewhere(
      `The log of this signer is in ${folder.audit}, and [store] names a database.`,
      'Move it: "upkeep signer backup", then "upkeep signer restore --log-store" to a new folder. Nothing was written.',
    );
  const last = await lastHome(disk, folder);
  if (address === null && last !== "")
    throw elsewhere(
      `The log of this signer is in the database ${last}, and signer.toml has no [store] any more.`,
      'Put [store] back, or move the log: "upkeep signer backup", then "upkeep signer restore --log-store folder" to a new folder.',
    );
}

async function lastHome(disk: Disk, folder: SignerFolder): Promise<string> {
  const bytes = await readOrNull(disk, folder.home, 16 * 1024);
  return bytes === null ? "" : fromUtf8(bytes).trim();
}

function elsewhere(sentence: string, hint: string): SigningError {
  return new SigningError("signing/refused", sentence, {}, { hint });
}

function inFolder(disk: Disk, folder: string): LogHome {
  return { files: disk, folder, store: null, close: async () => {} };
}
