// Distinguished names: read, written, shown, compared by their bytes.

import { equalBytes } from "../core/bytes.ts";
import {
  children,
  encoded,
  expectTag,
  Fields,
  parseDer,
  readOid,
  readString,
  setOf as readSetOf,
  type Der,
} from "./reader.ts";
import { DerError } from "./errors.ts";
import { SEQUENCE, SET } from "./tags.ts";
import { ia5, oid, printable, sequence, setOf, utf8 } from "./writer.ts";

/** Attribute types by the short names of RFC 4514 section 3 and X.520. */
const TYPES: { readonly [short: string]: string } = {
  CN: "2.5.4.3",
  SN: "2.5.4.4",
  serialNumber: "2.5.4.5",
  C: "2.5.4.6",
  L: "2.5.4.7",
  ST: "2.5.4.8",
  street: "2.5.4.9",
  O: "2.5.4.10",
  OU: "2.5.4.11",
  T: "2.5.4.12",
  businessCategory: "2.5.4.15",
  postalCode: "2.5.4.17",
  GN: "2.5.4.42",
  organizationIdentifier: "2.5.4.97",
  UID: "0.9.2342.19200300.100.1.1",
  DC: "0.9.2342.19200300.100.1.25",
  emailAddress: "1.2.840.113549.1.9.1",
  jurisdictionL: "1.3.6.1.4.1.311.60.2.1.1",
  jurisdictionST: "1.3.6.1.4.1.311.60.2.1.2",
  jurisdictionC: "1.3.6.1.4.1.311.60.2.1.3",
};
const SHORT = new Map(Object.entries(TYPES).map(([short, dotted]) => [dotted, short]));

export type NameAttribute = {
  /** Short name such as `CN`, or dotted decimal. */
  readonly type: string;
  readonly value: string;
};

/** A distinguished name. Two names are the same if their `der` is the same; spellings are never folded. */
export type Name = {
  readonly der: Uint8Array;
  /** In the order of the encoding, most significant first. */
  readonly attributes: readonly NameAttribute[];
};

/** Errors: those of the reader. A value of an unusual string type is shown as `#hex`. */
export function readName(value: Der): Name {
  const attributes: NameAttribute[] = [];
  for (const rdn of children(expectTag(value, SEQUENCE))) {
    for (const pair of readSetOf(expectTag(rdn, SET))) {
      const fields = new Fields(pair);
      const dotted = readOid(fields.take());
      const text = fields.take();
      fields.done();
      attributes.push({ type: SHORT.get(dotted) ?? dotted, value: textOf(text) });
    }
  }
  return { der: encoded(value), attributes };
}

export function parseName(der: Uint8Array): Name {
  return readName(parseDer(der));
}

/**
 * Builds a name from `[type, value]` pairs, most significant first, each its own RDN. Types are short names or dotted decimal.
 * RFC 5280 4.1.2.4: UTF8String, but PrintableString for C and serialNumber, IA5String for DC and emailAddress. Errors: `der/bad-value`.
 */
export function buildName(pairs: readonly (readonly [type: string, value: string])[]): Name {
  const der = sequence(
    ...pairs.map(([type, value]) => {
      if (value.length === 0 || value.length > 256)
        throw new DerError(
          "der/bad-value",
          `The value of ${type} in a name has to have 1 to 256 characters.`,
          { type },
        );
      return setOf(sequence(oid(TYPES[type] ?? type), stringOf(type, value)));
    }),
  );
  return parseName(der);
}

/** A name of one CN. */
export function commonName(value: string): Name {
  return buildName([["CN", value]]);
}

export function sameName(a: Name, b: Name): boolean {
  return equalBytes(a.der, b.der);
}

/** The first value of a type, or null. */
export function nameValue(name: Name, type: string): string | null {
  return name.attributes.find((attribute) => attribute.type === type)?.value ?? null;
}

/** For people: `CN=Example, O=Example Inc, C=US`, least significant first as RFC 4514 has it, with its escapes. */
export function formatName(name: Name): string {
  return name.attributes
    .toReversed()
    .map(({ type, value }) => `${type}=${escape(value)}`)
    .join(", ");
}

/** RFC 4514 2.4, and control or direction characters as \uXXXX: they must not reach a terminal. */
function escape(value: string): string {
  return value
    .replace(/[,+"\\<>;=]|^[ #]/g, "\\$&")
    .replace(/[\p{Cc}\p{Cf}]/gu, (c) => `\\u${c.codePointAt(0)!.toString(16).padStart(4, "0")}`);
}

function stringOf(type: string, value: string): Uint8Array {
  if (type === "C" || type === "serialNumber" || type === "jurisdictionC") return printable(value);
  if (type === "DC" || type === "emailAddress") return ia5(value);
  return utf8(value);
}

function textOf(value: Der): string {
  try {
    return readString(value);
  } catch (error) {
    if (error instanceof DerError && error.code === "der/unexpected")
      return `#${Buffer.from(encoded(value)).toString("hex")}`;
    throw error;
  }
}
