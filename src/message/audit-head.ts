// The head of the server's audit log as a device keeps it and brings it back: a witness that the log cannot deny.

import { sha256Schema, z } from "../core/schema.ts";
import { base64Schema } from "./common.ts";

/** Ed25519 signatures have 64 bytes; the director may have another scheme one day. */
const SIGNATURE_LIMIT = 1024;

export const auditHeadSchema = z.strictObject({
  /** Of the log's last row, from 1. */
  sequence: z.number().check(z.int(), z.minimum(1), z.maximum(Number.MAX_SAFE_INTEGER)),
  /** Of that row, which covers all before it. */
  hash: sha256Schema,
  /** By the director, over both. */
  signature: base64Schema(SIGNATURE_LIMIT),
});
export type AuditHead = Readonly<z.infer<typeof auditHeadSchema>>;
