// Files of the commands of `delta`: read whole, within what patches can be made for, and written where nothing is yet.

import { realpath } from "node:fs/promises";
import { basename, resolve } from "node:path";
import { exists, parentOf, type Disk } from "../../../core/disk.ts";
import { DeltaError } from "../../../delta/errors.ts";
import { MAX_FILE } from "../../../delta/hd1-format.ts";
import { showName } from "../../../core/raw-name.ts";
import { usage } from "../../framework/errors.ts";

/** Errors: `cli/usage` for a folder, `delta/too-large`, `disk/*`. */
export async function readWhole(disk: Disk, path: string): Promise<Uint8Array> {
  const found = await findWhole(disk, path);
  return disk.read(found.path, found.size);
}

/** Where the file really is: a link leads to it. Errors: `cli/usage` for a folder, `delta/too-large`, `disk/*`. */
export async function findWhole(
  disk: Disk,
  given: string,
): Promise<{ readonly path: string; readonly size: number }> {
  const path = await realpath(given).catch(() => resolve(given));
  const stat = await disk.stat(path);
  const shown = showName(basename(path));
  if (stat.kind === "directory") {
    throw usage(
      `${shown} is a folder; a patch is from one file to another.`,
      "`upkeep release add` makes patches of folders by itself.",
    );
  }
  if (stat.size > MAX_FILE) {
    throw new DeltaError(
      "delta/too-large",
      `${shown} has ${stat.size} bytes; at most ${MAX_FILE} can be patched.`,
      { length: stat.size, limit: MAX_FILE },
    );
  }
  return { path, size: stat.size };
}

/** Errors: `cli/usage` if there is something already. */
export async function checkFree(disk: Disk, path: string): Promise<void> {
  if (await exists(disk, resolve(path)))
    throw usage(`${showName(basename(path))} exists already.`, "Choose another name, or remove it first.");
}

/** In place only when it is whole. Errors: `disk/*`, those of `parts`. */
export async function writeNew(disk: Disk, path: string, parts: Iterable<Uint8Array>): Promise<number> {
  const to = resolve(path);
  const beside = `${to}.part`;
  const file = await disk.open(beside, "create", 0o644);
  let at = 0;
  try {
    for (const part of parts) {
      await file.write(at, part);
      at += part.length;
    }
    await file.sync();
  } catch (error) {
    await disk.removeFile(beside).catch(() => {});
    throw error;
  } finally {
    await file.close();
  }
  await disk.rename(beside, to);
  await disk.syncDirectory(parentOf(to));
  return at;
}
