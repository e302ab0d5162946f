// How an application sees that the lease is this device's: the agent signs a number that the application drew, with the key of the lease.

import { concat, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { preAuthEncoding, type DsseVerifier } from "../core/dsse.ts";

const TYPE = "application/vnd.upkeep.license-proof.v1";

/** What is signed. A type of its own: it can be taken for no document, and no document for it. */
export function proofMessage(product: string, nonce: Uint8Array): Uint8Array {
  return preAuthEncoding(TYPE, concat([toUtf8(`${product} `), nonce]));
}

/** True if the key of the lease signed this number for this product. */
export function isProved(
  {
    product,
    nonce,
    spkiSha256,
  }: { readonly product: string; readonly nonce: Uint8Array; readonly spkiSha256: string },
  key: DsseVerifier,
  signature: Uint8Array,
): boolean {
  return sha256Hex(key.spki) === spkiSha256 && key.verify(proofMessage(product, nonce), signature);
}
