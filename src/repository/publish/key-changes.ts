// Changes of keys as edits of a draft: one key for another, or a key taken away everywhere.

import type { TufKey } from "../../keys/public-key.ts";
import { isBinOf } from "./hash-bins.ts";
import type { Draft } from "./draft.ts";
import type { DelegatedRole, Delegations, RoleKeys, Root } from "../metadata.ts";
import type { NamedKey } from "./new-repository.ts";
import { periodOf } from "../periods.ts";
import { keyNames, policyExtra } from "./publisher-policy.ts";
import { PublisherError } from "./publisher-errors.ts";

const TOP = ["root", "targets", "snapshot", "timestamp"] as const;

/** Where a key is used: role names, in the order root, targets, online roles, delegated roles. */
export async function rolesOfKey(draft: Draft, keyid: string): Promise<readonly string[]> {
  const top = TOP.filter((role) => draft.root.roles[role].keyids.includes(keyid));
  const delegated = (await draft.delegatedRoles())
    .filter((role) => role.keyids.includes(keyid))
    .map((role) => role.name);
  return [...top, ...delegated];
}

/** Every role with its keys and their names: for finding a key by name. */
export async function allRoles(
  draft: Draft,
): Promise<readonly { readonly role: string; readonly keys: RoleKeys }[]> {
  return [
    ...TOP.map((role) => ({ role, keys: draft.root.roles[role] })),
    ...(await draft.delegatedRoles()).map((role) => ({ role: role.name, keys: role as RoleKeys })),
  ];
}

/** Key id of a key by its name in any role, its id, or the first 8 digits of its id. Throws `publisher/bad-input`. */
export async function findKeyid(draft: Draft, nameOrId: string): Promise<string> {
  const found = new Set<string>();
  for (const { keys } of await allRoles(draft)) {
    for (const keyid of keys.keyids) {
      const named = keyNames(keys).get(keyid) === nameOrId;
      if (named || keyid === nameOrId || (nameOrId.length >= 8 && keyid.startsWith(nameOrId)))
        found.add(keyid);
    }
  }
  const [first, ...others] = found;
  if (first !== undefined && others.length === 0) return first;
  throw new PublisherError(
    "publisher/bad-input",
    first === undefined
      ? `No role has a key "${nameOrId.slice(0, 80)}".`
      : `More than one key goes by "${nameOrId.slice(0, 80)}".`,
    { key: nameOrId.slice(0, 80) },
    { hint: "upkeep repo status shows the keys of every role." },
  );
}

/** Puts `next` in the place of `old` in the named roles. */
export async function replaceKey(
  draft: Draft,
  roles: readonly string[],
  old: string,
  next: NamedKey,
): Promise<void> {
  await changeKeys(
    draft,
    roles,
    (keys) => {
      const names = new Map(keyNames(keys));
      names.delete(old);
      names.set(next.key.keyid, next.name);
      const keyids = keys.keyids.map((keyid) => (keyid === old ? next.key.keyid : keyid));
      return { keyids: [...new Set(keyids)], names };
    },
    new Map([[next.key.keyid, next.key.tuf]]),
  );
}

/** Takes a key away from the named roles. Throws `publisher/bad-input` for a role that would be left with too few. */
export async function removeKey(draft: Draft, roles: readonly string[], old: string): Promise<void> {
  await changeKeys(
    draft,
    roles,
    (keys, role) => {
      const names = new Map(keyNames(keys));
      names.delete(old);
      const keyids = keys.keyids.filter((keyid) => keyid !== old);
      if (keyids.length < keys.threshold) {
        throw new PublisherError(
          "publisher/bad-input",
          `Without this key the role ${role} has ${keyids.length} key(s) where ${keys.threshold} must sign.`,
          { role, keys: keyids.length, threshold: keys.threshold },
          { hint: `Put another in its place: upkeep repo rotate ${role}` },
        );
      }
      return { keyids, names };
    },
    new Map(),
  );
}

type Change = (
  keys: RoleKeys,
  role: string,
) => { readonly keyids: readonly string[]; readonly names: ReadonlyMap<string, string> };

async function changeKeys(
  draft: Draft,
  roles: readonly string[],
  change: Change,
  added: ReadonlyMap<string, TufKey>,
): Promise<void> {
  const edited = <T extends RoleKeys>(keys: T, role: string): T => {
    const { keyids, names } = change(keys, role);
    // Members of the role that we don't know stay; ours are written anew.
    return { ...keys, keyids, extra: { ...keys.extra, ...policyExtra(periodOf(role, keys), names) } };
  };
  const top = TOP.filter((role) => roles.includes(role));
  if (top.length > 0) {
    draft.setRoot((root): Root => {
      const changed = Object.fromEntries(top.map((role) => [role, edited(root.roles[role], role)]));
      const next = { ...root.roles, ...changed };
      return { ...root, roles: next, keys: usedKeys(Object.values(next), new Map([...root.keys, ...added])) };
    });
  }
  const delegated = roles.filter((role) => !(TOP as readonly string[]).includes(role));
  if (delegated.length === 0) return;
  await draft.edit("targets", (body) => {
    const before = body.delegations!;
    const children = before.roles.map((role) =>
      delegated.includes(role.name) ? edited(role, role.name) : role,
    );
    const delegations: Delegations = {
      ...before,
      roles: children,
      keys: usedKeys(children, new Map([...before.keys, ...added])),
    };
    return { ...body, delegations };
  });
  for (const role of delegated) await rekeyBins(draft, role);
}

/** The bins of a role are signed by the role's keys: their delegation follows. */
async function rekeyBins(draft: Draft, role: string): Promise<void> {
  const { body, delegator } = await draft.role(role);
  const succinct = body.delegations?.succinct ?? null;
  if (succinct === null) return;
  const { keyids, threshold } = delegator.role;
  const keys = new Map([...delegator.keys].filter(([keyid]) => keyids.includes(keyid)));
  await draft.edit(role, (before) => ({
    ...before,
    delegations: { ...before.delegations!, keys, succinct: { ...succinct, keyids, threshold } },
  }));
  for (const name of draft.published?.snapshot.signed.meta.keys() ?? [])
    if (isBinOf(succinct, name)) await draft.touch(name);
}

function usedKeys(
  roles: readonly (RoleKeys | DelegatedRole)[],
  keys: ReadonlyMap<string, TufKey>,
): ReadonlyMap<string, TufKey> {
  const used = new Set(roles.flatMap((role) => role.keyids));
  return new Map([...keys].filter(([keyid]) => used.has(keyid)));
}
