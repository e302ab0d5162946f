// What a new version of a role changes, in sentences for the one who is asked to sign it; computed from the bytes, never told.

import { formatInstant } from "../../core/instant.ts";
import type { DelegatedRole, Delegations, RoleKeys, Root, TargetFile, Targets } from "../metadata.ts";
import { periodOf } from "../periods.ts";
import { keyNames } from "./publisher-policy.ts";
import type { TufKey } from "../../keys/public-key.ts";

const MOST_TARGETS = 40;

/** `before` is null for a first version. Every difference has a line; version and expiry always do. */
export function describeChange(
  role: string,
  before: Root | Targets | null,
  after: Root | Targets,
): readonly string[] {
  const lines = [
    `version ${before === null ? "none" : before.version} -> ${after.version}`,
    `valid until ${formatInstant(after.expires)}`,
  ];
  const changes =
    after.type === "root"
      ? describeRoot(before?.type === "root" ? before : null, after)
      : describeTargets(before?.type === "targets" ? before : null, after);
  const extra =
    JSON.stringify(before?.extra ?? {}) === JSON.stringify(after.extra)
      ? []
      : ["members that this program does not know change"];
  const all = [...changes, ...extra];
  return [...lines, ...(all.length === 0 ? [`nothing else: ${role} says what it said before`] : all)];
}

function describeRoot(before: Root | null, after: Root): readonly string[] {
  const lines: string[] = [];
  for (const role of ["root", "targets", "snapshot", "timestamp"] as const)
    lines.push(
      ...describeKeys(
        role,
        before?.roles[role] ?? null,
        before?.keys ?? new Map(),
        after.roles[role],
        after.keys,
      ),
    );
  if (before !== null && before.consistentSnapshot !== after.consistentSnapshot)
    lines.push(`consistent snapshots: ${before.consistentSnapshot} -> ${after.consistentSnapshot}`);
  const used = new Set(Object.values(after.roles).flatMap((role) => role.keyids));
  for (const keyid of after.keys.keys()) {
    if (!used.has(keyid) && before?.keys.has(keyid) !== true)
      lines.push(`lists the key ${short(keyid)}, which no role uses`);
  }
  return lines;
}

function describeTargets(before: Targets | null, after: Targets): readonly string[] {
  const lines: string[] = [];
  const say = (line: string): void => {
    lines.push(line);
  };
  for (const [name, file] of after.targets) {
    const old = before?.targets.get(name);
    if (old === undefined) say(`adds the file ${name}, ${describeFile(file)}`);
    else if (!sameFile(old, file)) say(`changes the file ${name} to ${describeFile(file)}`);
  }
  for (const name of before?.targets.keys() ?? [])
    if (!after.targets.has(name)) say(`removes the file ${name}`);
  const rest = lines.length - MOST_TARGETS;
  const shown = rest > 0 ? [...lines.slice(0, MOST_TARGETS), `and ${rest} more files`] : lines;
  return [...shown, ...describeDelegations(before?.delegations ?? null, after.delegations)];
}

function describeDelegations(before: Delegations | null, after: Delegations | null): readonly string[] {
  const lines: string[] = [];
  const [was, is] = [rolesOf(before), rolesOf(after)];
  for (const [name, role] of is) {
    const old = was.get(name);
    if (old === undefined) lines.push(`delegates ${coverage(role)} to the new role ${name}`);
    else if (coverage(old) !== coverage(role) || old.terminating !== role.terminating)
      lines.push(
        `${name}: ${coverage(old)} -> ${coverage(role)}${role.terminating ? "" : ", not terminating"}`,
      );
    lines.push(...describeKeys(name, old ?? null, before?.keys ?? new Map(), role, after!.keys));
  }
  for (const name of was.keys()) if (!is.has(name)) lines.push(`takes the delegation to ${name} away`);
  const order = [...is.keys()].filter((name) => was.has(name)).join(" ");
  if (order !== [...was.keys()].filter((name) => is.has(name)).join(" "))
    lines.push("changes the order of roles");
  const [oldBins, bins] = [before?.succinct ?? null, after?.succinct ?? null];
  if (bins !== null) {
    if (oldBins?.bitLength !== bins.bitLength || oldBins.namePrefix !== bins.namePrefix)
      lines.push(`deals its files out to ${2 ** bins.bitLength} hash bins named ${bins.namePrefix}-*`);
    lines.push(
      ...describeKeys(`${bins.namePrefix}-*`, oldBins, before?.keys ?? new Map(), bins, after!.keys),
    );
  } else if (oldBins !== null) {
    lines.push(`takes the hash bins ${oldBins.namePrefix}-* away`);
  }
  return lines;
}

function describeKeys(
  role: string,
  before: RoleKeys | null,
  oldKeys: ReadonlyMap<string, TufKey>,
  after: RoleKeys,
  keys: ReadonlyMap<string, TufKey>,
): readonly string[] {
  const lines: string[] = [];
  const names = new Map([...(before === null ? [] : keyNames(before)), ...keyNames(after)]);
  const named = (keyid: string, form: TufKey | undefined): string =>
    `${names.get(keyid) ?? "without a name"} (${short(keyid)}, ${String(form?.["scheme"] ?? "missing")})`;
  for (const keyid of after.keyids) {
    if (before?.keyids.includes(keyid) !== true)
      lines.push(`${role}: adds the key ${named(keyid, keys.get(keyid))}`);
    // The same id over other bytes: only a broken or hostile tool does that.
    else if (JSON.stringify(oldKeys.get(keyid)) !== JSON.stringify(keys.get(keyid)))
      lines.push(`${role}: EXCHANGES the key behind the id ${short(keyid)}`);
  }
  for (const keyid of before?.keyids ?? [])
    if (!after.keyids.includes(keyid))
      lines.push(`${role}: removes the key ${named(keyid, oldKeys.get(keyid))}`);
  if (before?.threshold !== after.threshold)
    lines.push(
      `${role}: needed signatures ${before === null ? "" : `${before.threshold} -> `}${after.threshold} of ${after.keyids.length}`,
    );
  const [lived, lives] = [before === null ? null : periodOf(role, before), periodOf(role, after)];
  if (lived !== null && lived.expiryDays !== lives.expiryDays)
    lines.push(`${role}: lives ${lived.expiryDays} -> ${lives.expiryDays} days`);
  if (before !== null && JSON.stringify(before.extra) !== JSON.stringify(after.extra) && lines.length === 0)
    lines.push(`${role}: changes its periods or the names of its keys`);
  return lines;
}

function rolesOf(delegations: Delegations | null): ReadonlyMap<string, DelegatedRole> {
  return new Map(delegations?.roles.map((role) => [role.name, role]));
}

function coverage(role: DelegatedRole): string {
  return role.paths?.join(", ") ?? `hash prefixes ${role.pathHashPrefixes?.join(", ") ?? ""}`;
}

function sameFile(a: TargetFile, b: TargetFile): boolean {
  return (
    a.length === b.length &&
    JSON.stringify(a.hashes) === JSON.stringify(b.hashes) &&
    JSON.stringify(a.custom) === JSON.stringify(b.custom)
  );
}

function describeFile(file: TargetFile): string {
  const digest = file.hashes["sha256"] ?? file.hashes["sha512"] ?? Object.values(file.hashes)[0] ?? "";
  return `${file.length} bytes, digest ${short(digest)}`;
}

function short(hex: string): string {
  return hex.slice(0, 16);
}
