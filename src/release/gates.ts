// Gates: what a product demands of a release before a channel may point to it; a target signed by the targets role, above the product's own keys.

import { parseJson, type Json } from "../core/json.ts";
import { checkSchema, nameSchema, z } from "../core/schema.ts";
import { stableJsonFile } from "../core/stable-json.ts";
import { DEMANDS, type Demand } from "./demands.ts";

export const GATES_TARGET = "trust/gates.json";
export const GATES_LIMIT = 256 * 1024;

const gatesSchema = z.strictObject({
  format: z.literal(1),
  products: z.array(
    z.strictObject({
      product: nameSchema,
      demands: z.array(z.enum(DEMANDS)).check(
        z.minLength(1),
        z.refine((list) => new Set(list).size === list.length, "a demand appears twice"),
      ),
    }),
  ),
});

/** Products without an entry demand nothing. */
export type Gates = ReadonlyMap<string, readonly Demand[]>;

/** Errors: `json/*`, `schema/invalid`. */
export function parseGates(bytes: Uint8Array): Gates {
  const { products } = checkSchema(gatesSchema, parseJson(bytes), "list of gates");
  return new Map(products.map(({ product, demands }) => [product, demands]));
}

export function serialiseGates(gates: Gates): Uint8Array {
  const products = [...gates]
    .filter(([, demands]) => demands.length > 0)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([product, demands]) => ({ product, demands: [...demands].toSorted() }));
  return stableJsonFile({ format: 1, products } as Json);
}
