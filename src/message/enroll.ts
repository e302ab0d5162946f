// Enrolment and renewal: a key holder asks for a device certificate.

import { preAuthEncoding } from "../core/dsse.ts";
import { growing, needing, programSchema } from "../core/growth.ts";
import { z } from "../core/schema.ts";
import { base64Schema, deviceIdSchema, ed25519Schema, platformSchema, lineSchema } from "./common.ts";

export const ENROLL_LIMIT = 16 * 1024;
/** DER bytes of a certificate request, and of one certificate. */
export const CSR_LIMIT = 4 * 1024;
export const CERTIFICATE_LIMIT = 4 * 1024;

/** The id and the secret of a token as they stand in its text; see spec/enrollment-token.md. */
export const tokenIdSchema = z.string().check(z.regex(/^[0-9a-f]{16}$/, "expected 16 lower-case hex digits"));
export const tokenSecretSchema = z
  .string()
  .check(z.regex(/^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/, "expected 32 bytes in base64url"));

export const enrollRequestSchema = growing({
  ...needing,
  agent: z.exactOptional(programSchema),
  token: z.strictObject({ id: tokenIdSchema, secret: tokenSecretSchema }),
  /** PKCS#10 (RFC 2986), DER in base64, self-signed by the device's TLS key. Only its key is used. */
  csr: base64Schema(CSR_LIMIT),
  /** The Ed25519 key that will sign this device's reports. */
  reportKey: ed25519Schema,
  /** Ed25519 signature by the report key over `enrolmentProof(csr)`: nobody enrols a key of somebody else. */
  reportKeyProof: base64Schema(64),
  platform: platformSchema,
  /** For people, usually the host name. Trusted for nothing. */
  name: lineSchema(128),
});
export type EnrollRequest = z.infer<typeof enrollRequestSchema>;

/** Leaf first, then the device CA that issued it; DER in base64. */
const chainSchema = z.array(base64Schema(CERTIFICATE_LIMIT)).check(z.minLength(1), z.maxLength(4));

export const enrollAnswerSchema = growing({
  ...needing,
  server: z.exactOptional(programSchema),
  device: deviceIdSchema,
  certificates: chainSchema,
});
export type EnrollAnswer = z.infer<typeof enrollAnswerSchema>;

/** Asked over mutual TLS with the certificate in use; the request holds a new key. */
export const renewRequestSchema = growing({
  ...needing,
  agent: z.exactOptional(programSchema),
  csr: base64Schema(CSR_LIMIT),
});
export type RenewRequest = z.infer<typeof renewRequestSchema>;

export const renewAnswerSchema = growing({
  ...needing,
  server: z.exactOptional(programSchema),
  certificates: chainSchema,
});
export type RenewAnswer = z.infer<typeof renewAnswerSchema>;

/** What the report key signs to show that the enrolling device holds it. */
export function enrolmentProof(csr: Uint8Array): Uint8Array {
  return preAuthEncoding("application/vnd.upkeep.enrolment-proof.v1", csr);
}
