// What a client must know of a signing service: gateways and signers by key, and the signers' log keys; nothing secret.

import { parseJson } from "../core/json.ts";
import { checkSchema, nameSchema, sha256Schema, z } from "../core/schema.ts";

const schema = z.strictObject({
  version: z.literal(1),
  gateways: z
    .array(
      z.strictObject({
        address: z.string().check(z.regex(/^\S+:\d{1,5}$/, "expected host:port")),
        spki: sha256Schema,
      }),
    )
    .check(z.minLength(1), z.maxLength(16)),
  signers: z
    .array(z.strictObject({ name: nameSchema, spki: sha256Schema, log: z.string().check(z.maxLength(300)) }))
    .check(z.minLength(1), z.maxLength(64)),
});
export type ServiceDescription = z.infer<typeof schema>;

export const MAX_DESCRIPTION = 64 * 1024;

/** Errors: `json/*`, `schema/invalid`. */
export function parseDescription(bytes: Uint8Array): ServiceDescription {
  return checkSchema(schema, parseJson(bytes), "description of the signing service");
}

export function formatDescription(description: ServiceDescription): string {
  return `${JSON.stringify(description, null, 2)}\n`;
}
