// Whether a signer has been in a folder: whatever is left of one keeps another from being made over it.

import { exists, type Disk } from "../../../core/disk.ts";
import { SigningError } from "../../../signing/errors.ts";

/** Any trace of a signer is a signer: its keys exist once. Folders without a file are no trace. Throws `signing/exists`. */
export async function refuseTraces(disk: Disk, root: string): Promise<void> {
  if (!(await holdsFile(disk, root))) return;
  throw new SigningError(
    "signing/exists",
    `There is a signer in ${root} already, or what is left of one.`,
    { folder: root },
    {
      hint: "upkeep signer check looks at it; what it has lost comes back with upkeep signer restore. A new one needs another folder (--data).",
    },
  );
}

async function holdsFile(disk: Disk, folder: string): Promise<boolean> {
  if (!(await exists(disk, folder))) return false;
  for (const name of await disk.list(folder)) {
    const path = `${folder}/${name}`;
    if ((await disk.stat(path)).kind !== "directory" || (await holdsFile(disk, path))) return true;
  }
  return false;
}
