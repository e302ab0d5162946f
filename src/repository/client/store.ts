// Where a client keeps the metadata it trusts, byte for byte as received, so that a crash, a full disk or a second process harms nothing.

import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import {
  DiskError,
  makeDirectories,
  parentOf,
  readOrNull,
  statOrNull,
  writeAtomic,
  type Disk,
} from "../../core/disk.ts";
import type { Instant } from "../../core/instant.ts";
import { isJsonObject, parseJson, type Json } from "../../core/json.ts";
import { UpkeepError } from "../../core/errors.ts";
import { roleFile } from "../names.ts";
import { knownTimeOf, type KnownTime } from "./known-time.ts";

/** One holder at a time, across processes. Resolves when held; call the result to let go. Throws `repository/locked`. */
export type Lock = () => Promise<() => Promise<void>>;

/** What is stored is used if it passes, and otherwise as good as not there: it is fetched again. */
export async function accepted<T>(
  stored: Uint8Array | null | Promise<Uint8Array | null>,
  check: (bytes: Uint8Array) => T,
): Promise<T | null> {
  try {
    const bytes = await stored;
    return bytes === null ? null : check(bytes);
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

/** What a finished refresh found, so that the next one can tell quickly that nothing is new. Never a reason to trust content. */
export type Checked = {
  /** SHA-256 of the root and the timestamp it was found under. */
  readonly root: string;
  readonly timestamp: string;
  /** Files that were verified then, and when they expire. */
  readonly roles: { readonly snapshot: CheckedFile; readonly targets: CheckedFile };
};
export type CheckedFile = { readonly length: number; readonly expires: Instant };

/** What a client needs of a place to keep metadata; most callers use `diskStore`. */
export interface MetadataStore {
  /** The stored file of a role, or null. Content is verified by the caller. */
  load(role: string, limit: number): Promise<Uint8Array | null>;
  /** Length of the stored file without reading it, or null. */
  lengthOf(role: string): Promise<number | null>;
  save(role: string, bytes: Uint8Array): Promise<void>;
  remove(role: string): Promise<void>;
  /** Every root that was trusted, by version, so that the chain from a compiled-in root can be walked without a network. */
  loadRoot(version: number, limit: number): Promise<Uint8Array | null>;
  saveRoot(version: number, bytes: Uint8Array): Promise<void>;
  /** The latest time at which a refresh succeeded: time never was earlier than that. */
  loadKnownTime(): Promise<KnownTime | null>;
  saveKnownTime(known: KnownTime): Promise<void>;
  /** What a person asks for who says that the remembered time is wrong. */
  forgetKnownTime(): Promise<void>;
  loadChecked(): Promise<Checked | null>;
  saveChecked(checked: Checked): Promise<void>;
  lock: Lock;
  /** True once a write was refused because the place is read-only; everything is then kept in memory only. */
  readonly readOnly: boolean;
}

/**
 * A store in a folder: `root.json`, `timestamp.json`, `snapshot.json`, `targets.json` and one file per delegated role;
 * `history/N.root.json`; `state/` for what is not metadata. A folder that cannot be written is used read-only.
 */
export function diskStore(
  disk: Disk,
  folder: string,
  lock: Lock = async () => async () => {},
): MetadataStore {
  const overlay = new Map<string, Uint8Array | null>();
  let readOnly = false;

  const load = async (path: string, limit: number): Promise<Uint8Array | null> => {
    const kept = overlay.get(path);
    if (kept !== undefined) return kept;
    return readOrNull(disk, path, limit);
  };
  const change = async (path: string, bytes: Uint8Array | null): Promise<void> => {
    if (!readOnly) {
      try {
        if (bytes !== null) await put(disk, path, bytes);
        else if ((await statOrNull(disk, path)) !== null) {
          await disk.removeFile(path);
          // Gone for good before anything that follows from it is stored.
          await disk.syncDirectory(parentOf(path));
        }
        return;
      } catch (error) {
        if (!(error instanceof DiskError && error.code === "disk/read-only")) throw error;
        readOnly = true;
      }
    }
    overlay.set(path, bytes);
  };
  const path = (role: string): string => `${folder}/${storedName(roleFile(role))}`;
  const history = (version: number): string => `${folder}/history/${roleFile("root", version)}`;
  const state = (name: string): string => `${folder}/state/${name}`;
  const loadState = async (name: string): Promise<Json | null> => {
    // A torn state file is as good as none: it only ever saves work or raises the lower bound of time.
    return accepted(load(state(name), 64 * 1024), parseJson);
  };

  return {
    load: (role, limit) => load(path(role), limit),
    lengthOf: async (role) => {
      const kept = overlay.get(path(role));
      if (kept !== undefined) return kept?.length ?? null;
      const found = await statOrNull(disk, path(role));
      return found?.kind === "file" ? found.size : null;
    },
    save: (role, bytes) => change(path(role), bytes),
    remove: (role) => change(path(role), null),
    loadRoot: (version, limit) => load(history(version), limit),
    saveRoot: (version, bytes) => change(history(version), bytes),
    loadKnownTime: async () => knownTimeOf(await loadState("known-time")),
    saveKnownTime: (known) => change(state("known-time"), toUtf8(`${JSON.stringify(known)}\n`)),
    forgetKnownTime: () => change(state("known-time"), null),
    loadChecked: async () => checkedOf(await loadState("checked")),
    saveChecked: (checked) => change(state("checked"), toUtf8(`${JSON.stringify(checked)}\n`)),
    lock: async () => {
      if (readOnly) return async () => {};
      try {
        await makeDirectories(disk, folder, 0o700);
        return await lock();
      } catch (error) {
        if (!(error instanceof DiskError && error.code === "disk/read-only")) throw error;
        readOnly = true;
        return async () => {};
      }
    },
    get readOnly() {
      return readOnly;
    },
  };
}

/**
 * On Windows `CON.json` is a device, whatever follows the dot. Its first letter is percent-encoded, which `roleFile` never does
 * to a letter, so that no two roles share a file.
 */
function storedName(file: string): string {
  if (!/^(con|prn|aux|nul|com\d|lpt\d)\./i.test(file)) return file;
  return `%${file.charCodeAt(0).toString(16).toUpperCase()}${file.slice(1)}`;
}

async function put(disk: Disk, path: string, bytes: Uint8Array): Promise<void> {
  try {
    await writeAtomic(disk, path, bytes);
  } catch (error) {
    if (!(error instanceof DiskError && error.code === "disk/missing")) throw error;
    await makeDirectories(disk, parentOf(path), 0o700);
    await writeAtomic(disk, path, bytes);
  }
}

function checkedOf(value: Json | null): Checked | null {
  if (!isJsonObject(value ?? undefined)) return null;
  const { root, timestamp, roles } = value as { [name: string]: Json };
  if (typeof root !== "string" || typeof timestamp !== "string" || !isJsonObject(roles)) return null;
  const file = (one: Json | undefined): CheckedFile | null => {
    if (!isJsonObject(one)) return null;
    const { length, expires } = one;
    return typeof length === "number" && typeof expires === "number" ? { length, expires } : null;
  };
  const [snapshot, targets] = [file(roles["snapshot"]), file(roles["targets"])];
  return snapshot === null || targets === null ? null : { root, timestamp, roles: { snapshot, targets } };
}

/** A store without a disk: for tests, and for callers that keep nothing. */
export function memoryStore(): MetadataStore & { readonly files: Map<string, Uint8Array> } {
  const files = new Map<string, Uint8Array>();
  const text = (name: string): Json | null => {
    const bytes = files.get(name);
    return bytes === undefined ? null : (JSON.parse(fromUtf8(bytes)) as Json);
  };
  return {
    files,
    load: async (role) => files.get(roleFile(role)) ?? null,
    lengthOf: async (role) => files.get(roleFile(role))?.length ?? null,
    save: async (role, bytes) => void files.set(roleFile(role), bytes),
    remove: async (role) => void files.delete(roleFile(role)),
    loadRoot: async (version) => files.get(`history/${version}`) ?? null,
    saveRoot: async (version, bytes) => void files.set(`history/${version}`, bytes),
    loadKnownTime: async () => knownTimeOf(text("state/known-time")),
    saveKnownTime: async (known) => void files.set("state/known-time", toUtf8(JSON.stringify(known))),
    forgetKnownTime: async () => void files.delete("state/known-time"),
    loadChecked: async () => text("state/checked") as Checked | null,
    saveChecked: async (checked) => void files.set("state/checked", toUtf8(JSON.stringify(checked))),
    lock: async () => async () => {},
    readOnly: false,
  };
}
