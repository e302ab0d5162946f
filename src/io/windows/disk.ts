// The disk of a command on Windows: modes that say "nobody else" become access lists, and are read from them.

import { DiskError, type Disk } from "../../core/disk.ts";

/** What this needs of the system, so that it can be tried on another. */
export type AccessLists = {
  readonly isPrivateFile: (path: string) => Promise<boolean>;
  /** Says whether it is private afterwards. */
  readonly keepPrivate: (path: string, kind: "file" | "folder") => Promise<boolean>;
};

/** Loaded when a file is first asked about, so that no command elsewhere pays for it at its start. */
const SYSTEM: AccessLists = {
  isPrivateFile: async (path) => (await import("./access.ts")).isPrivateFile(path),
  keepPrivate: async (path, kind) => (await import("./access.ts")).keepPrivate(path, kind),
};

/** What stat says of a file there: that everybody may use it, until its access list says otherwise. */
const PRIVATE = 0o600;
const OPEN = 0o666;

/**
 * The same disk; a file is shown with mode 0600 only if its access list keeps others out, and what is made with such a mode keeps them out
 * before anything is written to it. Errors: those of the disk, `disk/io` when no private file can be made here.
 */
export function withAccessLists(disk: Disk, { isPrivateFile, keepPrivate }: AccessLists = SYSTEM): Disk {
  const secured = async (path: string, mode: number | undefined, kind: "file" | "folder"): Promise<void> => {
    if (mode === undefined || (mode & 0o077) !== 0) return;
    if (await keepPrivate(path, kind)) return;
    throw new DiskError("disk/io", `${path} cannot be kept from other users of this machine.`, { path });
  };
  return {
    ...disk,
    stat: async (path) => {
      const stat = await disk.stat(path);
      if (stat.kind !== "file") return stat;
      return { ...stat, mode: (await isPrivateFile(path)) ? PRIVATE : OPEN };
    },
    open: async (path, how, mode) => {
      const file = await disk.open(path, how, mode);
      if (how === "read") return file;
      try {
        await secured(path, mode, "file");
        return file;
      } catch (error) {
        await file.close();
        if (how === "create") await disk.removeFile(path);
        throw error;
      }
    },
    makeDirectory: async (path, mode) => {
      await disk.makeDirectory(path, mode);
      await secured(path, mode, "folder");
    },
  };
}
