// The enrolment token: a one-time secret, and the two pins a device needs to meet the right server and the right root of trust.

import { fromBase64Url, toBase64Url, toHex } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import type { Random } from "../core/random.ts";
import { IdentityError } from "./errors.ts";

export type EnrolmentToken = {
  /** 16 hex digits. Public: it may stand in logs. */
  readonly id: string;
  /** 32 bytes in base64url. */
  readonly secret: string;
  /** SHA-256 of the SubjectPublicKeyInfo of the server CA, hex. */
  readonly caSpkiSha256: string;
  /** SHA-256 of the bytes of `1.root.json`, hex. */
  readonly rootSha256: string;
};

export type TokenPins = Pick<EnrolmentToken, "caSpkiSha256" | "rootSha256">;

/** A token nobody has seen before. */
export function newToken(random: Random, pins: TokenPins): EnrolmentToken {
  return { id: toHex(random.bytes(8)), secret: toBase64Url(random.bytes(32)), ...pins };
}

/** `upkeep1.<id>.<secret>.<ca>.<root>`; the two pins in base64url. */
export function formatToken(token: EnrolmentToken): string {
  const pin = (hex: string): string => Buffer.from(hex, "hex").toString("base64url");
  return `upkeep1.${token.id}.${token.secret}.${pin(token.caSpkiSha256)}.${pin(token.rootSha256)}`;
}

const FORM = /^upkeep1\.([0-9a-f]{16})\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})$/;

/** Reads a token as a person pasted it; space around it is forgiven. The text itself is in no error. Error: `identity/bad-token`. */
export function parseToken(text: string): EnrolmentToken {
  const match = FORM.exec(text.trim());
  if (match === null) throw badToken();
  const [, id, secret, ca, root] = match as unknown as [string, string, string, string, string];
  try {
    fromBase64Url(secret);
    return {
      id,
      secret,
      caSpkiSha256: toHex(fromBase64Url(ca)),
      rootSha256: toHex(fromBase64Url(root)),
    };
  } catch {
    throw badToken();
  }
}

/** What the server keeps instead of the secret. The secret has 256 bits of chance, so a plain hash cannot be searched. */
export function secretDigest(secret: string): string {
  return sha256Hex(fromBase64Url(secret));
}

function badToken(): IdentityError {
  return new IdentityError(
    "identity/bad-token",
    "This is not a whole enrollment token; one starts with upkeep1. and has five parts.",
    {},
    { hint: "Copy the whole line that `upkeep token new` printed, or make a new one." },
  );
}
