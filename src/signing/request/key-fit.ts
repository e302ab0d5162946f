// Which key signs what: every pair of key and digest has one scheme, or is refused before the key is used.

import { SCHEMES, type Scheme } from "../../keys/scheme.ts";
import { SigningError } from "../errors.ts";
import type { Operation } from "./operation.ts";

/**
 * The scheme with which a key that may sign with `schemes` (its own first) signs this operation.
 * Error: `signing/bad-request` for a pair that does not exist, or that the key is not configured for.
 */
export function schemeOf(operation: Operation, schemes: readonly [Scheme, ...Scheme[]]): Scheme {
  if (operation.kind === "raw") {
    if (schemes.includes(operation.scheme)) return operation.scheme;
    throw misfit(`The key does not sign with ${operation.scheme}.`, schemes);
  }
  const { algorithm } = operation;
  const [own] = schemes;
  const { keytype, hash } = SCHEMES[own];
  switch (keytype) {
    case "rsa": {
      // RFC 5652 leaves the choice; ours, like Authenticode's, is PKCS#1 v1.5 in every CMS message.
      const scheme = `rsa-pkcs1v15-${algorithm}` as const;
      if (schemes.includes(scheme)) return scheme;
      throw misfit(`The key is not set up to sign over ${algorithm}.`, schemes);
    }
    case "ecdsa":
      // RFC 5480 section 4: one digest a curve.
      if (hash === algorithm) return own;
      throw misfit(`A key of the scheme ${own} signs over ${hash ?? ""}, not over ${algorithm}.`, schemes);
    case "ed25519":
      if (operation.kind === "authenticode")
        throw misfit("Windows knows no Ed25519: the file would count as unsigned everywhere.", schemes);
      // RFC 8419 section 3.1.
      if (algorithm === "sha512") return own;
      throw misfit(`An Ed25519 key signs over sha512, not over ${algorithm}.`, schemes);
    case "ml-dsa":
      throw misfit(`A key of the scheme ${own} makes bare signatures only.`, schemes);
  }
}

function misfit(what: string, schemes: readonly Scheme[]): SigningError {
  return new SigningError(
    "signing/bad-request",
    what,
    { schemes },
    { hint: "--hash names the digest; `service certificates` shows the scheme of each key." },
  );
}
