// The password of a database's user, from a file of PostgreSQL's own form (.pgpass); never from the command line.

import { readFileSync, statSync } from "node:fs";
import type { PostgresAddress } from "./postgres-address.ts";

/** A file that is readable by others, or that is named but not there. */
export class PasswordFileError extends Error {
  override readonly name = "PasswordFileError";
}

const LIMIT = 1024 * 1024;

/**
 * As libpq looks: `PGPASSWORD`, else the first line that fits of the file `PGPASSFILE`, else of `~/.pgpass`
 * (https://www.postgresql.org/docs/current/libpq-pgpass.html). Null when there is none, which suits a server that asks for none.
 * Error: `PasswordFileError` when a file that is there may be read by others, or the named one cannot be read.
 */
export function lookUpPassword(
  address: PostgresAddress,
  env: { readonly [name: string]: string | undefined },
): string | null {
  const given = env["PGPASSWORD"];
  if (given !== undefined && given !== "") return given;
  const named = env["PGPASSFILE"];
  const asked = named !== undefined && named !== "";
  const home = env["HOME"];
  if (!asked && (home === undefined || home === "")) return null;
  return fromPasswordFile(asked ? named : `${home}/.pgpass`, address, asked);
}

export function fromPasswordFile(path: string, address: PostgresAddress, must = true): string | null {
  let text: string;
  try {
    const stat = statSync(path);
    if ((stat.mode & 0o077) !== 0)
      throw new PasswordFileError(
        `${path} may be read by other users, so what it holds is not a secret (chmod 600).`,
      );
    if (stat.size > LIMIT) throw new PasswordFileError(`${path} is larger than a password file is.`);
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (cause instanceof PasswordFileError) throw cause;
    if (!must) return null;
    const { code } = cause as NodeJS.ErrnoException;
    throw new PasswordFileError(`${path} cannot be read (${code ?? "unknown"}).`, { cause });
  }
  const { host, port, database, user } = address;
  // libpq calls the default socket folder localhost; so does every line written for it.
  const hosts = host.startsWith("/") ? [host, "localhost"] : [host];
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith("#")) continue;
    const fields = fieldsOf(line);
    if (fields === null) continue;
    const [h, p, d, u, password] = fields;
    const fits = (field: string, ...values: readonly string[]): boolean =>
      field === "*" || values.includes(field);
    if (fits(h, ...hosts) && fits(p, String(port)) && fits(d, database) && fits(u, user)) return password;
  }
  return null;
}

/** Five fields with colons between; a backslash takes the next sign as it is. */
function fieldsOf(line: string): readonly [string, string, string, string, string] | null {
  const fields = [""];
  for (let at = 0; at < line.length; at++) {
    let sign = line[at]!;
    if (sign === ":" && fields.length < 5) {
      fields.push("");
      continue;
    }
    if (sign === "\\" && at + 1 < line.length) sign = line[++at]!;
    fields[fields.length - 1] += sign;
  }
  return fields.length === 5
    ? (fields as unknown as readonly [string, string, string, string, string])
    : null;
}
