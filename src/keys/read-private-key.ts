// A private key in one of the forms that other tools write, opened; every other thing gets an answer of its own.

import { createPrivateKey, type KeyObject } from "node:crypto";
import { KeyError } from "./errors.ts";

/** Enough for every key and its encryption. */
export const PRIVATE_KEY_LIMIT = 64 * 1024;

/** What a file turns out to hold. `encrypted` needs a passphrase before it is a key. */
export type PrivateKeyForm =
  | { readonly kind: "pem"; readonly encrypted: boolean; readonly text: string }
  | { readonly kind: "der"; readonly encrypted: boolean };

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g;

/** `what` names the file in the answers. Error: `key/malformed`, which says what it is instead and how to make a key file of it. */
export function privateKeyForm(bytes: Uint8Array, what: string): PrivateKeyForm {
  const text = Buffer.from(bytes).toString("latin1");
  const blocks = [...text.matchAll(BLOCK)].map(([block, label]) => ({ block, label: label! }));
  if (blocks.length === 0) {
    if (/-----BEGIN /.test(text))
      throw malformed(`${what} holds the beginning of a key and not its end: it was cut.`);
    if (/^(?:ssh-|ecdsa-sha2-|sk-)\S+ AAAA/.test(text))
      throw malformed(`${what} is the public half of a key in OpenSSH's form.`, PRIVATE_HALF);
    if (bytes[0] === 0x30) return derForm(bytes, what);
    throw malformed(`${what} holds no private key: it is neither PEM nor DER.`);
  }
  const keys = blocks.filter(({ label }) => label.endsWith("PRIVATE KEY"));
  const [key, ...others] = keys;
  if (key === undefined) {
    const { label } = blocks[0]!;
    if (label.endsWith("PUBLIC KEY"))
      throw malformed(`${what} is a public key, and the private one is needed.`, PRIVATE_HALF);
    if (label.includes("CERTIFICATE"))
      throw malformed(`${what} holds a certificate and no private key.`, PRIVATE_HALF);
    throw malformed(`${what} holds ${label} and no private key.`);
  }
  if (others.length > 0)
    throw malformed(
      `${what} holds ${keys.length} private keys, and it would be a guess which one is meant.`,
      "Put each into a separate file.",
    );
  if (key.label === "OPENSSH PRIVATE KEY")
    throw malformed(
      `${what} is a private key in OpenSSH's form, which is not read here.`,
      "On a copy: ssh-keygen -p -m PKCS8 -f COPY writes it as PEM (not for Ed25519, whose keys are made here with upkeep key new).",
    );
  const encrypted = key.label === "ENCRYPTED PRIVATE KEY" || /^Proc-Type: 4,ENCRYPTED/m.test(key.block);
  return { kind: "pem", encrypted, text: key.block };
}

/** Errors: `key/passphrase-needed`, `key/bad-passphrase`, `key/malformed`. */
export function openPrivateKey(
  bytes: Uint8Array,
  form: PrivateKeyForm,
  passphrase: string | null,
  what: string,
): KeyObject {
  if (form.encrypted && passphrase === null)
    throw new KeyError(
      "key/passphrase-needed",
      `The key in ${what} is encrypted, and no passphrase was given.`,
      {},
      {
        hint: `Where no passphrase can be given for it: openssl pkey -in ${what} opens it; keep what that prints from others.`,
      },
    );
  const secret = form.encrypted ? { passphrase: passphrase! } : {};
  if (form.kind === "pem")
    return open(() => createPrivateKey({ key: form.text, format: "pem", ...secret }), form, what);
  const key = Buffer.from(bytes);
  // PKCS#8 is what tools write today; the older forms of RSA and elliptic curves have no mark of their own.
  const types = form.encrypted ? (["pkcs8"] as const) : (["pkcs8", "sec1", "pkcs1"] as const);
  let last: unknown;
  for (const type of types) {
    try {
      return createPrivateKey({ key, format: "der", type, ...secret });
    } catch (error) {
      last = error;
    }
  }
  return open(
    () => {
      throw last;
    },
    form,
    what,
  );
}

function open(read: () => KeyObject, form: PrivateKeyForm, what: string): KeyObject {
  try {
    return read();
  } catch (cause) {
    if (form.encrypted)
      throw new KeyError(
        "key/bad-passphrase",
        `The key in ${what} cannot be opened with this passphrase; if it is the right one, the file is damaged or encrypted in a way that is not supported.`,
        {},
        { cause },
      );
    throw malformed(
      `${what} holds a private key that cannot be read: it is damaged, or of a kind that is not supported.`,
      undefined,
      cause,
    );
  }
}

/**
 * By the tags of the first two members: a version in front of every private key; an AlgorithmIdentifier with an OCTET STRING after it in
 * EncryptedPrivateKeyInfo (RFC 5958), with a BIT STRING in SubjectPublicKeyInfo; two SEQUENCEs in a certificate.
 */
function derForm(bytes: Uint8Array, what: string): PrivateKeyForm {
  const inside = contentAt(bytes, 0);
  if (bytes[inside] === 0x02) return { kind: "der", encrypted: false };
  const first = contentAt(bytes, inside);
  const second = bytes[first + lengthAt(bytes, inside)];
  if (bytes[inside] === 0x30 && second === 0x04) return { kind: "der", encrypted: true };
  if (bytes[inside] === 0x30 && second === 0x03)
    throw malformed(`${what} is a public key, and the private one is needed.`, PRIVATE_HALF);
  if (bytes[inside] === 0x30 && second === 0x30)
    throw malformed(`${what} holds a certificate and no private key.`, PRIVATE_HALF);
  throw malformed(`${what} holds no private key: it is DER of another kind.`);
}

function contentAt(bytes: Uint8Array, at: number): number {
  const length = bytes[at + 1] ?? 0;
  return at + 2 + (length < 0x80 ? 0 : length & 0x7f);
}

function lengthAt(bytes: Uint8Array, at: number): number {
  const length = bytes[at + 1] ?? 0;
  if (length < 0x80) return length;
  return bytes.subarray(at + 2, contentAt(bytes, at)).reduce((sum, byte) => sum * 256 + byte, 0);
}

const PRIVATE_HALF = "Give the file that holds the private half.";

function malformed(message: string, hint?: string, cause?: unknown): KeyError {
  return new KeyError(
    "key/malformed",
    message,
    {},
    { ...(hint === undefined ? {} : { hint }), ...(cause === undefined ? {} : { cause }) },
  );
}
