// The signature schemes Upkeep knows: one table of key type, scheme name and how node:crypto spells it.

/** TUF key types (TUF 4.2, TAP 21). */
export type KeyType = "ed25519" | "ecdsa" | "rsa" | "ml-dsa";

export type Scheme =
  | "ed25519"
  | "ecdsa-sha2-nistp256"
  | "ecdsa-sha2-nistp384"
  | "ecdsa-sha2-nistp521"
  | "rsassa-pss-sha256"
  | "rsassa-pss-sha384"
  | "rsassa-pss-sha512"
  | "rsa-pkcs1v15-sha256"
  | "rsa-pkcs1v15-sha384"
  | "rsa-pkcs1v15-sha512"
  | "ml-dsa-44/1"
  | "ml-dsa-65/1"
  | "ml-dsa-87/1";

export type SchemeInfo = {
  readonly keytype: KeyType;
  /** `asymmetricKeyType` of node:crypto. */
  readonly node: string;
  /** Named curve, for ecdsa. */
  readonly curve?: string;
  readonly hash?: "sha256" | "sha384" | "sha512";
  readonly pss?: boolean;
};

export const SCHEMES: { readonly [S in Scheme]: SchemeInfo } = {
  ed25519: { keytype: "ed25519", node: "ed25519" },
  "ecdsa-sha2-nistp256": { keytype: "ecdsa", node: "ec", curve: "prime256v1", hash: "sha256" },
  "ecdsa-sha2-nistp384": { keytype: "ecdsa", node: "ec", curve: "secp384r1", hash: "sha384" },
  "ecdsa-sha2-nistp521": { keytype: "ecdsa", node: "ec", curve: "secp521r1", hash: "sha512" },
  "rsassa-pss-sha256": { keytype: "rsa", node: "rsa", hash: "sha256", pss: true },
  "rsassa-pss-sha384": { keytype: "rsa", node: "rsa", hash: "sha384", pss: true },
  "rsassa-pss-sha512": { keytype: "rsa", node: "rsa", hash: "sha512", pss: true },
  "rsa-pkcs1v15-sha256": { keytype: "rsa", node: "rsa", hash: "sha256", pss: false },
  "rsa-pkcs1v15-sha384": { keytype: "rsa", node: "rsa", hash: "sha384", pss: false },
  "rsa-pkcs1v15-sha512": { keytype: "rsa", node: "rsa", hash: "sha512", pss: false },
  "ml-dsa-44/1": { keytype: "ml-dsa", node: "ml-dsa-44" },
  "ml-dsa-65/1": { keytype: "ml-dsa", node: "ml-dsa-65" },
  "ml-dsa-87/1": { keytype: "ml-dsa", node: "ml-dsa-87" },
};

export function isScheme(text: string): text is Scheme {
  return Object.hasOwn(SCHEMES, text);
}

/** What a new key signs with unless told otherwise, by node:crypto key type and curve. */
export function defaultScheme(node: string, curve: string | undefined): Scheme | null {
  for (const [scheme, info] of Object.entries(SCHEMES) as [Scheme, SchemeInfo][]) {
    if (info.node === node && info.curve === curve) return scheme;
  }
  return null;
}
