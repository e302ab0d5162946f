// Bytes to metadata: strict, complete about what is wrong, and linear in the number of entries.

import { canonicalJson, CanonicalJsonError } from "../core/canonical-json.ts";
import { isJsonObject, parseJson, type Json, type JsonObject } from "../core/json.ts";
import { UpkeepError } from "../core/errors.ts";
import { RepositoryError } from "./errors.ts";
import { Fields } from "./fields.ts";
import type {
  DelegatedRole,
  Delegations,
  MetaFile,
  Root,
  RoleKeys,
  Signature,
  Signed,
  Snapshot,
  SuccinctRoles,
  TargetFile,
  Targets,
  Timestamp,
  Body,
  RoleType,
} from "./metadata.ts";
import { roleNameProblem, TOP_ROLES } from "./names.ts";

/** Throws `repository/malformed`; `facts.fields` lists what is wrong where. So do the other three. */
export function parseRoot(bytes: Uint8Array): Signed<Root> {
  return parse(bytes, "root", (f, o) => {
    const names = ["root", "timestamp", "snapshot", "targets"] as const;
    const roles = f.object(o, "roles");
    return {
      ...common(f, o, "root"),
      // TUF 4.3. Demanded, so that what is read and written again keeps its signatures.
      consistentSnapshot: f.boolean(o, "consistent_snapshot"),
      keys: keysOf(f, o),
      roles: Object.fromEntries(
        names.map((name) => [
          name,
          f.within(`roles.${name}`, () => roleKeys(f, f.object(roles, name, true))),
        ]),
      ) as Root["roles"],
      extra: f.extra(o, [
        "_type",
        "spec_version",
        "version",
        "expires",
        "consistent_snapshot",
        "keys",
        "roles",
      ]),
    };
  });
}

export function parseTimestamp(bytes: Uint8Array): Signed<Timestamp> {
  return parse(bytes, "timestamp", (f, o) => {
    const meta = f.object(o, "meta");
    // TUF 4.6: the timestamp describes the snapshot and nothing else.
    for (const name in meta) if (name !== "snapshot.json") f.problem(`meta.${name}`, "unexpected file");
    return {
      ...common(f, o, "timestamp"),
      snapshot: f.within("meta.snapshot.json", () => metaFile(f, f.object(meta, "snapshot.json", true))),
      extra: f.extra(o, META_MEMBERS),
    };
  });
}

export function parseSnapshot(bytes: Uint8Array): Signed<Snapshot> {
  return parse(bytes, "snapshot", (f, o) => {
    const meta = new Map<string, MetaFile>();
    const listed = f.object(o, "meta");
    for (const file of Object.keys(listed)) {
      f.within(`meta.${file}`, () => {
        const role = file.endsWith(".json") ? file.slice(0, -5) : "";
        // Some repositories list their root here too; it is bound by versions and otherwise of no use.
        const bad = (TOP_ROLES as readonly string[]).includes(role) ? null : roleNameProblem(role);
        if (bad !== null) f.problem("", `not the file of a role: ${bad}`);
        meta.set(role, metaFile(f, f.object(listed, file, true)));
      });
    }
    return { ...common(f, o, "snapshot"), meta, extra: f.extra(o, META_MEMBERS) };
  });
}

export function parseTargets(bytes: Uint8Array): Signed<Targets> {
  return parse(bytes, "targets", (f, o) => {
    const targets = new Map<string, TargetFile>();
    const listed = f.object(o, "targets");
    for (const name of Object.keys(listed)) targets.set(name, targetFile(f, name, listed[name]!));
    return {
      ...common(f, o, "targets"),
      targets,
      delegations:
        o["delegations"] === undefined
          ? null
          : f.within("delegations", () => delegations(f, f.object(o, "delegations", true))),
      extra: f.extra(o, ["_type", "spec_version", "version", "expires", "targets", "delegations"]),
    };
  });
}

const META_MEMBERS = ["_type", "spec_version", "version", "expires", "meta"];
const MAX_SIGNATURES = 1024;

function parse<T extends Body>(
  bytes: Uint8Array,
  type: RoleType,
  body: (f: Fields, o: JsonObject) => T,
): Signed<T> {
  const refuse = (what: string, fields: readonly string[], cause?: unknown): RepositoryError =>
    new RepositoryError(
      "repository/malformed",
      `The ${type} metadata is malformed: ${what}.`,
      { role: type, fields },
      { cause },
    );
  let value: Json;
  try {
    value = parseJson(bytes);
  } catch (cause) {
    if (!(cause instanceof UpkeepError)) throw cause;
    throw refuse("it is not strict JSON", [cause.message], cause);
  }
  if (!isJsonObject(value)) throw refuse("it is not an object", ["(whole): expected an object"]);
  const f = new Fields();
  const signatures = signaturesOf(f, value);
  const signed = f.within("signed", () => body(f, f.object(value, "signed", true)));
  if (f.problems.length > 0) throw refuse(f.problems.join("; "), f.problems);
  try {
    return { signed, signatures, canonical: canonicalJson(value["signed"]!), bytes };
  } catch (cause) {
    if (!(cause instanceof CanonicalJsonError)) throw cause;
    throw refuse("it has no canonical form", [cause.message], cause);
  }
}

