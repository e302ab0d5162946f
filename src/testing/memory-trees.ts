// Trees of data on any disk, copied through the Disk port alone, so that every step can be cut; owners and times are not its matter.

import { SlotError } from "../slot/errors.ts";
import type { Disk } from "../core/disk.ts";
import type { DataEntry, DataTrees } from "../slot/data-trees.ts";

/** `refuse` names an entry that cannot be copied, for tests of what is said then. */
export function diskTrees(disk: Disk, refuse: () => string | null = () => null): DataTrees {
  const survey = async (top: string): Promise<readonly DataEntry[]> => {
    const out: DataEntry[] = [];
    const visit = async (path: string): Promise<void> => {
      const full = path === "" ? top : `${top}/${path}`;
      const { kind, size, mode, stamp } = await disk.stat(full);
      out.push({
        path,
        kind: kind === "other" ? "pipe" : kind,
        size,
        allocated: size,
        mode,
        owner: 0,
        group: 0,
        modified: 0n,
        inode: stamp,
        volume: "0",
        target: kind === "link" ? await disk.readLink(full) : null,
      });
      if (kind !== "directory") return;
      for (const name of await disk.list(full)) await visit(path === "" ? name : `${path}/${name}`);
    };
    await visit("");
    return out;
  };
  const copy = async (from: string, to: string, content: boolean): Promise<void> => {
    const entries = await survey(from);
    for (const { path, kind, mode, target } of entries) {
      const [source, place] = path === "" ? [from, to] : [`${from}/${path}`, `${to}/${path}`];
      if (path === refuse())
        throw new SlotError("slot/data-not-kept", `${path} cannot be copied.`, { path, why: "refused" });
      if (kind === "link") await disk.link(place, target!);
      else if (kind === "directory") await disk.makeDirectory(place, 0o700);
      else {
        const file = await disk.open(place, "create", 0o600);
        if (content) await file.write(0, await disk.read(source, Number.MAX_SAFE_INTEGER));
        await file.close();
      }
      if (kind !== "link") await disk.chmod(place, mode);
    }
  };
  return {
    unseen: null,
    survey,
    copy: (from, to) => copy(from, to, true),
    outline: (from, to) => copy(from, to, false),
    shares: async () => false,
  };
}
