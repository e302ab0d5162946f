// The command `verify`: is this what it claims to be?

import type { CommandSpec } from "./command.ts";

export const verifyCommand: CommandSpec = {
  name: "verify",
  about: "verify a repository folder, or a file against the repository",
  details:
    "A folder with metadata/ is verified as a repository: every root, role, target and document. Any other file is looked up\nby its digest: known is only what signed metadata lists. Ends with 6 when something does not verify.",
  arguments: [{ name: "<path>", about: "a repository folder or a file" }],
  options: [
    {
      flags: "--repository <folder>",
      about: "look a file up in this repository rather than in the data folder's",
    },
    { flags: "--root-sha256 <digest>", about: "the first root must have this SHA-256" },
  ],
  examples: ["upkeep verify ./mirror", "upkeep verify ./shop-1.1.0-linux-x64.tar.gz"],
  run: async (call) => (await import("./run-verify.ts")).verify(call),
};
