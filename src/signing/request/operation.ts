// What is asked to be signed: the operation of a request under a closed schema, and what follows from it alone.

import { fromBase64 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { lengthSchema, nameSchema, sha256Schema, z } from "../../core/schema.ts";
import { CTL_OID } from "../../artifact/cat/catalog.ts";
import { SCHEMES, type Scheme } from "../../keys/scheme.ts";
import { lineSchema } from "../audit/entry.ts";

/** Page hashes of the largest PE file, over pages of 4 KiB, have about as much. */
export const MAX_TABLE = 24 * 1024 * 1024;
export const idSchema = z.string().check(z.regex(/^[0-9a-f]{32}$/, "expected 32 lower-case hex digits"));
const hex = z.string().check(z.regex(/^(?:[0-9a-f]{2}){20,64}$/, "expected a digest in lower-case hex"));
const base64 = z.string().check(
  z.refine((text) => {
    try {
      fromBase64(text);
      return true;
    } catch {
      return false;
    }
  }, "expected canonical base64"),
);
export const digestAlgorithmSchema = z.enum(["sha256", "sha384", "sha512"]);
const digestMembers = { algorithm: digestAlgorithmSchema, digest: hex, timestamp: z.boolean() };

/** Identity of a program as the ELF manifest carries it. */
const elfManifestSchema = z.strictObject({
  product: nameSchema,
  version: z.string().check(z.maxLength(128)),
  release: lengthSchema,
  os: z.string().check(z.maxLength(32)),
  arch: z.string().check(z.maxLength(32)),
  channel: z.optional(nameSchema),
  buildId: z.optional(z.string().check(z.regex(/^[0-9a-f]{8,128}$/))),
  length: lengthSchema,
  merkleRoot: sha256Schema,
});

const pageHash = z.enum(["sha1", "sha256"]);
/** A table of page hashes within the request. */
const pageTableSchema = z.strictObject({ algorithm: pageHash, table: base64 });
/** A table that is too large for that: it follows in parts, once the request is allowed (see tables.ts). */
const pageReferenceSchema = z.strictObject({
  algorithm: pageHash,
  sha256: sha256Schema,
  length: z.int().check(z.minimum(1), z.maximum(MAX_TABLE)),
});

export const operationSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("authenticode"),
    format: z.enum(["pe", "msi", "cab", "cat", "powershell"]),
    ...digestMembers,
    pageHashes: z.optional(z.union([pageTableSchema, pageReferenceSchema])),
    description: z.optional(lineSchema),
    url: z.optional(lineSchema),
    /** Number of a signature that is added to another one. */
    sequence: z.optional(z.int().check(z.minimum(1), z.maximum(16))),
    /** SpcIndirectDataContent for formats other than PE; read and compared by the signer. */
    indirectData: z.optional(base64),
    /** A catalog: its own list (szOID_CTL) is what is signed, and `digest` is over the list's content octets. */
    contentType: z.optional(z.literal(CTL_OID)),
    /** The catalog's list, DER, so that the signer sees what it lists (catalog-list.ts); a long one stays with the client. */
    list: z.optional(base64),
  }),
  z.strictObject({ kind: z.literal("elf"), ...digestMembers, manifest: elfManifestSchema }),
  z.strictObject({ kind: z.literal("cms"), ...digestMembers }),
  z.strictObject({
    kind: z.literal("raw"),
    scheme: z.enum(Object.keys(SCHEMES) as [Scheme, ...Scheme[]]),
    message: base64,
    /** What the bytes are, for policy and log, for example `tuf/targets`. */
    purpose: lineSchema,
  }),
]);
export type Operation = z.infer<typeof operationSchema>;
export type OperationKind = Operation["kind"];

export type PageReference = z.infer<typeof pageReferenceSchema>;

/** What is signed, as one word for logs and receipts: `sha256:<hex>`. */
export function digestWord(operation: Operation): string {
  return operation.kind === "raw"
    ? `sha256:${sha256Hex(fromBase64(operation.message))}`
    : `${operation.algorithm}:${operation.digest}`;
}

/** The table of page hashes that a request only names; null if it names none. */
export function tableReference(operation: Operation): PageReference | null {
  if (operation.kind !== "authenticode" || operation.pageHashes === undefined) return null;
  return "sha256" in operation.pageHashes ? operation.pageHashes : null;
}

/** Whether the reply comes without its content, because only a digest of it travelled. */
export function staysHere(operation: Operation): boolean {
  return (
    operation.kind === "authenticode" &&
    (operation.contentType !== undefined || tableReference(operation) !== null)
  );
}
