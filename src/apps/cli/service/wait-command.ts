// The command that goes on with a request that waits: as it can be typed into the shell that made it wait.

import { relative } from "node:path";
import type { Call } from "../../framework/command.ts";

/** What says where the service is and who signs in there; secrets are never among them. */
const SAID_AGAIN = [
  "service",
  "identity",
  "user",
  "password-file",
  "oidc-token-file",
  "oidc-audience",
  "signer",
] as const;

/** Options of this call are said again; what came from the environment comes from there again. */
export function waitCommand(call: Pick<Call, "text">, pending: string): string {
  const near = relative(process.cwd(), pending);
  // Nearer is shorter, but only below the folder of the shell; a name that looks like an option or a list is not read as one.
  const path = near.startsWith("..") ? pending : /^[-@]/.test(near) ? `./${near}` : near;
  const words = SAID_AGAIN.flatMap((name) => {
    const value = call.text(name);
    return value === undefined ? [] : [`--${name}`, value];
  });
  return ["upkeep", "service", "wait", path, ...words].map(quoted).join(" ");
}

/** For a POSIX shell; nothing that people usually write needs it. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
