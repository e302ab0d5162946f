// trust/keys.json: which keys verify which kinds of signed documents, for which products; itself a TUF target.

import type { DocumentKind } from "../core/dsse.ts";
import { parseJson, type Json } from "../core/json.ts";
import { checkSchema, nameSchema, sha256Schema, z } from "../core/schema.ts";
import { stableJsonFile } from "../core/stable-json.ts";
import { toBase64 } from "../core/bytes.ts";
import { parseTufKey, type PublicKey } from "../keys/public-key.ts";
import { ReleaseError } from "./errors.ts";

/** Largest trust/keys.json that is read. */
export const TRUSTED_KEYS_LIMIT = 512 * 1024;

/** Kinds whose keys come from the repository. Reports are signed by devices, which the server knows by enrolment. */
export type TrustedKind = Extract<
  DocumentKind,
  "release" | "channel" | "assignment" | "license" | "lease" | "location" | "message"
>;

const keySchema = z.strictObject({
  keytype: z.string(),
  scheme: z.string(),
  keyval: z.strictObject({ public: z.string() }),
});
const grantSchema = z.strictObject({
  /** A kind that is not known here grants what no document that is read here has: it is carried, and asked for by nobody. */
  kind: z.string().check(z.regex(/^[a-z][a-z-]{0,39}$/, "expected a kind of document such as release")),
  /** Product names, or `*` alone for every product that no other grant of this kind names. */
  products: z.union([z.literal("*"), z.array(nameSchema).check(z.minLength(1), z.maxLength(1024))]),
  keyids: z.array(sha256Schema).check(z.minLength(1), z.maxLength(16)),
  threshold: z.number().check(z.int(), z.minimum(1), z.maximum(16)),
});
const trustedKeysSchema = z.strictObject({
  keys: z.array(z.strictObject({ keyid: sha256Schema, key: keySchema })).check(z.maxLength(1024)),
  grants: z.array(grantSchema).check(z.maxLength(1024)),
});
export type Grant = Readonly<z.infer<typeof grantSchema>>;

/** What `verifyEnvelope` needs: the keys, and how many different ones must have signed. */
export type DocumentKeys = { readonly keys: readonly PublicKey[]; readonly threshold: number };

export type TrustedKeys = {
  readonly keys: ReadonlyMap<string, PublicKey>;
  readonly grants: readonly Grant[];
};

/**
 * Errors: `json/*`, `schema/invalid`, `key/*`, and `release/bad-keys` for a key whose id is not its own, one key twice,
 * a grant that names a missing key or asks for more keys than it names, or two grants for one kind and product.
 */
export function parseTrustedKeys(bytes: Uint8Array): TrustedKeys {
  const value = checkSchema(trustedKeysSchema, parseJson(bytes), "list of trusted keys (trust/keys.json)");
  const keys = new Map<string, PublicKey>();
  const seen = new Set<string>();
  for (const { keyid, key } of value.keys) {
    const parsed = parseTufKey(key as unknown as Json);
    if (parsed.keyid !== keyid) throw bad(`the key listed as ${keyid} has the id ${parsed.keyid}`);
    const same = toBase64(parsed.spki);
    if (seen.has(same)) throw bad(`the key ${keyid} is listed twice`);
    seen.add(same);
    keys.set(keyid, parsed);
  }
  const claimed = new Set<string>();
  for (const grant of value.grants) {
    for (const keyid of grant.keyids)
      if (!keys.has(keyid))
        throw bad(`a grant for ${grant.kind} names the key ${keyid}, which is not listed`);
    if (new Set(grant.keyids).size < grant.threshold)
      throw bad(`a grant for ${grant.kind} asks for ${grant.threshold} keys and names fewer`);
    for (const product of grant.products === "*" ? ["*"] : grant.products) {
      const claim = `${grant.kind} ${product}`;
      if (claimed.has(claim)) throw bad(`two grants speak about ${claim}`);
      claimed.add(claim);
    }
  }
  return { keys, grants: value.grants };
}

/** Sorted and indented: a file that people read and compare. */
export function serialiseTrustedKeys(trusted: TrustedKeys): Uint8Array {
  const keys = [...trusted.keys.values()]
    .sort((a, b) => (a.keyid < b.keyid ? -1 : 1))
    .map(({ keyid, tuf }) => ({ keyid, key: tuf }));
  const bytes = stableJsonFile({ keys, grants: trusted.grants as unknown as Json });
  parseTrustedKeys(bytes);
  return bytes;
}

/**
 * The keys that may sign this kind for this product; null stands for kinds that speak of no single product.
 * A grant that names the product wins over `*`. Throws `release/no-key` when nobody may.
 */
export function keysFor(trusted: TrustedKeys, kind: TrustedKind, product: string | null): DocumentKeys {
  const ofKind = trusted.grants.filter((grant) => grant.kind === kind);
  const grant =
    ofKind.find(
      (candidate) => product !== null && candidate.products !== "*" && candidate.products.includes(product),
    ) ?? ofKind.find((candidate) => candidate.products === "*");
  if (grant === undefined) {
    throw new ReleaseError(
      "release/no-key",
      `The repository trusts no key for documents of kind ${kind}${product === null ? "" : ` of ${product}`}.`,
      { kind, product },
    );
  }
  return { keys: grant.keyids.map((keyid) => trusted.keys.get(keyid)!), threshold: grant.threshold };
}

/** The keys that may sign messages to devices; none where the repository names none. Each alone may: a message can only say "look". */
export function messengersIn(trusted: TrustedKeys): readonly PublicKey[] {
  const grant = trusted.grants.find(({ kind, products }) => kind === "message" && products === "*");
  return grant === undefined ? [] : grant.keyids.map((keyid) => trusted.keys.get(keyid)!);
}

function bad(what: string): ReleaseError {
  return new ReleaseError("release/bad-keys", `The list of trusted keys is refused: ${what}.`, {});
}
