// Options of every command that signs with the operator's keys: local ones, and those that a signing service holds.

import type { OptionSpec } from "../../framework/command.ts";

/** Who signs in, and where; the same words as those of `service`. */
export const KEYS_AT_SERVICE: readonly OptionSpec[] = [
  {
    flags: "--service <file>",
    about: "also with keys that this signing service holds",
    env: "UPKEEP_SERVICE",
  },
  { flags: "--identity <file>", about: "private key of this machine at the service", env: "UPKEEP_IDENTITY" },
  { flags: "--user <name>", about: "sign in at the service as this person" },
  {
    flags: "--password-file <file>",
    about: "that person's password",
    env: "UPKEEP_PASSWORD",
    otherwise: "asked for",
  },
  {
    flags: "--oidc-token-file <file>",
    about: "sign in at the service with this identity token",
    env: "UPKEEP_OIDC_TOKEN",
  },
  { flags: "--oidc-audience <name>", about: "ask GitHub Actions for a token bound to this run's key" },
];

export const SIGNING_KEYS: readonly OptionSpec[] = [
  { flags: "--passphrase-file <file>", about: "opens wrapped keys" },
  ...KEYS_AT_SERVICE,
];
