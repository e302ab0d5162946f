// Metadata to bytes: the canonical form that is signed, and the file that is published.

import { toHex, toUtf8 } from "../../core/bytes.ts";
import { canonicalJson } from "../../core/canonical-json.ts";
import { formatInstant } from "../../core/instant.ts";
import type { Json, JsonObject } from "../../core/json.ts";
import type { Signer } from "../../keys/signer.ts";
import type {
  Body,
  DelegatedRole,
  Delegations,
  MetaFile,
  RoleKeys,
  Signature,
  Signed,
  TargetFile,
} from "../metadata.ts";

/** The JSON of `signed`, in the order people like to read. */
export function bodyJson(body: Body): JsonObject {
  const head = {
    _type: body.type,
    spec_version: body.specVersion,
    version: body.version,
    expires: formatInstant(body.expires),
  };
  switch (body.type) {
    case "root":
      return object({
        ...head,
        consistent_snapshot: body.consistentSnapshot,
        keys: object(Object.fromEntries(body.keys)),
        roles: object(Object.fromEntries(Object.entries(body.roles).map(([r, k]) => [r, roleKeys(k)]))),
        ...body.extra,
      });
    case "timestamp":
      return object({ ...head, meta: { "snapshot.json": metaFile(body.snapshot) }, ...body.extra });
    case "snapshot":
      return object({
        ...head,
        meta: mapped(body.meta, (name) => `${name}.json`, metaFile),
        ...body.extra,
      });
    case "targets":
      return object({
        ...head,
        targets: mapped(body.targets, (name) => name, targetFile),
        ...(body.delegations === null ? {} : { delegations: delegations(body.delegations) }),
        ...body.extra,
      });
  }
}

/** The bytes that signatures cover. */
export function canonicalBody(body: Body): Uint8Array {
  return canonicalJson(bodyJson(body));
}

/** The published file: compact JSON, one line. */
export function writeMetadata(body: Body, signatures: readonly Signature[]): Uint8Array {
  const file = { signatures: signatures.map(({ keyid, sig }) => ({ keyid, sig })), signed: bodyJson(body) };
  return toUtf8(`${JSON.stringify(file)}\n`);
}

/** Signs with each signer, in addition to `signatures` that other holders made of the very same body. */
export async function signMetadata<T extends Body>(
  body: T,
  signers: readonly Signer[],
  signatures: readonly Signature[] = [],
): Promise<Signed<T>> {
  const canonical = canonicalBody(body);
  const all = new Map(signatures.map((signature) => [signature.keyid, signature]));
  for (const signer of signers) {
    const { keyid } = signer.publicKey;
    all.set(keyid, { keyid, sig: toHex(await signer.sign(canonical)) });
  }
  const list = [...all.values()];
  return { signed: body, signatures: list, canonical, bytes: writeMetadata(body, list) };
}

function mapped<T>(
  map: ReadonlyMap<string, T>,
  rename: (name: string) => string,
  form: (value: T) => JsonObject,
): JsonObject {
  const out = Object.create(null) as { [name: string]: Json };
  for (const [name, value] of map) out[rename(name)] = form(value);
  return out;
}

/** Without a prototype, like everything the strict parser gives. */
function object(value: { readonly [name: string]: Json }): JsonObject {
  return Object.assign(Object.create(null) as JsonObject, value);
}

function metaFile(file: MetaFile): JsonObject {
  const { version, length, hashes, extra } = file;
  return {
    version,
    ...(length === undefined ? {} : { length }),
    ...(hashes === undefined ? {} : { hashes }),
    ...extra,
  };
}

function targetFile(file: TargetFile): JsonObject {
  const { length, hashes, custom, extra } = file;
  return { length, hashes, ...(custom === undefined ? {} : { custom }), ...extra };
}

function roleKeys(role: RoleKeys): JsonObject {
  return { keyids: role.keyids, threshold: role.threshold, ...role.extra };
}

function delegations(value: Delegations): JsonObject {
  const { keys, roles, succinct, extra } = value;
  return {
    keys: object(Object.fromEntries(keys)),
    ...(succinct === null
      ? { roles: roles.map(delegatedRole) }
      : {
          succinct_roles: {
            bit_length: succinct.bitLength,
            name_prefix: succinct.namePrefix,
            ...roleKeys(succinct),
          },
        }),
    ...extra,
  };
}

function delegatedRole(role: DelegatedRole): JsonObject {
  return {
    name: role.name,
    terminating: role.terminating,
    ...(role.paths === null ? {} : { paths: role.paths }),
    ...(role.pathHashPrefixes === null ? {} : { path_hash_prefixes: role.pathHashPrefixes }),
    ...roleKeys(role),
  };
}
