// The entries of the audit log: a closed schema per kind, one canonical spelling, each naming its predecessor.

import { canonicalJson } from "../../core/canonical-json.ts";
import { equalBytes, toHex } from "../../core/bytes.ts";
import { merkleLeaf } from "../../core/digest.ts";
import { parseJson, type Json } from "../../core/json.ts";
import { SigningError } from "../errors.ts";
import { checkSchema, instantSchema, sha256Schema, z } from "../../core/schema.ts";

/** tlog-tiles "Log entries": a length fits in 16 bits. */
export const MAX_ENTRY = 65_535;
/** Larger documents are kept beside the log, by digest. */
export const MAX_INLINE = 16 * 1024;

/** One line of printable text: canonical JSON writes control characters raw, and an entry is one line. */
export const lineSchema = z
  .string()
  .check(
    z.maxLength(512),
    z.regex(/^[^\p{Cc}\p{Cs}\u2028\u2029]*$/u, "expected printable text without line breaks"),
  );
const index = z.number().check(z.int(), z.minimum(0));
const id = z.string().check(z.regex(/^[0-9a-f]{32}$/, "expected 32 lower-case hex digits"));

/** A document that is kept with the log: inline if it is small, else in `blobs/` under its digest. */
export const blobSchema = z.strictObject({
  sha256: sha256Schema,
  length: index,
  inline: z.optional(z.string().check(z.maxLength(24 * 1024))),
});
export type Blob = z.infer<typeof blobSchema>;

const head = { n: index, time: instantSchema, prev: sha256Schema };
const who = { user: lineSchema, session: id, address: lineSchema };
const what = {
  request: id,
  requestHash: sha256Schema,
  certificate: lineSchema,
  operation: lineSchema,
  file: lineSchema,
  digest: lineSchema,
  fileSha256: sha256Schema,
};

const schemas = {
  /** The service started, with this configuration. */
  start: z.strictObject({
    ...head,
    kind: z.literal("start"),
    signer: lineSchema,
    version: lineSchema,
    config: sha256Schema,
    dropped: index,
  }),
  stop: z.strictObject({ ...head, kind: z.literal("stop") }),
  /** The folder was made from a backup: from here on this log is another one than that of the original, should that still run. */
  restored: z.strictObject({
    ...head,
    kind: z.literal("restored"),
    /** The checkpoint that the backup ended with. */
    size: index,
    root: sha256Schema,
    made: instantSchema,
    /** SHA-256 of the backup's list of digests. */
    backup: sha256Schema,
  }),
  /** Another configuration came into force. */
  config: z.strictObject({ ...head, kind: z.literal("config"), config: sha256Schema, note: lineSchema }),
  /** What administrators with a second factor did, or failed to; `mac` proves that a process with the unlock secret wrote it (admins.ts). */
  admin: z.strictObject({
    ...head,
    kind: z.literal("admin"),
    action: z.enum(["added", "removed", "accepted", "refused"]),
    /** Whom it is about: who was added or removed, who accepted, who failed to; empty when nobody asked. */
    admin: lineSchema,
    /** Whose code it was; empty for the first administrator. */
    by: lineSchema,
    /** The configuration with its certificates, as one hash. */
    config: z.optional(sha256Schema),
    /** SHA-256 of the sealed one-time code secret. */
    totp: z.optional(sha256Schema),
    /** The step of the code: it is good once. */
    step: z.optional(index),
    reason: lineSchema,
    nonce: id,
    mac: sha256Schema,
  }),
  /** Somebody signed in, or failed to; `reason` is never shown outside. */
  session: z.strictObject({
    ...head,
    kind: z.literal("session"),
    ...who,
    spki: sha256Schema,
    /** SubjectPublicKeyInfo in base64: with it the signed requests below can be checked by anybody. */
    key: lineSchema,
    method: lineSchema,
    outcome: z.enum(["accepted", "refused"]),
    reason: lineSchema,
    /** What must never be accepted twice: a token's id, a one-time code's step. */
    used: z.optional(lineSchema),
  }),
  "session-end": z.strictObject({ ...head, kind: z.literal("session-end"), session: id, reason: lineSchema }),
  denied: z.strictObject({
    ...head,
    kind: z.literal("denied"),
    ...who,
    ...what,
    reasons: z.array(lineSchema),
    document: blobSchema,
  }),
  /** Waits for approvals. */
  pending: z.strictObject({
    ...head,
    kind: z.literal("pending"),
    ...who,
    ...what,
    rule: lineSchema,
    needed: index,
    release: z.optional(lineSchema),
    expires: instantSchema,
    document: blobSchema,
  }),
  approval: z.strictObject({
    ...head,
    kind: z.literal("approval"),
    ...who,
    subject: lineSchema,
    decision: z.enum(["approve", "reject"]),
    nonce: id,
    expires: instantSchema,
    document: blobSchema,
  }),
  /** Durable before the key is used. */
  intent: z.strictObject({
    ...head,
    kind: z.literal("intent"),
    ...who,
    ...what,
    attempt: index,
    rule: lineSchema,
    checks: z.array(lineSchema),
    approvals: z.array(lineSchema),
    /** `root:index` when the approvals were given for a release's file list. */
    release: z.optional(lineSchema),
    expires: instantSchema,
    document: blobSchema,
  }),
  /** Durable before the signature leaves. */
  result: z.strictObject({
    ...head,
    kind: z.literal("result"),
    intent: index,
    request: id,
    requestHash: sha256Schema,
    user: lineSchema,
    certificate: lineSchema,
    certificateSha256: z.optional(sha256Schema),
    operation: lineSchema,
    file: lineSchema,
    digest: lineSchema,
    fileSha256: sha256Schema,
    signatureSha256: sha256Schema,
    timestamp: z.optional(lineSchema),
    reply: blobSchema,
  }),
  failed: z.strictObject({
    ...head,
    kind: z.literal("failed"),
    intent: index,
    request: id,
    code: lineSchema,
    reason: lineSchema,
  }),
  /** The service stopped between intent and result; a signature may exist but was never released. */
  abandoned: z.strictObject({ ...head, kind: z.literal("abandoned"), intent: index, request: id }),
} as const;

