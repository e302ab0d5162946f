// Opens a file but never the target of a link in its place, also where the system has no flag for that (Windows).

import { constants } from "node:fs";
import { lstat, open, type FileHandle } from "node:fs/promises";
import { systemPath } from "./raw-path.ts";

const HAS_FLAG = typeof constants.O_NOFOLLOW === "number";

/** Fails with ELOOP if the last place of `path` is a link. `flags` as in open(2), `hasFlag` is false where O_NOFOLLOW is not known. */
export async function openPlain(
  path: string,
  flags: number,
  mode?: number,
  hasFlag = HAS_FLAG,
): Promise<FileHandle> {
  if (hasFlag) return open(systemPath(path), flags | constants.O_NOFOLLOW, mode);
  await refuseLink(path);
  const handle = await open(systemPath(path), flags, mode);
  try {
    // A link that was laid there meanwhile leads to another file than the one that lies in its place.
    const [opened, there] = [
      await handle.stat({ bigint: true }),
      await lstat(systemPath(path), { bigint: true }),
    ];
    if (there.isSymbolicLink() || there.ino !== opened.ino || there.dev !== opened.dev) throw isLink(path);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function refuseLink(path: string): Promise<void> {
  try {
    if ((await lstat(systemPath(path))).isSymbolicLink()) throw isLink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

function isLink(path: string): Error {
  return Object.assign(new Error(`ELOOP: ${path} is a link`), { code: "ELOOP" });
}
