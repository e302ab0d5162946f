// The last assignment on disk: believed again only with its signature, see follow-alone.ts.

import { readOrNull, writeAtomic, type Disk } from "../core/disk.ts";
import { equalBytes } from "../core/bytes.ts";
import { ASSIGNMENT_LIMIT } from "../message/assignment.ts";
import type { KeptAssignment } from "./ports.ts";

export function keptAssignment(disk: Disk, path: string): KeptAssignment {
  const load = (): Promise<Uint8Array | null> => readOrNull(disk, path, ASSIGNMENT_LIMIT);
  return {
    load,
    save: async (envelope) => {
      const known = await load();
      if (known === null || !equalBytes(known, envelope)) await writeAtomic(disk, path, envelope, 0o600);
    },
  };
}
