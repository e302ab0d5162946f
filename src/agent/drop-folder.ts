// The drop folder: a message that somebody carried here as a file is as good as one that came over a connection, for it proves itself.

import { makeDirectories, type Disk } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { SEALED_LENGTH } from "../message/sealed-length.ts";
import { sentenceOf } from "./errors.ts";
import type { World } from "./ports.ts";

/** Files that are looked at in one round; each of them is removed. */
const ROUND = 32;

export function dropFolderOf(folder: string): string {
  return `${folder}/messages`;
}

/** Judges what lies in the folder and removes it, whatever it was. A disk in trouble keeps nobody from anything. */
export async function emptyDropFolder(
  { disk, log }: Pick<World, "disk" | "log">,
  folder: string,
  deliver: (bytes: Uint8Array) => Promise<unknown>,
): Promise<void> {
  const place = dropFolderOf(folder);
  try {
    for (const name of (await namesIn(disk, place)).slice(0, ROUND)) {
      const bytes = await readSmall(disk, `${place}/${name}`);
      // Removed first: a message that makes this agent fail would be found again and again.
      await disk.removeFile(`${place}/${name}`);
      await deliver(bytes);
    }
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    log({ level: "warn", event: "drop-folder", code: error.code, message: sentenceOf(error) });
  }
}

async function namesIn(disk: Disk, place: string): Promise<readonly string[]> {
  await makeDirectories(disk, place, 0o700);
  // A file that is still being written has another name.
  return (await disk.list(place)).filter((name) => name.endsWith(".sealed")).toSorted();
}

/** What is larger than a message is none; nothing of it is read. */
async function readSmall(disk: Disk, path: string): Promise<Uint8Array> {
  try {
    return await disk.read(path, SEALED_LENGTH);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    return new Uint8Array(0);
  }
}
