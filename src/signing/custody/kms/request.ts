// What a key service is asked, as plain HTTP requests; sending them is somebody else's work.

import type { Scheme } from "../../../keys/scheme.ts";

export type KmsRequest = {
  readonly method: "POST" | "PUT" | "GET";
  readonly url: string;
  readonly headers: { readonly [name: string]: string };
  readonly body: string;
};

/** What there is to sign: the message, and its digest where the service wants that. */
export type KmsOrder = { readonly scheme: Scheme; readonly message: Uint8Array; readonly digest: Uint8Array };

export type HashWord = "sha256" | "sha384" | "sha512";

/** Digest that goes with a scheme; Ed25519 takes the message itself. */
export function hashOfScheme(scheme: Scheme): HashWord | null {
  const match = /sha(?:2-nistp)?(256|384|512|521)$/.exec(scheme);
  if (match === null) return null;
  return match[1] === "521" ? "sha512" : (`sha${match[1]!}` as HashWord);
}
