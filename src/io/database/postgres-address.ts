// Where a PostgreSQL database is and how to reach it honestly: an address without password, TLS that verifies or none on this machine.

import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import type { ConnectionOptions } from "node:tls";

/** A parsed address. `text` is without secrets and may be shown. */
export type PostgresAddress = {
  readonly text: string;
  /** A name, an IP, or the folder of a unix socket. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  /** `off` on this machine only: a loopback address or a unix socket. */
  readonly tls: "verify-full" | "off";
  readonly rootCertificate: string | null;
  readonly clientCertificate: string | null;
  readonly clientKey: string | null;
};

const KNOWN = ["host", "sslmode", "sslrootcert", "sslcert", "sslkey"] as const;

export function isPostgres(text: string): boolean {
  return /^postgres(ql)?:/i.test(text);
}

/**
 * Parses `postgres://USER@HOST[:PORT]/DATABASE[?sslmode=…&sslrootcert=FILE&sslcert=FILE&sslkey=FILE]`; a unix socket is
 * `postgres://USER@[:PORT]/DATABASE?host=/FOLDER`. `sslmode` is `verify-full` (the default, but on this machine) or, on this machine, `disable`;
 * libpq's other modes accept a server that proved nothing, and are refused. Files are absolute. The result of a bad address is a sentence
 * about what is wrong, which repeats no secret.
 */
export function parsePostgresAddress(text: string): PostgresAddress | { readonly wrong: string } {
  const wrong = (sentence: string): { readonly wrong: string } => ({ wrong: sentence });
  // A URL parser that knows no special rules for the scheme refuses an empty host with a user; libpq's spelling of a socket has one.
  const filled = text.replace(/^(postgres(?:ql)?:\/\/[^/@?#]*@)(?=[:/])/i, "$1socket.invalid");
  if (!isPostgres(text) || !URL.canParse(filled))
    return wrong("it is not of the form postgres://USER@HOST/DATABASE");
  const url = new URL(filled);
  if (url.password !== "")
    return wrong("it holds a password, which every user of the machine can read in the list of processes");
  if (url.hash !== "") return wrong("it has a part after #");
  const found = new Map<string, string>();
  for (const [name, value] of url.searchParams) {
    if (name === "password")
      return wrong("it holds a password, which every user of the machine can read in the list of processes");
    if (!(KNOWN as readonly string[]).includes(name))
      return wrong(`it has an option that is not known here: ${name}`);
    if (found.has(name)) return wrong(`it says ${name} twice`);
    found.set(name, value);
  }
  const user = decoded(url.username);
  const database = decoded(url.pathname.slice(1));
  if (user === null || user === "") return wrong("it names no user");
  if (database === null || database === "" || database.includes("/")) return wrong("it names no database");
  const named = url.hostname === "socket.invalid" ? "" : url.hostname.replace(/^\[(.*)\]$/, "$1");
  const host = found.get("host") ?? named;
  if (host === "") return wrong("it names no host");
  if (found.has("host") && (named !== "" || !host.startsWith("/")))
    return wrong("the option host is for the folder of a unix socket, when there is no other host");
  const port = url.port === "" ? 5432 : Number(url.port);
  if (port === 0) return wrong("its port is 0");
  const files = ["sslrootcert", "sslcert", "sslkey"].map((name) => found.get(name) ?? null);
  if (files.some((file) => file !== null && !file.startsWith("/")))
    return wrong("a certificate's file is named by its whole path");
  const [rootCertificate, clientCertificate, clientKey] = files as [
    string | null,
    string | null,
    string | null,
  ];
  if ((clientCertificate === null) !== (clientKey === null)) return wrong("sslcert and sslkey go together");
  const here = host.startsWith("/") || isLoopback(host);
  const mode = found.get("sslmode") ?? (here ? "disable" : "verify-full");
  if (mode !== "verify-full" && mode !== "disable")
    return wrong(`sslmode=${mode} does not verify who the server is; write verify-full`);
  if (mode === "disable" && !here) return wrong("sslmode=disable is for a server on this machine only");
  if (mode === "disable" && files.some((file) => file !== null))
    return wrong("it names certificates, but switches TLS off");
  if (mode === "verify-full" && host.startsWith("/")) return wrong("a unix socket has no TLS");
  const tls = mode === "disable" ? "off" : "verify-full";
  return { text, host, port, user, database, tls, rootCertificate, clientCertificate, clientKey };
}

/** Of a verified connection: the name in the address must be in the certificate, and its authority one that is trusted. */
export function tlsOf(address: PostgresAddress): ConnectionOptions | false {
  if (address.tls === "off") return false;
  const { host, rootCertificate, clientCertificate, clientKey } = address;
  return {
    rejectUnauthorized: true,
    minVersion: "TLSv1.2",
    // Node.js compares the certificate with this name; an IP address may not be sent as one.
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(rootCertificate === null ? {} : { ca: readFileSync(rootCertificate, "utf8") }),
    ...(clientCertificate === null ? {} : { cert: readFileSync(clientCertificate, "utf8") }),
    ...(clientKey === null ? {} : { key: readFileSync(clientKey, "utf8") }),
  };
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
