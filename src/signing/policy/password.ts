// Passwords of people: argon2id (RFC 9106) in the PHC string form.

import { argon2, type Argon2Parameters } from "node:crypto";
import { equalBytes, toUtf8 } from "../../core/bytes.ts";
import type { Random } from "../../core/random.ts";
import { SigningError } from "../errors.ts";

/** RFC 9106 section 4, second recommended option: 64 MiB, 3 passes; one lane, for this work is done beside others. */
const COST = { memory: 64 * 1024, passes: 3, parallelism: 1 } as const;
const TAG = 32;

/** `$argon2id$v=19$m=65536,t=3,p=1$<salt>$<tag>` */
export async function hashPassword(password: string, random: Random): Promise<string> {
  if (password.length < 12) {
    throw new SigningError("signing/refused", "A password must have at least 12 characters.");
  }
  const salt = random.bytes(16);
  const tag = await derive(password, salt, COST.memory, COST.passes, COST.parallelism);
  return `$argon2id$v=19$m=${COST.memory},t=${COST.passes},p=${COST.parallelism}$${unpadded(salt)}$${unpadded(tag)}`;
}

/** A hash that no password fits, so that an unknown user costs as much time as a known one. */
export const NOBODY = `$argon2id$v=19$m=${COST.memory},t=${COST.passes},p=${COST.parallelism}$${unpadded(new Uint8Array(16))}$${unpadded(new Uint8Array(TAG))}`;

/** Never throws for a wrong password; false for a hash that can't be read. */
export async function passwordFits(password: string, hash: string): Promise<boolean> {
  const match =
    /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/.exec(hash);
  if (match === null || password.length > 1024) return false;
  const [memory, passes, lanes] = match.slice(1, 4).map(Number) as [number, number, number];
  if (memory > 1024 * 1024 || passes < 1 || lanes < 1 || memory < 8 * lanes) return false;
  const expected = new Uint8Array(Buffer.from(match[5]!, "base64"));
  const tag = await derive(password, new Uint8Array(Buffer.from(match[4]!, "base64")), memory, passes, lanes);
  return equalBytes(tag, expected);
}

function derive(
  password: string,
  salt: Uint8Array,
  memory: number,
  passes: number,
  parallelism: number,
): Promise<Uint8Array> {
  const parameters: Argon2Parameters = {
    message: toUtf8(password.normalize("NFKC")),
    nonce: salt,
    memory,
    passes,
    parallelism,
    tagLength: TAG,
  };
  return new Promise((resolve, reject) => {
    argon2("argon2id", parameters, (error, tag) =>
      error === null ? resolve(new Uint8Array(tag)) : reject(error),
    );
  });
}

function unpadded(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}
