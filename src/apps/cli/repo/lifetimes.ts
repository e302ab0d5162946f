// What `repo lifetimes` does.

import { lifetimes, setLifetimes } from "../../../repository/publish/lifetimes.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { columns } from "../../framework/style.ts";
import { conclude, refuseWhileOpen } from "./ceremony.ts";
import { operatorOf } from "./operator.ts";

export async function repoLifetimes(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  const words = call.argumentsFrom(0);
  if (words.length === 0) return show(await lifetimes(await operator.look()));
  await refuseWhileOpen(call);
  const present = await lifetimes(await operator.look());
  const wanted = new Map(words.flatMap((word) => parseWish(word, [...present.keys()])));
  const lines: string[] = [];
  const outcome = await operator.publisher.change(async (draft) => {
    for (const [role, { before, after }] of await setLifetimes(draft, wanted)) {
      lines.push(`${role}: ${before} -> ${after} days`);
      if ((role === "timestamp" || role === "snapshot") && after > before)
        lines.push(
          `  a mirror, or an attacker in between, can keep news from a device for ${after} days before it notices`,
        );
    }
  });
  const concluded = await conclude(call, outcome, `lifetimes ${words.join(" ")}`);
  const changed = lines.length === 0 ? ["Nothing changes: every role lives that long already."] : lines;
  return {
    text: [...changed, concluded.text].join("\n"),
    json: { lifetimes: Object.fromEntries(wanted), ...concluded.json },
    exit: concluded.exit,
  };
}

function show(present: ReadonlyMap<string, number>): Result {
  const rows = [...present].map(([role, days]) => [role, String(days)]);
  return { text: columns([["ROLE", "DAYS"], ...rows]), json: { lifetimes: Object.fromEntries(present) } };
}

/** `ROLE=DAYS`; `online` is snapshot and timestamp, `products` every product. */
function parseWish(word: string, roles: readonly string[]): readonly (readonly [string, number])[] {
  const [, what, days] = /^([^=]+)=(\d{1,5})$/.exec(word) ?? [];
  if (what === undefined || days === undefined)
    throw usage(
      `"${word.slice(0, 60)}" is not ROLE=DAYS.`,
      "For example: upkeep repo lifetimes timestamp=7 targets=730",
    );
  const meant =
    what === "online"
      ? ["snapshot", "timestamp"]
      : what === "products"
        ? roles.filter((role) => role.startsWith("product."))
        : [what];
  return meant.map((role) => [role, Number(days)] as const);
}
