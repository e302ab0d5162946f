// TUF metadata for tests that anybody may sign: the owner of a repository, and a thief with own or stolen keys.

import { generateKeyPairSync } from "node:crypto";
import { DAY, parseInstant } from "../core/instant.ts";
import { localSigner, type Signer } from "../keys/signer.ts";
import {
  NO_EXTRA,
  SPEC_VERSION,
  type Body,
  type RoleKeys,
  type Root,
  type Snapshot,
  type Targets,
} from "../repository/metadata.ts";
import { signMetadata } from "../repository/publish/write-metadata.ts";

const newSigner = (): Signer => localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");

export const START = parseInstant("2026-11-21T04:00:00Z");
export const head = <T extends Body["type"]>(type: T, version = 1) =>
  ({ type, specVersion: SPEC_VERSION, version, expires: START + DAY, extra: NO_EXTRA }) as const;

// The owner's keys, the thief's own ones, and a key of each role that the thief may have stolen.
export const [first, second, third, next] = [newSigner(), newSigner(), newSigner(), newSigner()];
export const [stamper, snapper, maker, thief] = [newSigner(), newSigner(), newSigner(), newSigner()];

export const keysOf = (...signers: readonly Signer[]): Root["keys"] =>
  new Map(signers.map(({ publicKey }) => [publicKey.keyid, publicKey.tuf]));
export const role = (threshold: number, ...signers: readonly Signer[]): RoleKeys => ({
  keyids: signers.map(({ publicKey }) => publicKey.keyid),
  threshold,
  extra: NO_EXTRA,
});
export const rootOf = (
  version: number,
  roles: Partial<Root["roles"]> = {},
  more: Partial<Root> = {},
): Root => ({
  ...head("root", version),
  consistentSnapshot: true,
  keys: keysOf(first, second, third, next, stamper, snapper, maker, thief),
  roles: {
    root: role(1, first),
    timestamp: role(1, stamper),
    snapshot: role(1, snapper),
    targets: role(1, maker),
    ...roles,
  },
  ...more,
});
export const bytesOf = async (body: Body, ...signers: readonly Signer[]): Promise<Uint8Array> =>
  (await signMetadata(body, signers)).bytes;

export const refusal = (code: string, facts: Readonly<Record<string, unknown>> = {}) => ({
  name: "RepositoryError",
  code,
  ...(Object.keys(facts).length === 0 ? {} : { facts }),
});
export const unsigned = (name: string, valid: number, threshold: number, version = 1) =>
  refusal("repository/unsigned", { role: name, version, valid, threshold });

export const trusted = await signMetadata(rootOf(1), [first]);

export const listing = (versions: Readonly<Record<string, number>>): Snapshot["meta"] =>
  new Map(Object.entries(versions).map(([name, version]) => [name, { version, extra: NO_EXTRA }]));
export const snapshotOf = (
  versions: Readonly<Record<string, number>>,
  more: Partial<Snapshot> = {},
): Snapshot => ({
  ...head("snapshot", 5),
  meta: listing(versions),
  ...more,
});

export const targetsOf = (version: number, more: Partial<Targets> = {}): Targets => ({
  ...head("targets", version),
  targets: new Map(),
  delegations: null,
  ...more,
});