/** TUF 4.2.1; a key id appears once: clients MUST refuse duplicates. */
function signaturesOf(f: Fields, o: JsonObject): readonly Signature[] {
  const seen = new Set<string>();
  const list = f.array(o, "signatures");
  if (list.length > MAX_SIGNATURES) f.problem("signatures", `more than ${MAX_SIGNATURES}`);
  return list.slice(0, MAX_SIGNATURES).map((entry, i) =>
    f.within(`signatures.${i}`, () => {
      const object = f.asObject(entry);
      const signature = { keyid: f.string(object, "keyid"), sig: f.string(object, "sig") };
      if (seen.has(signature.keyid)) f.problem("keyid", "appears twice");
      seen.add(signature.keyid);
      return signature;
    }),
  );
}

function common<T extends RoleType>(
  f: Fields,
  o: JsonObject,
  type: T,
): { type: T; specVersion: string; version: number; expires: number } {
  if (o["_type"] !== type) f.problem("_type", `expected "${type}"`);
  const specVersion = f.string(o, "spec_version");
  // TUF 4.3: the same major version; repositories in the field also write "1.0".
  if (!/^1\.\d{1,6}(\.\d{1,6})?$/.test(specVersion)) f.problem("spec_version", "expected 1.x.y");
  return { type, specVersion, version: f.integer(o, "version", 1), expires: f.instant(o, "expires") };
}

function keysOf(f: Fields, o: JsonObject): Root["keys"] {
  const keys = new Map<string, JsonObject>();
  const listed = f.object(o, "keys");
  for (const keyid of Object.keys(listed)) {
    if (keyid === "") f.problem("keys", "a key id is empty");
    keys.set(
      keyid,
      f.within("keys", () => f.object(listed, keyid)),
    );
  }
  return keys;
}

function roleKeys(f: Fields, o: JsonObject, members: readonly string[] = []): RoleKeys {
  const keyids = f.array(o, "keyids").map((id, i) => f.asString(id, `keyids.${i}`));
  // TUF 4.3: key ids are unique in a role.
  if (new Set(keyids).size !== keyids.length) f.problem("keyids", "a key id appears twice");
  return {
    keyids,
    threshold: f.integer(o, "threshold", 1),
    extra: f.extra(o, ["keyids", "threshold", ...members]),
  };
}

function metaFile(f: Fields, o: JsonObject): MetaFile {
  return {
    version: f.integer(o, "version", 1),
    ...(o["length"] === undefined ? {} : { length: f.integer(o, "length", 0) }),
    ...(o["hashes"] === undefined ? {} : { hashes: f.hashes(o, "hashes") }),
    extra: f.extra(o, ["version", "length", "hashes"]),
  };
}

function targetFile(f: Fields, name: string, value: Json): TargetFile {
  // No closure and no path string per entry: a role may list 100,000 of them.
  f.enter("targets", name);
  const o = f.asObject(value);
  const file: TargetFile = {
    length: f.integer(o, "length", 0),
    hashes: f.hashes(o, "hashes"),
    ...(o["custom"] === undefined ? {} : { custom: f.object(o, "custom") }),
    extra: f.extra(o, TARGET_MEMBERS),
  };
  f.leave();
  return file;
}
const TARGET_MEMBERS = ["length", "hashes", "custom"];

function delegations(f: Fields, o: JsonObject): Delegations {
  const succinct =
    o["succinct_roles"] === undefined
      ? null
      : f.within("succinct_roles", () => succinctRoles(f, f.object(o, "succinct_roles", true)));
  // TAP 15: either a list of roles or succinct roles.
  if (succinct !== null && o["roles"] !== undefined) f.problem("roles", "not allowed beside succinct_roles");
  const names = new Set<string>();
  const roles =
    succinct !== null
      ? []
      : f.array(o, "roles").map((entry, i) =>
          f.within(`roles.${i}`, () => {
            const role = delegatedRole(f, f.asObject(entry));
            if (names.has(role.name)) f.problem("name", "appears twice");
            names.add(role.name);
            return role;
          }),
        );
  return { keys: keysOf(f, o), roles, succinct, extra: f.extra(o, ["keys", "roles", "succinct_roles"]) };
}

function delegatedRole(f: Fields, o: JsonObject): DelegatedRole {
  const name = f.string(o, "name");
  const bad = roleNameProblem(name);
  if (bad !== null) f.problem("name", bad);
  const list = (member: string): readonly string[] | null =>
    o[member] === undefined ? null : f.array(o, member).map((p, i) => f.asString(p, `${member}.${i}`));
  const paths = list("paths");
  const prefixes = list("path_hash_prefixes");
  // TUF 4.5: exactly one of the two.
  if ((paths === null) === (prefixes === null)) f.problem("paths", "expected paths or path_hash_prefixes");
  if (prefixes?.some((prefix) => !/^[0-9a-f]{1,64}$/.test(prefix)) === true)
    f.problem("path_hash_prefixes", "expected lower-case hex");
  return {
    name,
    terminating: f.boolean(o, "terminating"),
    paths,
    pathHashPrefixes: prefixes,
    ...roleKeys(f, o, ["name", "terminating", "paths", "path_hash_prefixes"]),
  };
}

function succinctRoles(f: Fields, o: JsonObject): SuccinctRoles {
  const namePrefix = f.string(o, "name_prefix");
  const bad = roleNameProblem(`${namePrefix}-00000000`);
  if (bad !== null) f.problem("name_prefix", bad);
  // TAP 15: between 1 and 32.
  const bitLength = f.integer(o, "bit_length", 1);
  if (bitLength > 32) f.problem("bit_length", "expected at most 32");
  return { bitLength, namePrefix, ...roleKeys(f, o, ["bit_length", "name_prefix"]) };
}
