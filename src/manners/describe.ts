// Policies in words: a line of a document, and what was merged for one product, with whose word each part is.

import { formatDuration } from "../core/duration.ts";
import { SECOND } from "../core/instant.ts";
import { describeHours } from "./hours.ts";
import type { Merged } from "./merge.ts";
import type { Deadline, Line } from "./policy.ts";

/** "security of shop: ask, deadline 2d after it is known (warned 1d, 1h before), then stop". */
export function describeLine({ products, kinds, when, deadline, ...rest }: Line): string {
  const who = `${kinds?.join(", ") ?? "every kind"} of ${products?.join(", ") ?? "every product"}`;
  const parts = [
    when,
    ...(rest.windows ?? []).map((hours) => `within ${describeHours(hours)}`),
    ...(rest.activeHours ?? []).map((hours) => `never within ${describeHours(hours)}`),
    ...(rest.idleSeconds === undefined ? [] : [`idle for ${rest.idleSeconds} s`]),
    ...(rest.maxLoad === undefined ? [] : [`load up to ${rest.maxLoad} percent`]),
    ...(rest.minBattery === undefined ? [] : [`battery from ${rest.minBattery} percent`]),
    ...(rest.metered === undefined
      ? []
      : [rest.metered ? "also over metered links" : "not over metered links"]),
    ...(deadline === undefined ? [] : [describeDeadline(deadline)]),
    ...(rest.atStart === "block" ? ["before it serves at a start"] : []),
    ...(rest.servesFrom === undefined ? [] : [`serves from ${rest.servesFrom}`]),
  ];
  return `${who}: ${parts.join(", ")}`;
}

export function describeDeadline({ within, by, warn, after, overInterlocks }: Deadline): string {
  const end = by === undefined ? `${formatDuration(within! * SECOND)} after it is known` : by;
  const warned =
    warn === undefined
      ? ""
      : ` (warned ${warn.map((lead) => formatDuration(lead * SECOND)).join(", ")} before)`;
  const stop = after === "stop" ? ", then the old version stops" : "";
  return `deadline ${end}${warned}${stop}${overInterlocks === true ? ", also over interlocks" : ""}`;
}

/** Rows of a table: what is set, to what, by whom. */
export function describeMerged(merged: Merged): readonly (readonly [string, string, string])[] {
  const rows: (readonly [string, string, string])[] = [];
  const add = (name: keyof Merged["origins"], value: string | null): void => {
    if (value !== null) rows.push([name, value, merged.origins[name]]);
  };
  add("when", merged.when);
  const windows = merged.windows.map((list) => list.map(describeHours).join(" or "));
  add("windows", windows.length === 0 ? null : windows.join(" and "));
  add(
    "activeHours",
    merged.activeHours.length === 0 ? null : merged.activeHours.map(describeHours).join(", "),
  );
  add("idleSeconds", merged.idleSeconds === null ? null : String(merged.idleSeconds));
  add("maxLoad", merged.maxLoad === null ? null : `${merged.maxLoad} percent`);
  add("minBattery", merged.minBattery === null ? null : String(merged.minBattery));
  add("metered", merged.metered ? null : "no");
  add("deadline", merged.deadline === null ? null : describeDeadline(merged.deadline));
  add(
    "atStart",
    merged.atStart === "background"
      ? null
      : `block, ${merged.atStartSeconds === 0 ? "without end" : `${merged.atStartSeconds} s`}`,
  );
  add("servesFrom", merged.servesFrom);
  return rows;
}
