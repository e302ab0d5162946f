// The Signer port: whatever can sign with one key, be it a file, a token or a service elsewhere.

import { sign as cryptoSign, createPublicKey, type KeyObject } from "node:crypto";
import { KeyError } from "./errors.ts";
import { publicKeyOf, signatureInput, withPadding, type PublicKey } from "./public-key.ts";
import { SCHEMES, type Scheme } from "./scheme.ts";

/** Satisfies `DsseSigner`. Most callers need `sign(message)` only. */
export interface Signer {
  readonly publicKey: PublicKey;
  /**
   * Signs the message (not a digest of it) with `scheme`, by default the key's own.
   * An RSA key may be asked for any of its schemes. ECDSA signatures are DER (RFC 3279).
   * Errors: `key/cannot-sign`.
   */
  sign(message: Uint8Array, scheme?: Scheme): Promise<Uint8Array>;
}

/** A signer over a private key in this process. */
export function localSigner(privateKey: KeyObject, scheme: Scheme): Signer {
  const publicKey = publicKeyOf(createPublicKey(privateKey), scheme);
  return {
    publicKey,
    sign: async (message, wanted = scheme) => {
      if (SCHEMES[wanted].node !== SCHEMES[scheme].node || SCHEMES[wanted].curve !== SCHEMES[scheme].curve) {
        throw new KeyError("key/cannot-sign", `A key for ${scheme} cannot sign with ${wanted}.`, {
          scheme,
          wanted,
        });
      }
      const input = signatureInput(wanted, message);
      return new Uint8Array(
        cryptoSign(SCHEMES[wanted].hash ?? null, input, withPadding(privateKey, wanted, true)),
      );
    },
  };
}
