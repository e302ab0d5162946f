// What a new repository starts as: its first root, its list of trusted keys, and how a product's role is delegated.

import type { Instant } from "../../core/instant.ts";
import type { PublicKey, TufKey } from "../../keys/public-key.ts";
import { productPaths, productRole, TRUSTED_KEYS_TARGET } from "../../release/target-names.ts";
import { serialiseTrustedKeys, type Grant, type TrustedKeys } from "../../release/trusted-keys.ts";
import { digestsOf } from "../../core/digest.ts";
import type { Draft } from "./draft.ts";
import {
  NO_EXTRA,
  SPEC_VERSION,
  type DelegatedRole,
  type Root,
  type RoleKeys,
  type TargetFile,
} from "../metadata.ts";
import { DEFAULT_PERIODS, type Period } from "../periods.ts";
import { policyExtra } from "./publisher-policy.ts";

/** A public key with the name people know it by. */
export type NamedKey = { readonly name: string; readonly key: PublicKey };

export type RoleSetup = {
  readonly keys: readonly NamedKey[];
  readonly threshold: number;
  readonly period?: Period;
};

export type RepositorySetup = {
  readonly root: RoleSetup;
  readonly targets: RoleSetup;
  readonly snapshot: RoleSetup;
  readonly timestamp: RoleSetup;
};

/** Version and expiry are set when it is signed. */
export function makeRoot(setup: RepositorySetup): Root {
  const keys = new Map<string, TufKey>();
  const role = (name: keyof RepositorySetup): RoleKeys => {
    for (const { key } of setup[name].keys) keys.set(key.keyid, key.tuf);
    return roleKeysOf(setup[name], DEFAULT_PERIODS[name]);
  };
  const roles = {
    root: role("root"),
    targets: role("targets"),
    snapshot: role("snapshot"),
    timestamp: role("timestamp"),
  };
  return {
    type: "root",
    specVersion: SPEC_VERSION,
    version: 1,
    expires: 0 satisfies Instant,
    consistentSnapshot: true,
    keys,
    roles,
    extra: NO_EXTRA,
  };
}

export function roleKeysOf(setup: RoleSetup, standard: Period): RoleKeys {
  return {
    keyids: setup.keys.map(({ key }) => key.keyid),
    threshold: setup.threshold,
    extra: policyExtra(
      setup.period ?? standard,
      new Map(setup.keys.map(({ name, key }) => [key.keyid, name])),
    ),
  };
}

/** The terminating role of one product, with its one path. */
export function productDelegation(
  product: string,
  setup: RoleSetup,
): { readonly role: DelegatedRole; readonly keys: ReadonlyMap<string, TufKey> } {
  return {
    role: {
      name: productRole(product),
      terminating: true,
      paths: [productPaths(product)],
      pathHashPrefixes: null,
      ...roleKeysOf(setup, DEFAULT_PERIODS.targets),
    },
    keys: new Map(setup.keys.map(({ key }) => [key.keyid, key.tuf])),
  };
}

/** trust/keys.json of a new repository. */
export function firstTrustedKeys(
  release: PublicKey,
  director: PublicKey,
  messenger: PublicKey | null = null,
): TrustedKeys {
  const grant = (kind: Grant["kind"], key: PublicKey): Grant => ({
    kind,
    products: "*",
    keyids: [key.keyid],
    threshold: 1,
  });
  return {
    keys: new Map(
      [release, director, ...(messenger === null ? [] : [messenger])].map((key) => [key.keyid, key]),
    ),
    grants: [
      grant("release", release),
      grant("channel", release),
      grant("assignment", director),
      ...(messenger === null ? [] : [grant("message", messenger)]),
    ],
  };
}

/** With a key more that may sign messages to devices. */
export function withMessenger(trusted: TrustedKeys, messenger: PublicKey): TrustedKeys {
  const before = trusted.grants.find(({ kind }) => kind === "message");
  const keyids = [...new Set([...(before?.keyids ?? []), messenger.keyid])];
  return {
    keys: new Map([...trusted.keys, [messenger.keyid, messenger]]),
    grants: [
      ...trusted.grants.filter((grant) => grant !== before),
      { kind: "message", products: "*", keyids, threshold: 1 },
    ],
  };
}

/** Puts trust/keys.json into the draft; returns what must be placed on disk. */
export async function putTrustedKeys(
  draft: Draft,
  trusted: TrustedKeys,
): Promise<{ readonly name: string; readonly file: TargetFile; readonly bytes: Uint8Array }> {
  const bytes = serialiseTrustedKeys(trusted);
  const file = targetFileOf(bytes);
  await draft.changeTargets("targets", { put: new Map([[TRUSTED_KEYS_TARGET, file]]) });
  return { name: TRUSTED_KEYS_TARGET, file, bytes };
}

export function targetFileOf(bytes: Uint8Array): TargetFile {
  const { sha256, sha512 } = digestsOf(bytes);
  return { length: bytes.length, hashes: { sha256, sha512 }, extra: NO_EXTRA };
}
