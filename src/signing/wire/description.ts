// What a client must know of a signing service: gateways and signers by key, and the signers' log keys; nothing secret.

import { fromBase64, toBase64 } from "../../core/bytes.ts";
import { parseJson } from "../../core/json.ts";
import { checkSchema, nameSchema, sha256Schema, z } from "../../core/schema.ts";
import { parseCertificate, type Certificate } from "../../der/x509.ts";

/** A certificate, DER in base64. */
const certificateSchema = z.string().check(
  z.maxLength(16 * 1024),
  z.refine((text) => isCertificate(text), "expected a certificate, DER in base64"),
);

const signerSchema = z.strictObject({
  name: nameSchema,
  spki: sha256Schema,
  log: z.string().check(z.maxLength(300)),
  /** Roots that the authority of each of its time stamps has to chain to; without them any authority is believed. */
  timestampRoots: z.optional(z.array(certificateSchema).check(z.minLength(1), z.maxLength(32))),
});

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
  signers: z.array(signerSchema).check(z.minLength(1), z.maxLength(64)),
});
export type ServiceDescription = z.infer<typeof schema>;

export type DescribedSigner = ServiceDescription["signers"][number];

export const MAX_DESCRIPTION = 256 * 1024;

/** The roots that a signer's time stamps have to chain to; null if the description names none. */
export function timestampRootsOf({ timestampRoots }: DescribedSigner): readonly Certificate[] | null {
  return timestampRoots?.map((text) => parseCertificate(fromBase64(text))) ?? null;
}

export function describeRoots(roots: readonly Certificate[]): readonly string[] {
  return roots.map((root) => toBase64(root.der));
}

function isCertificate(text: string): boolean {
  try {
    parseCertificate(fromBase64(text));
    return true;
  } catch {
    return false;
  }
}

/** Errors: `json/*`, `schema/invalid`. */
export function parseDescription(bytes: Uint8Array): ServiceDescription {
  return checkSchema(schema, parseJson(bytes), "description of the signing service");
}

export function formatDescription(description: ServiceDescription): string {
  return `${JSON.stringify(description, null, 2)}\n`;
}