const entrySchema = z.discriminatedUnion("kind", [
  schemas.start,
  schemas.stop,
  schemas.restored,
  schemas.admin,
  schemas.config,
  schemas.session,
  schemas["session-end"],
  schemas.denied,
  schemas.pending,
  schemas.approval,
  schemas.intent,
  schemas.result,
  schemas.failed,
  schemas.abandoned,
]);

export type AuditEntry = z.infer<typeof entrySchema>;
export type EntryKind = AuditEntry["kind"];
export type EntryOf<K extends EntryKind> = Extract<AuditEntry, { kind: K }>;
/** What a caller gives; the log adds number, time and predecessor. */
export type EntryBody = { [K in EntryKind]: Omit<EntryOf<K>, "n" | "time" | "prev"> }[EntryKind];

/** `prev` of the first entry. */
export const NO_ENTRY = "0".repeat(64);

export function encodeEntry(entry: AuditEntry): Uint8Array {
  return canonicalJson(entry as unknown as Json);
}

/** RFC 6962 2.1: the leaf hash, which is also what the next entry names as `prev`. */
export function leafOf(entry: Uint8Array): Uint8Array {
  return merkleLeaf(entry);
}

export function leafHex(entry: Uint8Array): string {
  return toHex(merkleLeaf(entry));
}

/** Strict: the closed schema, and the very bytes this program would write. Errors: `json/*`, `schema/invalid`. */
export function parseEntry(bytes: Uint8Array): AuditEntry {
  const entry = checkSchema(entrySchema, parseJson(bytes), "audit entry");
  if (!equalBytes(encodeEntry(entry), bytes)) {
    throw new SigningError("signing/log-damaged", "The audit entry is not in its one canonical spelling.", {
      entry: entry.n,
    });
  }
  return entry;
}

/** Text that came from outside, made fit for one line of the log. */
export function line(text: string): string {
  return text
    .toWellFormed()
    .replace(/[\p{Cc}\u2028\u2029]/gu, "\ufffd")
    .slice(0, 500)
    .toWellFormed();
}
