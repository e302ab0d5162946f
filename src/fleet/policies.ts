// The policy of a group: when its devices activate updates; kept as it was given, sent with each assignment.

import { parseJsonText, type Json } from "../core/json.ts";
import { formatInstant, type Instant } from "../core/instant.ts";
import { MannersError } from "../manners/errors.ts";
import { parsePolicy, type Line, type Policy } from "../manners/policy.ts";
import { appendAudit } from "./audit.ts";
import { needOrMakeGroup } from "./groups.ts";
import type { FleetReads, FleetRecords } from "./store.ts";
import { wake } from "./wake.ts";

/** An assignment has 64 KiB for all its products and this. */
const LONGEST = 16 * 1024;

/** Where it stands among the settings of the store. */
export function policyKey(group: string): string {
  return `policy:${group}`;
}

/** Null when the group has none. Errors: `json/*`, `schema/invalid`, for what a later program wrote. */
export async function policyOf(records: Pick<FleetReads, "setting">, group: string): Promise<Policy | null> {
  const text = await records.setting(policyKey(group));
  return text === null || text === "" ? null : parsePolicy(parseJsonText(text));
}

/**
 * Sets the policy of a group, or takes it away; its devices are woken when it changed.
 * Errors: `fleet/unknown-group`, `schema/invalid`, `manners/bad-policy`.
 */
export async function setPolicy(
  records: FleetRecords,
  now: Instant,
  request: { readonly group: string; readonly policy: Policy | null; readonly create?: boolean },
  actor = "operator",
): Promise<{ readonly changed: boolean }> {
  const { group, policy, create = false } = request;
  await needOrMakeGroup(records, now, { group, create }, actor);
  const text = policy === null ? "" : JSON.stringify(parsePolicy(policy as unknown as Json));
  if (text.length > LONGEST) {
    throw new MannersError(
      "manners/bad-policy",
      `The policy has ${text.length} characters as JSON; ${LONGEST} are the most, because it goes with each assignment.`,
      { length: text.length, limit: LONGEST },
    );
  }
  const before = (await records.setting(policyKey(group))) ?? "";
  if (before === text) return { changed: false };
  await records.putSetting(policyKey(group), text);
  await appendAudit(records, now, {
    actor,
    action: policy === null ? "group/policy-cleared" : "group/policy-set",
    subject: group,
    facts: { policy: text, at: formatInstant(now) },
  });
  await wake(records, `group:${group}`);
  return { changed: true };
}

/** The policy with one line put in: it takes the place of a line for the same products and kinds, and else stands before all others that say less. */
export function withLine(policy: Policy | null, line: Line): Policy {
  const lines = policy?.lines ?? [];
  const same = lines.findIndex((one) => subjectOf(one) === subjectOf(line));
  if (same >= 0) return { format: 1, lines: lines.map((one, at) => (at === same ? line : one)) };
  // What names fewer products and kinds comes first, or it would never be reached.
  const at = lines.findIndex((one) => breadthOf(one) >= breadthOf(line));
  const place = at < 0 ? lines.length : at;
  return { format: 1, lines: [...lines.slice(0, place), line, ...lines.slice(place)] };
}

function subjectOf({ products, kinds }: Line): string {
  return JSON.stringify([products?.toSorted() ?? null, kinds?.toSorted() ?? null]);
}

function breadthOf({ products, kinds }: Line): number {
  return (products === undefined ? 2 : 0) + (kinds === undefined ? 1 : 0);
}
