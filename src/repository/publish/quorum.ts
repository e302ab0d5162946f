// Who has signed a piece of metadata, and how many signatures are still missing.

import { fromHex, toHex } from "../../core/bytes.ts";
import { parseTufKey, type PublicKey, type TufKey } from "../../keys/public-key.ts";
import type { Signer } from "../../keys/signer.ts";
import { KeyError } from "../../keys/errors.ts";
import type { Body, RoleKeys, Signed } from "../metadata.ts";
import type { Delegator } from "../trusted-set.ts";

/** Whatever holds private keys: gives signers for those of the wanted public keys that are here. Matched by key, not by id. */
export type KeyRing = (wanted: readonly PublicKey[]) => Promise<readonly Signer[]>;

export type Quorum = {
  readonly role: RoleKeys;
  /** Key ids with a valid signature, one per different key. */
  readonly signed: readonly string[];
  /** Key ids that could still sign. */
  readonly open: readonly string[];
  /** How many signatures are missing; 0 when the threshold is met. */
  readonly missing: number;
};

export function quorumOf(metadata: Signed<Body>, { keys, role }: Delegator): Quorum {
  const bySpki = new Map<string, string>();
  for (const { keyid, sig } of metadata.signatures) {
    if (!role.keyids.includes(keyid)) continue;
    const key = keyOf(keys, keyid);
    if (key !== null && key.verify(metadata.canonical, bytesOf(sig))) bySpki.set(toHex(key.spki), keyid);
  }
  const signed = [...bySpki.values()];
  return {
    role,
    signed,
    open: role.keyids.filter((keyid) => {
      const key = keyOf(keys, keyid);
      return key !== null && !bySpki.has(toHex(key.spki));
    }),
    missing: Math.max(0, role.threshold - signed.length),
  };
}

/** Signers for a role's keys that are at hand, each signing under the id the role knows it by. */
export async function signersFor({ keys, role }: Delegator, ring: KeyRing): Promise<readonly Signer[]> {
  const wanted = role.keyids.flatMap((keyid) => keyOf(keys, keyid) ?? []);
  const ids = new Map(wanted.map((key) => [toHex(key.spki), key.keyid]));
  return (await ring(wanted)).flatMap((signer) => {
    const keyid = ids.get(toHex(signer.publicKey.spki));
    const scheme = wanted.find((key) => key.keyid === keyid)?.scheme;
    return keyid === undefined
      ? []
      : [{ publicKey: { ...signer.publicKey, keyid }, sign: (m) => signer.sign(m, scheme) }];
  });
}

/** Null for a key that cannot be used: it counts for nothing. */
export function keyOf(keys: ReadonlyMap<string, TufKey>, keyid: string): PublicKey | null {
  const form = keys.get(keyid);
  try {
    return form === undefined ? null : parseTufKey(form, keyid);
  } catch (error) {
    if (error instanceof KeyError) return null;
    throw error;
  }
}

function bytesOf(sig: string): Uint8Array {
  try {
    return fromHex(sig);
  } catch {
    return new Uint8Array(0);
  }
}
