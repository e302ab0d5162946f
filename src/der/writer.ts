// A DER writer: small functions that each return one encoded element; sets sort themselves.

import { compareBytes, concat, toUtf8 } from "../core/bytes.ts";
import type { Instant } from "../core/instant.ts";
import { DerError } from "./errors.ts";
import * as tags from "./tags.ts";

/** One element of any tag around `parts`. */
export function element(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  return concat([header(tag, length), ...parts]);
}

export function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return element(tags.SEQUENCE, ...parts);
}

/** X.690 11.6: members in ascending order of their encodings, whatever order they are given in. */
export function setOf(...members: readonly Uint8Array[]): Uint8Array {
  return element(tags.SET, ...members.toSorted(compareBytes));
}

/** `[n] EXPLICIT`. */
export function explicit(n: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return element(tags.contextOf(n), ...parts);
}

/** `[n] IMPLICIT` of an encoded element: its tag is replaced, its constructed bit stays. */
export function implicit(n: number, value: Uint8Array): Uint8Array {
  const out = value.slice();
  out[0] = 0x80 | (value[0]! & 0x20) | n;
  return out;
}

export function boolean(value: boolean): Uint8Array {
  return Uint8Array.of(tags.BOOLEAN, 1, value ? 0xff : 0);
}

/** Two's complement content octets as they are; the caller keeps them minimal, as `readIntegerBytes` returns them. */
export function integerBytes(bytes: Uint8Array): Uint8Array {
  return element(tags.INTEGER, bytes);
}

/** Not negative. */
export function integer(value: number | bigint): Uint8Array {
  if (value < 0) throw new DerError("der/bad-value", "A negative INTEGER is never written here.", {});
  const hex = value.toString(16);
  return unsigned(new Uint8Array(Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, "hex")));
}

/** A big-endian magnitude as INTEGER: leading zeros dropped, one added where the top bit is set. */
export function unsigned(magnitude: Uint8Array): Uint8Array {
  let from = 0;
  while (from < magnitude.length - 1 && magnitude[from] === 0) from++;
  const bytes = magnitude.length === 0 ? Uint8Array.of(0) : magnitude.subarray(from);
  return bytes[0]! >= 0x80 ? element(tags.INTEGER, Uint8Array.of(0), bytes) : element(tags.INTEGER, bytes);
}

export function enumerated(value: number): Uint8Array {
  return element(tags.ENUMERATED, Uint8Array.of(value));
}

export function octets(bytes: Uint8Array): Uint8Array {
  return element(tags.OCTET_STRING, bytes);
}

/** A BIT STRING of whole octets. */
export function bitOctets(bytes: Uint8Array): Uint8Array {
  return element(tags.BIT_STRING, Uint8Array.of(0), bytes);
}

/** X.690 11.2.2: a list of named bits, trailing zero bits dropped. */
export function namedBits(set: readonly number[]): Uint8Array {
  if (set.length === 0) return element(tags.BIT_STRING, Uint8Array.of(0));
  const top = Math.max(...set);
  const bytes = new Uint8Array(Math.floor(top / 8) + 1);
  for (const bit of set) bytes[bit >> 3]! |= 0x80 >> (bit & 7);
  return element(tags.BIT_STRING, Uint8Array.of(7 - (top & 7)), bytes);
}

export function nul(): Uint8Array {
  return Uint8Array.of(tags.NULL, 0);
}

const OIDS = new Map<string, Uint8Array>();

/** From dotted decimal. Errors: `der/bad-value`. */
export function oid(dotted: string): Uint8Array {
  const known = OIDS.get(dotted);
  if (known !== undefined) return known;
  const arcs = /^[0-2](\.(0|[1-9]\d{0,38}))+$/.test(dotted) ? dotted.split(".").map(BigInt) : [];
  const [first, second, ...rest] = arcs;
  if (first === undefined || second === undefined || (first < 2n && second > 39n)) {
    throw new DerError("der/bad-value", `"${dotted.slice(0, 60)}" is not an object identifier.`, {
      text: dotted.slice(0, 60),
    });
  }
  const bytes: number[] = [];
  for (const arc of [first * 40n + second, ...rest]) {
    const groups = [Number(arc % 128n)];
    for (let left = arc / 128n; left > 0n; left /= 128n) groups.unshift(Number(left % 128n) | 0x80);
    bytes.push(...groups);
  }
  const out = element(tags.OID, Uint8Array.from(bytes));
  // Only a handful of identifiers are ever written; a caller that writes made-up ones must not grow the table for ever.
  if (OIDS.size < 256) OIDS.set(dotted, out);
  return out;
}

export function utf8(text: string): Uint8Array {
  return element(tags.UTF8_STRING, toUtf8(text));
}

/** Errors: `der/bad-value` for a character outside X.680's PrintableString. */
export function printable(text: string): Uint8Array {
  if (!/^[A-Za-z0-9 '()+,\-./:=?]*$/.test(text))
    throw new DerError("der/bad-value", "The text does not fit a PrintableString.", {
      text: text.slice(0, 60),
    });
  return element(tags.PRINTABLE_STRING, toUtf8(text));
}

/** Errors: `der/bad-value` for a character outside ASCII. */
export function ia5(text: string): Uint8Array {
  if (!/^\p{ASCII}*$/u.test(text))
    throw new DerError("der/bad-value", "The text does not fit an IA5String.", { text: text.slice(0, 60) });
  return element(tags.IA5_STRING, toUtf8(text));
}

/** UTF-16, big end first, without a tag. */
export function utf16(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "utf16le").swap16());
}

/** RFC 5280 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 on; fractions of a second dropped. */
export function time(instant: Instant): Uint8Array {
  const year = new Date(instant).getUTCFullYear();
  return year >= 1950 && year < 2050
    ? element(tags.UTC_TIME, toUtf8(digits(instant).slice(2)))
    : generalizedTime(instant);
}

export function generalizedTime(instant: Instant): Uint8Array {
  return element(tags.GENERALIZED_TIME, toUtf8(digits(instant)));
}

function digits(instant: Instant): string {
  const year = new Date(instant).getUTCFullYear();
  if (!(year >= 1 && year <= 9999))
    throw new DerError("der/bad-value", "The instant is outside the years that DER can write.", { year });
  return `${new Date(instant)
    .toISOString()
    .replace(/\.\d+Z$/, "")
    .replace(/[-T:]/g, "")}Z`;
}

/** Tag and length of an element whose content is written by the caller. */
export function header(tag: number, length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(tag, length);
  const bytes: number[] = [];
  for (let left = length; left > 0; left = Math.floor(left / 256)) bytes.unshift(left % 256);
  return Uint8Array.of(tag, 0x80 | bytes.length, ...bytes);
}
