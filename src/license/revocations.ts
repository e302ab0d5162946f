// The list of licenses that are taken back: a TUF target, so that it also reaches devices that no server reaches (spec/license.md).

import { signEnvelope, verifyEnvelope, type DsseSigner } from "../core/dsse.ts";
import { checkWritten, needing, readGrowing } from "../core/growth.ts";
import { parseInstant, type Instant } from "../core/instant.ts";
import { parseJson, type Json } from "../core/json.ts";
import { instantSchema, z } from "../core/schema.ts";
import { stableJson } from "../core/stable-json.ts";
import { lineSchema } from "../message/common.ts";
import type { DocumentKeys } from "../release/trusted-keys.ts";
import { count, licenseIdSchema } from "./terms.ts";

/** The TUF target that holds it. */
export const REVOCATIONS_TARGET = "trust/license-revocations.json";
export const REVOCATIONS_LIMIT = 1024 * 1024;

const revocationsSchema = z.strictObject({
  ...needing,
  version: count(1, Number.MAX_SAFE_INTEGER),
  revoked: z
    .array(
      z.strictObject({
        license: licenseIdSchema,
        effectiveAt: instantSchema,
        reason: lineSchema(200),
      }),
    )
    .check(z.maxLength(4096)),
});
export type Revocations = Readonly<z.infer<typeof revocationsSchema>>;
export const NO_REVOCATIONS: Revocations = { version: 1, revoked: [] };

export function signRevocations(list: Revocations, signers: readonly DsseSigner[]): Promise<Uint8Array> {
  const body = stableJson(
    checkWritten(revocationsSchema, list, "list of revoked licenses") as unknown as Json,
  );
  return signEnvelope("license-revocations", body, signers);
}

/** Signed by whoever may issue; TUF keeps it from going back. Errors: `dsse/*`, `schema/invalid`, `growth/needs-newer`. */
export function openRevocations(bytes: Uint8Array, issuers: DocumentKeys): Revocations {
  const { body } = verifyEnvelope(bytes, "license-revocations", issuers.keys, {
    limit: REVOCATIONS_LIMIT,
    threshold: issuers.threshold,
  });
  return readGrowing(revocationsSchema, parseJson(body), "list of revoked licenses");
}

/** Since when the license counts as revoked; null if it does not. */
export function revokedSince(list: Revocations | null, license: string): Instant | null {
  const entry = list?.revoked.find((one) => one.license === license);
  return entry === undefined ? null : parseInstant(entry.effectiveAt);
}
