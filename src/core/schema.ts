// Closed schemas at the door: bytes become a value of a known type, or one error that names every bad field.

import * as z from "zod/mini";
import { REFUSED, UpkeepError, type Facts, type Traits } from "./errors.ts";
import { isVersion } from "./version.ts";
import { parseInstant } from "./instant.ts";
import type { Json } from "./json.ts";

/** A bad field: where it stands (a name that is not known is a place of its own), and `path: what is wrong` for people. */
export type SchemaFault = { readonly path: readonly string[]; readonly what: string };

export type SchemaErrorCode = "schema/invalid";
export const SCHEMA_ERRORS = {
  "schema/invalid": REFUSED,
} satisfies Traits<SchemaErrorCode>;

/** `facts.fields` lists `path: what is wrong` for every bad field. */
export class SchemaError extends UpkeepError<SchemaErrorCode> {
  readonly faults: readonly SchemaFault[];

  constructor(
    code: SchemaErrorCode,
    message: string,
    facts: Facts = {},
    faults: readonly SchemaFault[] = [],
  ) {
    super(code, message, facts);
    this.faults = faults;
  }

  protected override get traits(): Traits<SchemaErrorCode> {
    return SCHEMA_ERRORS;
  }
}

export type Schema<T> = z.ZodMiniType<T>;

/** Checks a parsed value. `what` names it in the sentence, for example "release manifest". Throws `schema/invalid`. */
export function checkSchema<T>(schema: Schema<T>, value: Json | undefined, what: string): T {
  const result = z.safeParse(schema, value);
  if (result.success) return result.data;
  const faults = result.error.issues.slice(0, 20).map((issue): SchemaFault => {
    const path = issue.path.map(String);
    const unknown = issue.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [];
    const place = path.length === 0 ? "(whole)" : path.join(".");
    return { path: [...path, ...unknown], what: `${place}: ${issue.message}` };
  });
  const fields = faults.map((fault) => fault.what);
  const sentence = `The ${what} is not valid: ${fields.join("; ")}.`;
  throw new SchemaError("schema/invalid", sentence, { what, fields }, faults);
}

// zod/mini ships no sentences of its own until a locale is set.
z.config(z.locales.en());

/** Lower-case hex SHA-256. */
export const sha256Schema = z.string().check(z.regex(/^[0-9a-f]{64}$/, "expected 64 lower-case hex digits"));
/** Lower-case hex SHA-512. */
export const sha512Schema = z
  .string()
  .check(z.regex(/^[0-9a-f]{128}$/, "expected 128 lower-case hex digits"));
/** A SemVer 2.0.0 version. */
export const versionSchema = z.string().check(z.refine(isVersion, "expected a SemVer version such as 1.4.0"));
/** An instant in its one spelling. */
export const instantSchema = z.string().check(
  z.refine((text) => {
    try {
      parseInstant(text);
      return true;
    } catch {
      return false;
    }
  }, "expected a UTC time such as 2026-11-21T04:00:00Z"),
);
/** Names of products, channels, groups: lower-case, digits, dots and dashes, at most 64, starting and ending with a letter or digit. */
export const nameSchema = z.string().check(
  z.regex(
    /^[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?$/,
    "expected lower-case letters, digits, dots and dashes, at most 64",
  ),
  z.refine((text) => !text.includes(".."), "two dots in a row are not allowed"),
);
/** A file's length in bytes. */
export const lengthSchema = z.number().check(z.int(), z.minimum(0), z.maximum(Number.MAX_SAFE_INTEGER));
export { z };
