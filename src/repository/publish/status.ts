// The state of every role for people: version, days left, who signed, who must sign next.

import { DAY, formatInstant, type Instant } from "../../core/instant.ts";
import { Draft } from "./draft.ts";
import type { Body, Signed } from "../metadata.ts";
import { topDelegator, type Published } from "./published.ts";
import { alarmOf, isDue, keyNames, type Alarm } from "./publisher-policy.ts";
import { quorumOf } from "./quorum.ts";
import type { Delegator } from "../trusted-set.ts";

export type RoleStatus = {
  readonly role: string;
  readonly version: number;
  readonly expires: string;
  /** Whole days left, negative when expired. */
  readonly daysLeft: number;
  readonly threshold: number;
  /** Names, or key ids where a key has no name. */
  readonly signedBy: readonly string[];
  readonly couldSign: readonly string[];
  /** In its signing window: somebody should sign it again. */
  readonly due: boolean;
  readonly alarm: Alarm;
  /** Renewed by the server without people. */
  readonly online: boolean;
};

export type RepositoryStatus = {
  readonly roles: readonly RoleStatus[];
  /** Bins are counted, and the one that expires first is shown. */
  readonly bins: number;
};

export async function repositoryStatus(published: Published, now: Instant): Promise<RepositoryStatus> {
  const root = published.root.signed;
  const roles: RoleStatus[] = [...mainRoleStatus(published, now)];
  const draft = new Draft(published, root);
  let bins = 0;
  let firstBin: RoleStatus | null = null;
  for (const role of published.snapshot.signed.meta.keys()) {
    const delegator = await draft.publishedDelegator(role);
    if (delegator === null) continue;
    const signed = (await published.role(role, delegator))!;
    const status = statusOf(role, signed, delegator, now);
    if (!/\.bin-[0-9a-f]+$/.test(role)) {
      roles.push(status);
      continue;
    }
    bins++;
    if (firstBin === null || status.daysLeft < firstBin.daysLeft) firstBin = status;
  }
  return { roles: firstBin === null ? roles : [...roles, firstBin], bins };
}

/** Root, timestamp and snapshot alone: known without reading any other file. */
export function mainRoleStatus(published: Published, now: Instant): readonly RoleStatus[] {
  const root = published.root.signed;
  return [
    statusOf("root", published.root, topDelegator(root, "root"), now),
    statusOf("timestamp", published.timestamp, topDelegator(root, "timestamp"), now),
    statusOf("snapshot", published.snapshot, topDelegator(root, "snapshot"), now),
  ];
}

/** The worst of all, for an exit code. */
export function verdict(status: RepositoryStatus): "well" | "due" | "expired" {
  if (status.roles.some((role) => role.alarm === "expired")) return "expired";
  // Online roles are always near their end; they matter when they get there.
  return status.roles.some((role) => role.due && !role.online) ? "due" : "well";
}

/** Signs again every due role that people sign, as far as keys are here. */
export async function touchDue(draft: Draft, now: Instant): Promise<readonly string[]> {
  const published = draft.published!;
  const touched: string[] = [];
  if (isDue("root", published.root.signed.roles.root, published.root.signed.expires, now)) {
    draft.setRoot((root) => root);
    touched.push("root");
  }
  for (const role of published.snapshot.signed.meta.keys()) {
    const delegator = await draft.publishedDelegator(role);
    if (delegator === null) continue;
    const signed = (await published.role(role, delegator))!;
    if (!isDue(role, delegator.role, signed.signed.expires, now)) continue;
    await draft.touch(role);
    touched.push(role);
  }
  return touched;
}

function statusOf(role: string, metadata: Signed<Body>, delegator: Delegator, now: Instant): RoleStatus {
  const { expires, version } = metadata.signed;
  const quorum = quorumOf(metadata, delegator);
  const names = keyNames(delegator.role);
  const named = (keyids: readonly string[]) => keyids.map((keyid) => names.get(keyid) ?? keyid.slice(0, 16));
  const online = role === "snapshot" || role === "timestamp";
  return {
    role,
    version,
    expires: formatInstant(expires),
    daysLeft: Math.floor((expires - now) / DAY),
    threshold: delegator.role.threshold,
    signedBy: named(quorum.signed),
    couldSign: named(delegator.role.keyids),
    due: isDue(role, delegator.role, expires, now),
    alarm: online && expires > now ? "none" : alarmOf(expires, now),
    online,
  };
}
