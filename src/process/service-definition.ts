// What a Windows service of ours is, before it exists: account, rights, recovery, folder, and the command line that starts it.

import { createHash } from "node:crypto";
import { ProcessError } from "./errors.ts";

export type ServiceProgram = "signer" | "gateway" | "server";
export const SERVICE_PROGRAMS: readonly ServiceProgram[] = ["signer", "gateway", "server"];

export type ServiceDefinition = {
  readonly name: string;
  readonly displayName: string;
  readonly description: string;
  /** A virtual account: made with the service, without password, with no rights but those of every service account. */
  readonly account: string;
  readonly command: string;
  readonly dependencies: readonly string[];
  /** The token keeps these privileges and loses all others that the account has. */
  readonly privileges: readonly string[];
  readonly failure: {
    /** Milliseconds before the first, the second and every further start. */
    readonly restartAfter: readonly number[];
    /** Seconds without failure after which the count begins again. */
    readonly resetAfter: number;
  };
  /** Milliseconds that the system waits for it before it shuts down. */
  readonly preshutdown: number;
};

const DESCRIPTIONS: { readonly [P in ServiceProgram]: string } = {
  signer: "Guards signing keys and signs what its policy allows.",
  gateway: "Relays between clients of the signing service and its signers.",
  server: "Serves releases to devices and decides which they run.",
};

/** `command` is the program and its arguments, as they would be typed. Errors: `process/bad-service`. */
export function serviceDefinition(program: ServiceProgram, command: readonly string[]): ServiceDefinition {
  const name = serviceName(program);
  return {
    name,
    displayName: `Upkeep ${program}`,
    description: DESCRIPTIONS[program],
    account: `NT SERVICE\\${name}`,
    command: commandLine(command),
    dependencies: ["Tcpip"],
    // "Bypass traverse checking", which every account has; nothing that acts for others, loads drivers or debugs.
    privileges: ["SeChangeNotifyPrivilege"],
    failure: { restartAfter: [5000, 30_000, 60_000], resetAfter: 86_400 },
    preshutdown: 60_000,
  };
}

export function serviceName(program: ServiceProgram): string {
  return `upkeep-${program}`;
}

/**
 * One command line of which the C runtime makes the same words again ("Parsing C command-line arguments"). The first is an absolute path in quotes:
 * without them Windows would look for C:\Program.exe first. Errors: `process/bad-service` for what no command line can carry.
 */
export function commandLine(words: readonly string[]): string {
  const [program = "", ...others] = words;
  if (!isWindowsPath(program) || program.includes('"') || program.endsWith("\\"))
    throw new ProcessError("process/bad-service", "The program of a service is an absolute path.", {
      program,
    });
  for (const word of words)
    if (/\p{Cc}/u.test(word))
      throw new ProcessError("process/bad-service", "An argument of a service has a control character.", {
        word: JSON.stringify(word.slice(0, 100)),
      });
  const line = [`"${program}"`, ...others.map(quoted)].join(" ");
  // CreateProcessW takes 32,767 characters.
  if (line.length > 8191)
    throw new ProcessError("process/bad-service", "The command line of a service is too long.", {
      length: line.length,
    });
  return line;
}

function quoted(word: string): string {
  if (/^[\w./:=@+,-][\w./\\:=@+,-]*$/.test(word)) return word;
  // Backslashes count only before a quotation mark: there they are doubled.
  return `"${word.replace(/(\\*)"/g, '$1$1\\"').replace(/\\+$/, "$&$&")}"`;
}

/** On a drive, without streams, wildcards and dots that lead elsewhere. */
export function isWindowsPath(path: string): boolean {
  return (
    /^[A-Za-z]:[\\/](?:[^<>:"/\\|?*\p{Cc}]+[\\/])*[^<>:"/\\|?*\p{Cc}]*$/u.test(path) &&
    !path.split(/[\\/]/).some((part) => part === "." || part === "..")
  );
}

/**
 * The SID of a service: S-1-5-80 and the SHA-1 of its name in capitals, as five numbers
 * ([MS-DTYP] 2.4.2.4 NT_SERVICE; here SHA-1 names and guards nothing).
 */
export function serviceSid(name: string): string {
  const hash = createHash("sha1").update(Buffer.from(name.toUpperCase(), "utf16le")).digest();
  return ["S-1-5-80", ...[0, 4, 8, 12, 16].map((at) => hash.readUInt32LE(at))].join("-");
}
