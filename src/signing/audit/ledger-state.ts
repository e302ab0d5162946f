// What a ledger knows as plain values, under a closed schema, so that it can be kept beside the log and read again.

import { lengthSchema, z } from "../../core/schema.ts";
import type { EntryOf } from "./entry.ts";

const text = z.string();
const instant = lengthSchema;
const pendingSchema = z.strictObject({
  n: lengthSchema,
  time: text,
  prev: text,
  kind: z.literal("pending"),
  user: text,
  session: text,
  address: text,
  request: text,
  requestHash: text,
  certificate: text,
  operation: text,
  file: text,
  digest: text,
  fileSha256: text,
  rule: text,
  needed: lengthSchema,
  release: z.optional(text),
  expires: text,
});
/** A request that waits for approvals, without its document: that is read from the log when it is wanted. */
export type PendingNote = Omit<EntryOf<"pending">, "document">;

const unsignedSchema = z.discriminatedUnion("state", [
  z.strictObject({ state: z.literal("pending"), hash: text, entry: pendingSchema }),
  z.strictObject({ state: z.literal("denied"), hash: text, n: lengthSchema }),
  z.strictObject({ state: z.literal("intent"), hash: text, n: lengthSchema, attempt: lengthSchema }),
  z.strictObject({ state: z.literal("failed"), hash: text, code: text, attempt: lengthSchema }),
]);
export type UnsignedState =
  | { readonly state: "pending"; readonly hash: string; readonly entry: PendingNote }
  | Exclude<z.infer<typeof unsignedSchema>, { state: "pending" }>;

const intentSchema = z.strictObject({
  n: lengthSchema,
  request: text,
  requestHash: text,
  attempt: lengthSchema,
  release: z.optional(text),
});
/** An intent without result. */
export type OpenIntent = z.infer<typeof intentSchema>;

export const ledgerStateSchema = z.strictObject({
  requests: z.array(z.strictObject({ id: text, state: unsignedSchema, forget: instant })),
  marks: z.array(z.strictObject({ n: lengthSchema, time: instant })),
  approvals: z.array(
    z.strictObject({
      subject: text,
      given: z.array(
        z.strictObject({
          user: text,
          nonce: text,
          decision: z.enum(["approve", "reject"]),
          expires: instant,
        }),
      ),
    }),
  ),
  used: z.array(z.strictObject({ word: text, spki: text, time: instant })),
  counters: z.array(
    z.strictObject({
      name: text,
      total: lengthSchema,
      forgotten: lengthSchema,
      times: z.array(instant),
      upTo: z.array(lengthSchema),
    }),
  ),
  places: z.array(z.strictObject({ place: text, request: text })),
  intents: z.array(intentSchema),
  tidied: instant,
});

/** `signed` holds 22 bytes for each signed request: they may be millions. */
export type LedgerState = z.infer<typeof ledgerStateSchema> & { readonly signed: Uint8Array };
