// The command `verify`: is this what it claims to be?

import type { CommandSpec } from "../../framework/command.ts";
import { VERIFY_FORMAT_OPTIONS } from "../files/format-options.ts";

export const verifyCommand: CommandSpec = {
  name: "verify",
  about: "verify the signatures inside files, a repository folder, or a file against the repository",
  details:
    "A folder with metadata/ is verified as a repository: every root, role, target and document. A program, library, driver,\ninstaller or script is verified by the signatures in it, any file with a FILE.sig beside it by that. Any other file, or any file with --repository, is looked up by its\ndigest: known is only what signed metadata lists. Ends with 6 when something does not verify.",
  arguments: [{ name: "<path...>", about: "files, patterns, @LIST, or one repository folder" }],
  options: [
    {
      flags: "--repository <folder>",
      about: "look a file up in this repository rather than in the data folder's",
    },
    { flags: "--root-sha256 <digest>", about: "the repository's first root must have this SHA-256" },
    { flags: "--root <file>", about: "trust the certificates in this file, and no others", repeat: true },
    { flags: "--timestamp-root <file>", about: "the same for timestamp authorities only", repeat: true },
    { flags: "--crl <file>", about: "revocation list, PEM or DER", repeat: true },
    { flags: "--require-revocation", about: "refuse a certificate that no list covers" },
    { flags: "--require-timestamp", about: "refuse a signature that no timestamp dates" },
    { flags: "--strict", about: "refuse what is only suspicious as well" },
    { flags: "--efi", about: "accept several signatures side by side, as UEFI does" },
    { flags: "--at <instant>", about: "judge as of this time, such as 2026-11-21T04:00:00Z" },
    { flags: "--subject <text>", about: "a valid signature's subject has to contain this" },
    { flags: "--sha1 <digest>", about: "a valid signature's certificate has to have this SHA-1 fingerprint" },
    { flags: "--root-subject <text>", about: "the chain has to end in a root whose name contains this" },
    ...VERIFY_FORMAT_OPTIONS,
    {
      flags: "--receipt <file>",
      about: "the signature has to be in the signing service's log: this is its receipt",
    },
    {
      flags: "--service <file>",
      about: "with --receipt: the description that names the log's key",
      env: "UPKEEP_SERVICE",
    },
    { flags: "--log-key <key>", about: "with --receipt: the log's key itself" },
    { flags: "--explain", about: "draw which parts of the file the signature covers" },
    { flags: "--jobs <n>", about: "files at the same time", default: "4" },
  ],
  examples: [
    "upkeep verify app.exe",
    "upkeep verify --root publisher-root.pem --require-timestamp --json 'dist/**/*.dll'",
    "upkeep verify ./mirror",
    "upkeep verify ./shop-1.1.0-linux-x64.tar.gz",
  ],
  run: async (call) =>
    call.text("receipt") === undefined
      ? (await import("./verify.ts")).verify(call)
      : (await import("../service/audit.ts")).verifyWithReceipt(call),
};
