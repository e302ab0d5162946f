// A restored log on its way into a database: copied, checked there again, and in its place as a whole or not at all.

import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { makeDirectories, removeTree, writeAtomic, type Disk, type FileStore } from "../../core/disk.ts";
import type { NoteKey } from "../../signing/audit/note.ts";
import { verifyLog } from "../../signing/audit/verify.ts";
import { appendTable, removeTable } from "../../signing/policy/config-text.ts";
import { MAX_CONFIG, type StoreConfig } from "../../signing/policy/config.ts";
import { SigningError } from "../../signing/errors.ts";
import { hasLog, rememberHome, storeAddress, writeHome } from "./log-home.ts";
import { loadSettings, type SignerFolder } from "./settings.ts";

const PART = 1024 * 1024;

/** `"folder"`, a database, or null for whatever the configuration in the backup says. */
export type Target = StoreConfig | "folder" | null;

/** Writes the home of the log into the configuration. Errors: `signing/bad-config`. */
export async function setStore(disk: Disk, staged: SignerFolder, target: Target): Promise<void> {
  if (target === null) return;
  const text = fromUtf8(await disk.read(staged.config, MAX_CONFIG));
  const without = /^\s*\[\s*store\s*\]/m.test(text) ? removeTable(text, ["store"]) : text;
  const next = target === "folder" ? without : appendTable(without, ["store"], target);
  await writeAtomic(disk, staged.config, toUtf8(next), 0o600);
  await loadSettings(disk, staged);
}

/**
 * Moves the log of a staged signer into the database that its configuration names, if it names one; `commit` then puts the signer's folder
 * in its place. If that fails, the database is as it was. Errors: `signing/exists` when the database has a log of this signer,
 * `signing/busy` when a signer works on it, `signing/log-damaged`, `signing/store-unavailable`, `signing/store-refused`.
 */
export async function moveLog(
  given: { readonly disk: Disk; readonly clock: Clock },
  staged: SignerFolder,
  key: NoteKey,
  commit: () => Promise<void>,
): Promise<void> {
  const { disk, clock } = given;
  const settings = await loadSettings(disk, staged);
  if (storeAddress(staged, settings) === null) return commit();
  // Aside, so that it does not look like a signer with two logs.
  const aside = `${staged.root}/log`;
  await disk.rename(staged.audit, aside);
  const home = await writeHome(disk, staged, settings, { clock });
  try {
    const { files, folder } = home;
    if (await hasLog(files, folder))
      throw new SigningError(
        "signing/exists",
        `The database ${home.store ?? ""} holds a log of ${settings.config.service.name} already; a backup is restored to an empty place only.`,
        { store: home.store ?? "" },
        { hint: "Name another database, or keep the log there: a copy of the signer's folder works on it." },
      );
    const beside = `${folder}.restoring`;
    await removeTree(files, beside);
    await removeTree(files, folder);
    await copyTree({ files: disk, path: aside }, { files, path: beside });
    const [fault] = (await verifyLog(files, beside, key)).faults;
    if (fault !== undefined) throw new SigningError("signing/log-damaged", fault.sentence);
    await files.rename(beside, folder);
    try {
      await rememberHome(disk, staged, home);
      await removeTree(disk, aside);
      await commit();
    } catch (error) {
      await removeTree(files, folder);
      throw error;
    }
  } finally {
    await home.close();
  }
}

type Place = { readonly files: FileStore; readonly path: string };

async function copyTree(from: Place, to: Place): Promise<void> {
  const { kind } = await from.files.stat(from.path);
  if (kind === "directory") {
    await makeDirectories(to.files, to.path, 0o700);
    for (const name of await from.files.list(from.path))
      await copyTree(
        { files: from.files, path: `${from.path}/${name}` },
        { files: to.files, path: `${to.path}/${name}` },
      );
    return;
  }
  const [source, target] = [
    await from.files.open(from.path, "read"),
    await to.files.open(to.path, "create", 0o600),
  ];
  try {
    for (let at = 0; ;) {
      const part = await source.read(at, PART);
      if (part.length === 0) break;
      await target.write(at, part);
      await target.sync();
      at += part.length;
    }
  } finally {
    await source.close();
    await target.close();
  }
}
