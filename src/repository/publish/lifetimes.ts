// How long roles live, changed after the repository was made: signed members of the roles, so that devices and publishers agree on them.

import type { DelegatedRole, RoleKeys, Root } from "../metadata.ts";
import { periodOf, type Period } from "../periods.ts";
import type { Draft } from "./draft.ts";
import { allRoles } from "./key-changes.ts";
import { PublisherError } from "./publisher-errors.ts";
import { keyNames, policyExtra } from "./publisher-policy.ts";

/**
 * Days. The timestamp's life is how long whoever stands between may keep news from a device unnoticed (freeze attack), so it is bounded by
 * what is still of use to somebody; what people sign may live for years.
 */
export const LIFETIME_LIMITS = { timestamp: 90, snapshot: 180, other: 3650 } as const;

/** From when on a role is due: in the proportion of the periods that come with a repository. */
export function periodFor(role: string, days: number): Period {
  if (role === "timestamp") return { expiryDays: days, signingDays: 0 };
  if (role === "snapshot") return { expiryDays: days, signingDays: Math.floor((days * 4) / 7) };
  return { expiryDays: days, signingDays: Math.min(60, Math.max(1, Math.floor(days / 3))) };
}

/** The present life of each role in days. */
export async function lifetimes(draft: Draft): Promise<ReadonlyMap<string, number>> {
  return new Map((await allRoles(draft)).map(({ role, keys }) => [role, periodOf(role, keys).expiryDays]));
}

/**
 * Gives roles other lives, and marks for signing what is to have the new one at once; snapshot and timestamp are made anew by every
 * publication. Returns the roles that change, with the life before. Errors: `publisher/bad-input`.
 */
export async function setLifetimes(
  draft: Draft,
  wanted: ReadonlyMap<string, number>,
): Promise<ReadonlyMap<string, { readonly before: number; readonly after: number }>> {
  const present = await lifetimes(draft);
  const changed = new Map<string, { readonly before: number; readonly after: number }>();
  for (const [role, after] of wanted) {
    const before = present.get(role);
    if (before === undefined) {
      const known = [...present.keys()];
      throw new PublisherError(
        "publisher/bad-input",
        `There is no role ${role.slice(0, 60)}.`,
        { role, known },
        {
          hint: `One of: ${known.join(", ")}.`,
        },
      );
    }
    const most = LIFETIME_LIMITS[role as "timestamp" | "snapshot"] ?? LIFETIME_LIMITS.other;
    if (!Number.isSafeInteger(after) || after < 1 || after > most) {
      throw new PublisherError("publisher/bad-input", `${role} can live from 1 to ${most} days.`, {
        role,
        most,
      });
    }
    if (before !== after) changed.set(role, { before, after });
  }
  const edited = <T extends RoleKeys>(role: string, keys: T): T => {
    const change = changed.get(role);
    if (change === undefined) return keys;
    const extra = { ...keys.extra, ...policyExtra(periodFor(role, change.after), keyNames(keys)) };
    return { ...keys, extra };
  };
  const isTop = (role: string): boolean => Object.hasOwn(draft.root.roles, role);
  if ([...changed.keys()].some(isTop))
    draft.setRoot((root): Root => {
      const { roles } = root;
      return {
        ...root,
        roles: {
          root: edited("root", roles.root),
          targets: edited("targets", roles.targets),
          snapshot: edited("snapshot", roles.snapshot),
          timestamp: edited("timestamp", roles.timestamp),
        },
      };
    });
  const delegated = [...changed.keys()].filter((role) => !isTop(role));
  if (delegated.length > 0)
    await draft.edit("targets", (body) => ({
      ...body,
      delegations: {
        ...body.delegations!,
        roles: body.delegations!.roles.map((role): DelegatedRole => edited(role.name, role)),
      },
    }));
  for (const role of [...delegated, ...(changed.has("targets") ? ["targets"] : [])]) await draft.touch(role);
  return changed;
}
