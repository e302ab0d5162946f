// How this program starts a part of itself as a process of its own: by the part's file, or, built into one executable, by the part's name.

import { isSea } from "node:sea";
import { fileURLToPath } from "node:url";

/** Parts of the executable `upkeep`; `apps/cli/executable.ts` has a row for each. */
export type Part = "cli" | "patch" | "pkcs11" | "signer-front" | "signer-worker";

/** The word before the name of a part. No command of the program begins like this. */
export const PART = "--part";

/** What stands behind `process.execPath` on the command line that starts the part; `file` is where it is in a checkout or package. */
export function partArguments(part: Part, file: URL): readonly string[] {
  return isSea() ? [PART, part] : [fileURLToPath(file)];
}
