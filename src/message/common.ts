// The vocabulary that several messages share: device ids, nonces, bounded texts, and the one way to read a message.

import { MessageError } from "./errors.ts";
import { growing, readGrowing } from "../core/growth.ts";
import { parseJson } from "../core/json.ts";
import { checkSchema, nameSchema, versionSchema, z, type Schema } from "../core/schema.ts";

/** A device id: a lower-case UUID that the server chose. */
export const deviceIdSchema = z
  .string()
  .check(
    z.regex(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/, "expected a lower-case UUID"),
  );

/** 32 unpredictable bytes in unpadded base64url; 43 characters, the last of which has two zero bits. */
export const nonceSchema = z
  .string()
  .check(z.regex(/^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$/, "expected 32 bytes in base64url"));

/** An Ed25519 public key as 64 lower-case hex digits, as TUF writes it. */
export const ed25519Schema = z.string().check(z.regex(/^[0-9a-f]{64}$/, "expected 64 lower-case hex digits"));

/** Canonical base64 (RFC 4648 section 4) of 1 to `limit` bytes. */
export function base64Schema(limit: number): z.ZodMiniString {
  return z.string().check(
    z.maxLength(Math.ceil(limit / 3) * 4),
    z.regex(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)?$/, "expected base64"),
    z.refine(
      (text) => text !== "" && Buffer.from(text, "base64").toString("base64") === text,
      "expected canonical base64",
    ),
  );
}

/** Text for people: at most `limit` characters, no control characters but line feed and tab, no invisible direction marks. */
export function textSchema(limit: number): z.ZodMiniString {
  return z.string().check(
    z.maxLength(limit),
    z.refine(
      // eslint-disable-next-line no-control-regex -- control characters are what is looked for
      (text) => !/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(text),
      "control characters are not allowed",
    ),
  );
}

/** One line of text for people, such as a name. */
export function lineSchema(limit: number): z.ZodMiniString {
  return textSchema(limit).check(z.refine((text) => !/[\n\t]/.test(text), "expected one line"));
}

/** A code such as `slot/disk-full`. */
export const codeSchema = z
  .string()
  .check(z.regex(/^[a-z0-9-]{1,40}\/[a-z0-9-]{1,60}$/, "expected a code such as slot/disk-full"));

/** One component as a device tells it. */
export const runningSchema = growing({
  product: nameSchema,
  /** What runs now; null while nothing is installed. */
  version: z.nullable(versionSchema),
  /** The attempt that has not ended, and the step that it reached. */
  trying: z.exactOptional(
    z.strictObject({
      version: versionSchema,
      step: z.string().check(z.regex(/^[a-z][a-z-]{0,39}$/, "expected a step such as probation")),
    }),
  ),
});
export type Running = z.infer<typeof runningSchema>;

/** The kind of machine, in the words of the release manifest. */
export const platformSchema = z.strictObject({
  os: z.enum(["linux", "windows", "darwin"]),
  arch: z.enum(["x64", "arm64"]),
  libc: z.exactOptional(z.enum(["glibc", "musl"])),
});
export type PlatformFacts = z.infer<typeof platformSchema>;

/**
 * Reads a message that can say one thing only, such as a wake-up: size, strict JSON, closed schema.
 * Errors: `message/too-large`, `json/*`, `bytes/bad-utf8`, `schema/invalid`.
 */
export function readMessage<T>(bytes: Uint8Array, schema: Schema<T>, what: string, limit: number): T {
  refuseLarge(bytes, what, limit);
  return checkSchema(schema, parseJson(bytes), what);
}

/** Reads a message that grows (spec/growth.md). Errors: those of `readMessage`, `growth/needs-newer`. */
export function readGrowingMessage<T>(
  bytes: Uint8Array,
  schema: Schema<T>,
  what: string,
  limit: number,
  known?: readonly string[],
): T {
  refuseLarge(bytes, what, limit);
  return readGrowing(schema, parseJson(bytes), what, known);
}

function refuseLarge(bytes: Uint8Array, what: string, limit: number): void {
  if (bytes.length <= limit) return;
  throw new MessageError("message/too-large", `The ${what} is larger than the allowed ${limit} bytes.`, {
    limit,
    length: bytes.length,
  });
}

/** Names that occur twice in a list that must not repeat them. */
export function repeated(names: readonly string[]): readonly string[] {
  const seen = new Set<string>();
  return names.filter((name) => seen.has(name) || (seen.add(name), false));
}
