// How many other people have to approve the rollouts of a product: a setting of the fleet that no single rollout can undercut.

import { isJsonObject, parseJson } from "../../core/json.ts";
import { toUtf8 } from "../../core/bytes.ts";
import type { Instant } from "../../core/instant.ts";
import { appendAudit } from "../audit.ts";
import type { FleetReads, FleetRecords } from "../store.ts";

export const MOST_APPROVALS = 5;
const SETTING = "rollout-approvals";
/** No product has this name. */
const OTHERS = "*";

type Numbers = { readonly [product: string]: number };

async function load(records: Pick<FleetReads, "setting">): Promise<Numbers> {
  const text = await records.setting(SETTING);
  const value = text === null ? {} : parseJson(toUtf8(text));
  return isJsonObject(value) ? (value as Numbers) : {};
}

/** What the fleet asks for. */
export async function neededApprovals(
  records: Pick<FleetReads, "setting">,
  product: string,
): Promise<number> {
  const numbers = await load(records);
  return numbers[product] ?? numbers[OTHERS] ?? 0;
}

/** `product` null: of all that have no number. Rollouts that are made already keep theirs. */
export async function setApprovals(
  records: FleetRecords,
  now: Instant,
  { product, number }: { readonly product: string | null; readonly number: number },
  actor: string,
): Promise<{ readonly before: number }> {
  const numbers = await load(records);
  const name = product ?? OTHERS;
  const before = numbers[name] ?? numbers[OTHERS] ?? 0;
  await records.putSetting(SETTING, JSON.stringify({ ...numbers, [name]: number }));
  await appendAudit(records, now, {
    actor,
    action: "fleet/rollout-approvals",
    subject: name,
    facts: { before, after: number },
  });
  return { before };
}
