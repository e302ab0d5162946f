// The program that runs, as a file: on Linux the very image the kernel started, not what lies at its path by now.

import { getAsset, isSea } from "node:sea";
import { openSource, type OpenSource } from "../source/file.ts";

/** What a single executable carries beside its code, or null: when it runs from source, or was built without. */
export function ownAsset(name: string): Uint8Array | null {
  if (!isSea()) return null;
  try {
    return new Uint8Array(getAsset(name));
  } catch {
    return null;
  }
}

/** True for a single executable; a program that runs from source has no image of its own to check. */
export function isSingleExecutable(): boolean {
  return isSea();
}

export function openOwnImage(): Promise<OpenSource> {
  return openSource(process.platform === "linux" ? "/proc/self/exe" : process.execPath);
}
