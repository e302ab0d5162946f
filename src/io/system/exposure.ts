// Whose a place on the disk is: what others could write would decide what this program does.

import { lstat } from "node:fs/promises";
import type { Stats } from "node:fs";
import { DiskError } from "../../core/disk.ts";
import { showName } from "../../core/raw-name.ts";

/** Why somebody else than this user and root could change a place; null when nobody could. */
export function exposure(stat: Stats): string | null {
  // Its own mode says nothing of a link; where it leads is another's affair, and so is who laid it.
  const others = stat.isSymbolicLink() ? 0 : stat.mode & 0o022;
  if (others !== 0)
    return `${(others & 0o002) === 0 ? "its group" : "everybody"} may write it (mode ${(stat.mode & 0o7777).toString(8)})`;
  const { uid } = stat;
  return uid === 0 || uid === process.geteuid?.() ? null : `it belongs to user ${uid}`;
}

/**
 * For programs that keep keys and records: refuses a folder, or what stands directly in it by one of the `names`, that others could change.
 * What is not there is not exposed. Access lists are what Windows asks instead. Errors: `disk/exposed`.
 */
export async function refuseExposed(folder: string, names: readonly string[] = []): Promise<void> {
  if (process.platform === "win32") return;
  for (const place of [folder, ...names.map((name) => `${folder}/${name}`)]) {
    const stat = await lstatOrNull(place);
    const why = stat === null ? null : exposure(stat);
    if (why === null) continue;
    throw new DiskError(
      "disk/exposed",
      `Keys and records are not kept in ${showName(place)}: ${why}.`,
      { path: place, why },
      {
        hint: why.startsWith("it belongs")
          ? "Look first whether anything in it was changed. Then give it to the user that runs this (chown)."
          : `Look first whether anything in it was changed. Then: chmod go-w '${place}'`,
      },
    );
  }
}

/** What is there by that name, links not followed. */
export async function lstatOrNull(path: string): Promise<Stats | null> {
  try {
    return await lstat(path);
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

export function isMissing(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "");
}
