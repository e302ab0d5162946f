// What lies in the way of updating a device: a folder that others may write, settings that cannot be read, an identity that is damaged or gone. It never keeps down what is installed.

import type { Settings } from "../../agent/settings.ts";
import { readOrNull, type Disk } from "../../core/disk.ts";
import { UpkeepError } from "../../core/errors.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import { guardFolder } from "../../io/device/folder-guard.ts";
import { loadIdentity, type StoredIdentity } from "../../io/device/device-identity.ts";
import { loadSettings, settingsOrLast } from "./local-settings.ts";

export type Hurdle = {
  readonly error: UpkeepError;
  /** As far as the damaged identity says it. */
  readonly device: string;
  /** True once somebody mended it. */
  readonly isOver: () => Promise<boolean>;
};

export type AgentFolder = {
  readonly settings: Settings;
  /** Null while it cannot be read; then there is a hurdle. */
  readonly identity: StoredIdentity | null;
  readonly hurdle: Hurdle | null;
};

/** Errors: with nothing installed, `agent/exposed-folder`, `agent/not-enrolled`, `agent/damaged-identity`, `agent/bad-settings`, `disk/*`. */
export async function readFolder(disk: Disk, folder: string): Promise<AgentFolder> {
  const path = `${folder}/identity`;
  const { settings, trouble } = await settingsOrLast(disk, folder);
  const exposed = await troubleOf(guardFolder(folder));
  let identity: StoredIdentity | null = null;
  let lost: UpkeepError | null = null;
  try {
    identity = await loadIdentity(disk, path);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    lost = error;
  }
  const error = exposed ?? lost ?? trouble;
  if (error === null) return { settings, identity, hurdle: null };
  if (!(await isAnythingInstalled(disk, folder))) throw error;
  const isOver = async (): Promise<boolean> => {
    try {
      await guardFolder(folder);
      await loadSettings(disk, folder);
      await loadIdentity(disk, path);
      return true;
    } catch (again) {
      if (again instanceof UpkeepError) return false;
      throw again;
    }
  };
  const device = identity?.record.device ?? (await deviceOf(disk, `${path}/identity.json`));
  return { settings, identity, hurdle: { error, device, isOver } };
}

async function troubleOf(look: Promise<unknown>): Promise<UpkeepError | null> {
  try {
    await look;
    return null;
  } catch (error) {
    if (error instanceof UpkeepError) return error;
    throw error;
  }
}

async function isAnythingInstalled(disk: Disk, folder: string): Promise<boolean> {
  try {
    return (await disk.list(`${folder}/components`)).length > 0;
  } catch (error) {
    if (error instanceof UpkeepError) return false;
    throw error;
  }
}

/** For people who look at the status; nothing is decided by it. */
async function deviceOf(disk: Disk, path: string): Promise<string> {
  try {
    const bytes = await readOrNull(disk, path, 1024 * 1024);
    const record = bytes === null ? null : parseJson(bytes);
    const device = isJsonObject(record) ? record["device"] : null;
    return typeof device === "string" && /^[0-9a-f-]{36}$/.test(device) ? device : "unknown";
  } catch (error) {
    if (error instanceof UpkeepError) return "unknown";
    throw error;
  }
}
