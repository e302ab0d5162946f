// What `repo gates` does.

import { nameSchema, z } from "../../../core/schema.ts";
import type { Demand } from "../../../release/demands.ts";
import { readGates, setGate } from "../../../repository/publish/gates.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { columns } from "../../framework/style.ts";
import { conclude, refuseWhileOpen } from "./ceremony.ts";
import { operatorOf } from "./operator.ts";

export async function repoGates(call: Call): Promise<Result> {
  const operator = operatorOf(call);
  const product = call.argumentOr(0);
  const demands = [...new Set(call.list("demand"))] as Demand[];
  const none = call.flag("none");
  if (product === undefined) {
    if (demands.length > 0 || none) throw usage("Name the product whose gate is to be set.");
    const gates = await readGates(operator.releases, await operator.look());
    const rows = [...gates].map(([name, list]) => [name, list.join(", ")]);
    return {
      text: rows.length === 0 ? "No product demands anything." : columns([["PRODUCT", "DEMANDS"], ...rows]),
      json: { gates: Object.fromEntries(gates) },
    };
  }
  if (!z.safeParse(nameSchema, product).success)
    throw usage(`"${product.slice(0, 80)}" is no name of a product.`);
  if (demands.length > 0 === none) throw usage("Give --demand, or --none to demand nothing any more.");
  await refuseWhileOpen(call);
  const outcome = await setGate(operator.releases, product, demands);
  const concluded = await conclude(call, outcome, `gate of ${product}`);
  const what = none ? "demands nothing any more" : `demands ${demands.join(", ")} of each release`;
  return {
    text: `${product} ${what}.\n${concluded.text}`,
    json: { product, demands, ...concluded.json },
    exit: concluded.exit,
  };
}
