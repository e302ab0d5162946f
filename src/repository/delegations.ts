// Which delegated roles may speak for a target, in the order in which they are asked.

import { binName, binOf, type DelegatedRole, type Delegations, type RoleKeys } from "./metadata.ts";
import { targetNameHash } from "./names.ts";
import { matchesPattern } from "./glob.ts";

export type Delegate = { readonly name: string; readonly terminating: boolean; readonly role: RoleKeys };

/** TUF 5.6.7.2: delegated roles whose paths cover the target, in order of appearance. */
export function delegatesFor(delegations: Delegations, target: string): readonly Delegate[] {
  const { succinct } = delegations;
  if (succinct !== null) {
    // TAP 15: exactly one bin covers a target. All clients in the field stop there, so it is terminating.
    const name = binName(succinct, binOf(succinct, targetNameHash(target)));
    return [{ name, terminating: true, role: succinct }];
  }
  let nameHash: string | undefined;
  const covers = (role: DelegatedRole): boolean => {
    if (role.paths !== null) return role.paths.some((pattern) => matchesPattern(pattern, target));
    nameHash ??= targetNameHash(target);
    return role.pathHashPrefixes?.some((prefix) => nameHash!.startsWith(prefix)) === true;
  };
  return delegations.roles
    .filter(covers)
    .map((role) => ({ name: role.name, terminating: role.terminating, role }));
}
