// TUF metadata as values: what the four kinds of file say, with names in Maps and times as instants.

import type { Instant } from "../core/instant.ts";
import type { JsonObject } from "../core/json.ts";
import type { TufKey } from "../keys/public-key.ts";

export type RoleType = "root" | "timestamp" | "snapshot" | "targets";

/** Members a format may grow by; kept, covered by signatures, written back. */
export type Extra = JsonObject;

/** Digests by algorithm name, lower-case hex. At least one; `sha256` and `sha512` are relied on, others only kept. */
export type Hashes = { readonly [algorithm: string]: string };

/** Who signs a role. A key id that `keys` does not list, or of a kind we don't know, counts for nothing. */
export type RoleKeys = {
  readonly keyids: readonly string[];
  /** Signatures of this many different keys are needed; at least 1. */
  readonly threshold: number;
  readonly extra: Extra;
};

type Common<T extends RoleType> = {
  readonly type: T;
  readonly specVersion: string;
  /** At least 1. */
  readonly version: number;
  readonly expires: Instant;
  readonly extra: Extra;
};

/** TUF 4.3. */
export type Root = Common<"root"> & {
  readonly consistentSnapshot: boolean;
  /** Keys by id, as the TUF form; parsed only when a signature needs it. */
  readonly keys: ReadonlyMap<string, TufKey>;
  readonly roles: { readonly [R in RoleType]: RoleKeys };
};

/** TUF 4.4: which version of a metadata file is current; length and hashes may be left out. */
export type MetaFile = {
  readonly version: number;
  readonly length?: number;
  readonly hashes?: Hashes;
  readonly extra: Extra;
};

/** TUF 4.6. */
export type Timestamp = Common<"timestamp"> & { readonly snapshot: MetaFile };

/** TUF 4.4. */
export type Snapshot = Common<"snapshot"> & {
  /** By role name, without `.json`. */
  readonly meta: ReadonlyMap<string, MetaFile>;
};

/** TUF 4.5. */
export type TargetFile = {
  readonly length: number;
  readonly hashes: Hashes;
  readonly custom?: JsonObject;
  readonly extra: Extra;
};

/** TUF 4.5: a delegated role; which targets it may speak for is said by `paths` or by `pathHashPrefixes`. */
export type DelegatedRole = RoleKeys & {
  readonly name: string;
  readonly terminating: boolean;
  readonly paths: readonly string[] | null;
  readonly pathHashPrefixes: readonly string[] | null;
};

/** TAP 15: 2^bitLength hash bins named `<namePrefix>-<hex>`, all signed alike. */
export type SuccinctRoles = RoleKeys & { readonly bitLength: number; readonly namePrefix: string };

export type Delegations = {
  readonly keys: ReadonlyMap<string, TufKey>;
  /** In order of priority. Empty if `succinct` is given. */
  readonly roles: readonly DelegatedRole[];
  readonly succinct: SuccinctRoles | null;
  readonly extra: Extra;
};

/** TUF 4.5, for `targets` itself and for every delegated role. */
export type Targets = Common<"targets"> & {
  readonly targets: ReadonlyMap<string, TargetFile>;
  readonly delegations: Delegations | null;
};

export type Body = Root | Timestamp | Snapshot | Targets;

export type Signature = {
  readonly keyid: string;
  /** Hex as found; may be empty or nonsense, which is a signature that does not count. */
  readonly sig: string;
};

/** A metadata file: parsed, not yet verified. Only `trusted-set.ts` turns it into something to believe. */
export type Signed<T extends Body> = {
  readonly signed: T;
  readonly signatures: readonly Signature[];
  /** Canonical JSON of `signed` with every member that was received: what the signatures cover. */
  readonly canonical: Uint8Array;
  /** The file, byte for byte. */
  readonly bytes: Uint8Array;
};

/** What is written as `spec_version`: the version the widest set of clients knows how to read. */
export const SPEC_VERSION = "1.0.31";

export const NO_EXTRA: Extra = Object.freeze(Object.create(null) as Extra);

/** TAP 15: how many bins, and the name of each. */
export function binName(succinct: SuccinctRoles, bin: number): string {
  const digits = Math.ceil(succinct.bitLength / 4);
  return `${succinct.namePrefix}-${bin.toString(16).padStart(digits, "0")}`;
}

/** TAP 15: the bin of a target is the first `bitLength` bits of the SHA-256 of its name (hex given). */
export function binOf(succinct: SuccinctRoles, nameHash: string): number {
  return Number.parseInt(nameHash.slice(0, 8), 16) >>> (32 - succinct.bitLength);
}
