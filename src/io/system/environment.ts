// Secrets that came in the environment: taken out of it, and out of what /proc shows of this process.

import { homedir } from "node:os";
import { closeSync, openSync, readFileSync, readSync, writeSync } from "node:fs";

/** No system gives a process more (Linux: a quarter of the stack's limit, 6 MiB at most). */
const MAX_BLOCK = 8 * 1024 * 1024;

/** Variables whose value is a secret. */
export const SECRET_VARIABLES = [
  "UPKEEP_CERT_PASSWORD",
  "UPKEEP_CODE",
  "UPKEEP_KEY_SECRET",
  "UPKEEP_OIDC_TOKEN",
  "UPKEEP_PASSPHRASE",
  "UPKEEP_PASSWORD",
  "UPKEEP_PKCS11_PIN",
  "UPKEEP_SHARE",
  "UPKEEP_TOKEN",
  "UPKEEP_UNLOCK",
] as const;

/** The user's home folder; null for a user whom this system knows nothing of, in an environment that does not name one (containers, supervisors). */
export function homeFolder(): string | null {
  try {
    const home = homedir();
    return home === "" ? null : home;
  } catch {
    return null;
  }
}

/**
 * Takes the environment into a value of its own, and its secrets out of the process: children do not inherit them, and on Linux
 * /proc/PID/environ, which shows the block a program was started with whatever it did since (proc(5)), shows them empty.
 */
export function takeEnvironment(): { readonly [name: string]: string | undefined } {
  const taken = { ...process.env };
  const secret = SECRET_VARIABLES.filter((name) => taken[name] !== undefined);
  if (secret.length === 0) return taken;
  for (const name of secret) delete process.env[name];
  try {
    blank(secret);
  } catch {
    // Not Linux, or /proc is not mounted: then there is nothing there to read it from either.
  }
  return taken;
}

/** Overwrites the values in the block of memory in which the system handed the environment over. */
function blank(names: readonly string[]): void {
  // Fields 50 and 51 of proc(5), counted behind the name in parentheses, which may hold anything.
  const text = readFileSync("/proc/self/stat", "latin1");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [start, end] = [BigInt(fields[47]!), BigInt(fields[48]!)];
  const length = Number(end - start);
  if (length <= 0 || length > MAX_BLOCK) return;
  const memory = openSync("/proc/self/mem", "r+");
  try {
    const block = Buffer.alloc(length);
    if (readSync(memory, block, 0, length, start) !== length) return;
    for (let at = 0; at < length;) {
      const zero = block.indexOf(0, at);
      const stop = zero < 0 ? length : zero;
      const equals = block.indexOf(0x3d, at);
      if (equals > at && equals < stop && names.includes(block.toString("latin1", at, equals)))
        writeSync(memory, Buffer.alloc(stop - equals - 1), 0, stop - equals - 1, Number(start) + equals + 1);
      at = stop + 1;
    }
    block.fill(0);
  } finally {
    closeSync(memory);
  }
}
