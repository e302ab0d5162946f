// Room to grow: what a reader does with what it does not know, stated once for every document and message (spec/growth.md).

import { TRANSIENT, UpkeepError, type Traits } from "./errors.ts";
import { FEATURES, KNOWN_FEATURES, type Feature } from "./features.ts";
import { isJsonObject, type Json, type JsonObject } from "./json.ts";
import { compareVersions, parseVersion } from "./version.ts";
import { checkSchema, SchemaError, versionSchema, z, type Schema } from "./schema.ts";

export type GrowthErrorCode = "growth/needs-newer";
export const GROWTH_ERRORS = {
  "growth/needs-newer": {
    ...TRANSIENT,
    hint: "Install the version of Upkeep that it names; until then nothing of this document is done.",
  },
} satisfies Traits<GrowthErrorCode>;

/** The document is signed and well formed, and made for a later program: the same bytes may be acted on after an upgrade. */
export class GrowthError extends UpkeepError<GrowthErrorCode> {
  protected override get traits(): Traits<GrowthErrorCode> {
    return GROWTH_ERRORS;
  }
}

/** Feature words in one list, of a speaker or of a document's needs. */
export const MAX_FEATURES = 64;
const wordSchema = z
  .string()
  .check(z.regex(/^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/, "expected a feature word such as follow-until"));
const wordsSchema = z.array(wordSchema).check(
  z.maxLength(MAX_FEATURES),
  z.refine((words) => new Set(words).size === words.length, "a word appears twice"),
);

type Shape = Readonly<Record<string, z.ZodMiniType>>;

/** An object that may have further members: a reader carries them and does nothing with them. Its type names the known ones only. */
export function growing<S extends Shape>(shape: S): z.ZodMiniObject<S, z.core.$strict> {
  return z.looseObject(shape) as unknown as z.ZodMiniObject<S, z.core.$strict>;
}

/** What a reader has to know to act on a document. Closed for ever: it is read before anything else is. */
const needsSchema = z.strictObject({
  features: wordsSchema.check(z.minLength(1)),
  /** The first version of Upkeep that knows all of them. */
  version: versionSchema,
});
export type Needs = z.infer<typeof needsSchema>;

/** What a document with these features needs, beside what it needs already: the words, and the first version that knows all of them. */
export function needsOf(features: readonly [Feature, ...Feature[]], also?: Needs): Needs {
  const versions = features.map((word) => parseVersion(FEATURES[word]));
  if (also !== undefined) versions.push(parseVersion(also.version));
  const version = versions.reduce((most, next) => (compareVersions(next, most) > 0 ? next : most));
  return { features: [...new Set([...(also?.features ?? []), ...features])], version: version.text };
}

/** The members that each growing document and message has beside its own. */
export const needing = { needs: z.exactOptional(needsSchema) };

/** Who speaks: for people, and for choosing the form of an optional member; never a reason to withhold an update. */
export const programSchema = growing({ version: versionSchema, features: wordsSchema });
export type Program = Readonly<z.infer<typeof programSchema>>;

/** True if the other side said that it knows the word. */
export function knows(program: Program | undefined, word: Feature): boolean {
  return program?.features.includes(word) === true;
}

/**
 * The one way to read a growing document, after its signature was verified: first what it needs, then its members.
 * Errors: `growth/needs-newer`, `schema/invalid`.
 */
export function readGrowing<T>(
  schema: Schema<T>,
  value: Json,
  what: string,
  known: readonly string[] = KNOWN_FEATURES,
): T {
  refuseUnknownNeeds(value, what, known);
  return checkSchema(schema, value, what);
}

/**
 * What this program writes is strict: a member that it does not know is refused, but for those of the document that `from` was read as.
 * Error: `schema/invalid`.
 */
export function checkWritten<T>(schema: Schema<T>, value: T, what: string, from: T | null = null): T {
  const written = checkSchema(schema, value as Json, what);
  const keyOf = ([place, member]: Placed): string => `${place} ${JSON.stringify(member)}`;
  const carried = new Set(from === null ? [] : unknownMembers(schema, from as Json).map(keyOf));
  for (const [place, member] of unknownMembers(schema, written as Json)) {
    if (carried.has(keyOf([place, member]))) continue;
    const field = `${place}: not a member that this program writes`;
    throw new SchemaError(
      "schema/invalid",
      `The ${what} is not valid: ${field}.`,
      { what, fields: [field] },
      [{ path: place.split("."), what: field }],
    );
  }
  return written;
}

function refuseUnknownNeeds(value: Json, what: string, known: readonly string[]): void {
  if (!isJsonObject(value) || value["needs"] === undefined) return;
  const needs = checkSchema(needsSchema, value["needs"], `list of what the ${what} needs`);
  const unknown = needs.features.filter((word) => !known.includes(word));
  if (unknown.length === 0) return;
  throw new GrowthError(
    "growth/needs-newer",
    `The ${what} needs what this version of Upkeep does not know (${unknown.join(", ")}): it is for version ${needs.version} or later.`,
    { what, unknown, version: needs.version },
  );
}

type Placed = readonly [place: string, member: Json];

/**
 * The members that the schema does not name, each by its place. Entries of a list have one place together, because lists are sorted,
 * cut and added to between reading and writing. The schema has checked the value: where it is closed there is no such member.
 */
function unknownMembers(schema: Schema<unknown>, value: Json, place = ""): readonly Placed[] {
  const def = schema._zod.def as unknown as Definition;
  if (Array.isArray(value) && def.element !== undefined) {
    const { element } = def;
    return value.flatMap((item: Json) => unknownMembers(element, item, `${place}*.`));
  }
  if (def.innerType !== undefined) return unknownMembers(def.innerType, value, place);
  if (def.options !== undefined) {
    const option = def.options.find((one) => one.safeParse(value).success);
    return option === undefined ? [] : unknownMembers(option, value, place);
  }
  if (!isJsonObject(value) || def.shape === undefined) return [];
  const { shape } = def;
  return Object.entries(value as JsonObject).flatMap(([name, member]): readonly Placed[] => {
    const inner = Object.hasOwn(shape, name) ? shape[name] : undefined;
    return inner === undefined
      ? [[`${place}${name}`, member]]
      : unknownMembers(inner, member, `${place}${name}.`);
  });
}

/** What a schema is made of, of the kinds that our documents have. */
type Definition = {
  readonly shape?: Readonly<Record<string, Schema<unknown>>>;
  readonly element?: Schema<unknown>;
  readonly innerType?: Schema<unknown>;
  readonly options?: readonly Schema<unknown>[];
};
