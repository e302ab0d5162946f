// A strict DER reader: a value is a range of the bytes it was read from, and whatever DER allows only one way is accepted only that way.

import { compareBytes, toHex } from "../core/bytes.ts";
import type { Instant } from "../core/instant.ts";
import { DerError } from "./errors.ts";
import * as tags from "./tags.ts";

/** Deeper than any certificate or signature seen in the field (nested signatures with timestamps reach 25). */
const MAX_DEPTH = 64;

/** One element. `source.subarray(start, end)` is all of it, `source.subarray(body, end)` its content. */
export type Der = {
  readonly source: Uint8Array;
  readonly tag: number;
  readonly start: number;
  readonly body: number;
  readonly end: number;
};

/**
 * Reads exactly one element that fills `bytes`, and checks the framing of everything in it: definite minimal lengths,
 * no byte left over at any level, single-byte tags, bounded depth. Content is checked where it is read.
 * Errors: `der/malformed`, `der/not-canonical`, `der/too-deep`. Source: X.690 sections 8.1 and 10.1.
 */
export function parseDer(bytes: Uint8Array): Der {
  const whole = headerAt(bytes, 0, bytes.length);
  if (whole.end !== bytes.length)
    throw malformed(`${bytes.length - whole.end} bytes follow the value`, whole.end);
  checkFraming(whole, 0);
  return whole;
}

/** Reads the first element of `bytes` and says by `end` where it stops; what follows is the caller's. Errors as `parseDer`. */
export function parseDerPrefix(bytes: Uint8Array): Der {
  const first = headerAt(bytes, 0, bytes.length);
  checkFraming(first, 0);
  return first;
}

/** The whole element, tag and length included; a view, not a copy. */
export function encoded(value: Der): Uint8Array {
  return value.source.subarray(value.start, value.end);
}

/** The content octets; a view, not a copy. */
export function content(value: Der): Uint8Array {
  return value.source.subarray(value.body, value.end);
}

/** Elements inside a constructed one. Errors: `der/unexpected` if it is primitive. */
export function children(value: Der): readonly Der[] {
  if ((value.tag & 0x20) === 0) throw unexpected(value, "a constructed value");
  const out: Der[] = [];
  for (let at = value.body; at < value.end;) {
    const child = headerAt(value.source, at, value.end);
    out.push(child);
    at = child.end;
  }
  return out;
}

/** Refuses any other tag. Errors: `der/unexpected`. */
export function expectTag(value: Der, tag: number): Der {
  if (value.tag !== tag) throw unexpected(value, tags.tagName(tag));
  return value;
}

/** The fields of a SEQUENCE or any other constructed element, taken in order. */
export class Fields {
  readonly #of: Der;
  #at: number;

  /** Errors: `der/unexpected` if `value` has another tag. */
  constructor(value: Der, tag: number = tags.SEQUENCE) {
    expectTag(value, tag);
    this.#of = value;
    this.#at = value.body;
  }

  get more(): boolean {
    return this.#at < this.#of.end;
  }

  /** The tag of the next field, or -1 at the end. */
  get nextTag(): number {
    return this.more ? this.#of.source[this.#at]! : -1;
  }

  /** The next field, of the tag if one is given. Errors: `der/unexpected`. */
  take(tag?: number): Der {
    if (!this.more)
      throw new DerError("der/unexpected", "A DER sequence ends before its last field.", { at: this.#at });
    const value = headerAt(this.#of.source, this.#at, this.#of.end);
    if (tag !== undefined) expectTag(value, tag);
    this.#at = value.end;
    return value;
  }

  /** The next field if it has the tag. */
  optional(tag: number): Der | null {
    return this.nextTag === tag ? this.take(tag) : null;
  }

  /** The one value inside `[n] EXPLICIT`, if the next field is that. */
  optionalExplicit(n: number): Der | null {
    const outer = this.optional(tags.contextOf(n));
    return outer === null ? null : only(outer);
  }

  /** Nothing may follow. Errors: `der/unexpected`. */
  done(): void {
    if (this.more)
      throw unexpected(headerAt(this.#of.source, this.#at, this.#of.end), "the end of the sequence");
  }
}

/** The single element inside. Errors: `der/unexpected` if there are none or several. */
export function only(value: Der): Der {
  const inside = children(value);
  if (inside.length !== 1)
    throw new DerError(
      "der/unexpected",
      `${tags.tagName(value.tag)} holds ${inside.length} values where one is due.`,
      { at: value.start },
    );
  return inside[0]!;
}

/** Elements of a SET OF. X.690 11.6: ascending order of their encodings. Errors: `der/not-canonical`. */
export function setOf(value: Der): readonly Der[] {
  const items = children(value);
  for (let i = 1; i < items.length; i++) {
    if (compareBytes(encoded(items[i - 1]!), encoded(items[i]!)) > 0)
      throw notCanonical("the members of a SET OF are not sorted", value.start);
  }
  return items;
}

/** X.690 11.1: 00 or FF only. */
export function readBoolean(value: Der): boolean {
  const bytes = content(expectTag(value, tags.BOOLEAN));
  if (bytes.length !== 1 || (bytes[0] !== 0 && bytes[0] !== 0xff))
    throw notCanonical("a BOOLEAN is neither 00 nor FF", value.start);
  return bytes[0] === 0xff;
}

/** X.690 8.3.2: the fewest octets that hold the number. Returns the content octets, two's complement. */
export function readIntegerBytes(value: Der, tag: number = tags.INTEGER): Uint8Array {
  const bytes = content(expectTag(value, tag));
  if (bytes.length === 0) throw malformed("an INTEGER is empty", value.start);
  const [first, second] = [bytes[0]!, bytes[1]];
  if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80)))
    throw notCanonical("an INTEGER has a superfluous leading octet", value.start);
  return bytes;
}

/** At most 48 bits, not negative. Errors: `der/unexpected`. */
export function readSmallInteger(value: Der, tag: number = tags.INTEGER): number {
  const bytes = readIntegerBytes(value, tag);
  if (bytes[0]! >= 0x80 || bytes.length > 6)
    throw new DerError("der/unexpected", "A DER INTEGER is negative or too large for its place.", {
      at: value.start,
    });
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0);
}

export function readOctets(value: Der): Uint8Array {
  return content(expectTag(value, tags.OCTET_STRING));
}

/** A BIT STRING of whole octets, without the octet that counts unused bits. Errors: `der/not-canonical`. */
export function readBitOctets(value: Der): Uint8Array {
  const { bits, unused } = readBits(value);
  if (unused !== 0) throw notCanonical("a BIT STRING of octets has unused bits", value.start);
  return bits;
}

/** X.690 8.6 and 11.2: unused bits are at most seven and zero. */
export function readBits(value: Der): { readonly bits: Uint8Array; readonly unused: number } {
  const bytes = content(expectTag(value, tags.BIT_STRING));
  const unused = bytes[0] ?? 8;
  if (unused > 7 || (bytes.length === 1 && unused !== 0))
    throw malformed("a BIT STRING counts its unused bits wrongly", value.start);
  if (unused > 0 && (bytes[bytes.length - 1]! & ((1 << unused) - 1)) !== 0)
    throw notCanonical("unused bits of a BIT STRING are set", value.start);
  return { bits: bytes.subarray(1), unused };
}

export function readNull(value: Der): null {
  if (content(expectTag(value, tags.NULL)).length !== 0) throw malformed("a NULL has content", value.start);
  return null;
}

/** Dotted decimal. X.690 8.19: minimal base-128 groups, the last one ended. */
export function readOid(value: Der): string {
  const bytes = content(expectTag(value, tags.OID));
  if (bytes.length === 0 || bytes.length > 64 || bytes[bytes.length - 1]! >= 0x80)
    throw malformed("an OBJECT IDENTIFIER is empty, too long or cut off", value.start);
  const arcs: (number | bigint)[] = [];
  for (let from = 0; from < bytes.length;) {
    if (bytes[from] === 0x80)
      throw notCanonical("an OBJECT IDENTIFIER has a superfluous leading group", value.start);
    let to = from;
    while (bytes[to]! >= 0x80) to++;
    const arc = readArc(bytes.subarray(from, to + 1), value);
    if (arcs.length === 0) {
      const first = Math.min(2, Math.floor(Number(arc) / 40));
      arcs.push(first, typeof arc === "number" ? arc - first * 40 : arc - BigInt(first * 40));
    } else arcs.push(arc);
    from = to + 1;
  }
  return arcs.join(".");
}

/** Six groups are 42 bits; nineteen are 133, enough for the 128-bit numbers under 2.25 (X.667). */
function readArc(groups: Uint8Array, value: Der): number | bigint {
  if (groups.length <= 6) return groups.reduce((sum, group) => sum * 128 + (group & 0x7f), 0);
  if (groups.length > 19)
    throw new DerError("der/unexpected", "An OBJECT IDENTIFIER has an arc beyond 133 bits.", {
      at: value.start,
    });
  return groups.reduce((sum, group) => sum * 128n + BigInt(group & 0x7f), 0n);
}

const UTC = /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;
const GENERALIZED = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\.\d{0,8}[1-9])?Z$/;

/** UTCTime or GeneralizedTime. RFC 5280 4.1.2.5: seconds present, Zulu, two-digit years from 1950 to 2049. X.690 11.7: no trailing zeros in a fraction. */
export function readTime(value: Der): Instant {
  const text = latin(content(value));
  const utc = value.tag === tags.UTC_TIME ? UTC.exec(text) : null;
  const match = utc ?? (value.tag === tags.GENERALIZED_TIME ? GENERALIZED.exec(text) : null);
  if (match === null)
    throw new DerError("der/unexpected", `"${text.slice(0, 30)}" is not a DER time in UTC with seconds.`, {
      at: value.start,
    });
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const full = utc === null ? year : year < 50 ? 2000 + year : 1900 + year;
  const ms = Date.UTC(full, month - 1, day, hour, minute, second);
  const back = new Date(ms);
  if (
    full < 1900 ||
    back.getUTCMonth() !== month - 1 ||
    back.getUTCDate() !== day ||
    hour > 23 ||
    minute > 59 ||
    second > 59
  ) {
    throw new DerError("der/unexpected", `"${text}" is a time that does not exist.`, { at: value.start });
  }
  return ms + (match[7] === undefined ? 0 : Math.floor(Number(match[7]) * 1000));
}

/** Any of the string types of names. Errors: `der/unexpected`, `der/malformed`. */
export function readString(value: Der): string {
  const bytes = content(value);
  switch (value.tag) {
    case tags.UTF8_STRING:
      try {
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
      } catch (cause) {
        throw new DerError("der/malformed", "A UTF8String is not UTF-8.", { at: value.start }, { cause });
      }
    case tags.PRINTABLE_STRING:
    case tags.IA5_STRING:
    case tags.TELETEX_STRING:
      return latin(bytes);
    case tags.BMP_STRING:
      return readUtf16(bytes, value.start);
    default:
      throw unexpected(value, "a text");
  }
}

/** UTF-16, big end first, as BMPString and the strings of Authenticode have it. */
export function readUtf16(bytes: Uint8Array, at = 0): string {
  if (bytes.length % 2 !== 0) throw malformed("a UTF-16 text has an odd number of octets", at);
  return Buffer.from(bytes).swap16().toString("utf16le");
}

export function unexpected(value: Der, wanted: string): DerError {
  return new DerError("der/unexpected", `The DER has ${tags.tagName(value.tag)} where ${wanted} is due.`, {
    at: value.start,
    tag: toHex(Uint8Array.of(value.tag)),
  });
}

function latin(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}

/** Reads tag and length at `at`, all of it within `limit`. */
function headerAt(source: Uint8Array, at: number, limit: number): Der {
  if (at + 2 > limit) throw malformed("a value is cut off", at);
  const tag = source[at]!;
  if ((tag & 0x1f) === 0x1f)
    throw new DerError("der/unexpected", "The DER has a tag number above 30, which nothing here uses.", {
      at,
    });
  if (tag === 0)
    throw new DerError(
      "der/not-canonical",
      "The DER has an end-of-contents mark, which belongs to indefinite lengths.",
      { at },
    );
  let length = source[at + 1]!;
  let body = at + 2;
  if (length >= 0x80) {
    const count = length & 0x7f;
    // X.690 10.1: the definite form, with the fewest octets.
    if (count === 0) throw notCanonical("a length is indefinite", at);
    if (count > 4 || body + count > limit) throw malformed("a length is longer than the data", at);
    length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + source[body + i]!;
    if (length < 0x80 || (count > 1 && length < 2 ** (8 * (count - 1))))
      throw notCanonical("a length is written with superfluous octets", at);
    body += count;
  }
  if (length > limit - body) throw malformed("a value reaches beyond what holds it", at);
  return { source, tag, start: at, body, end: body + length };
}

function checkFraming(value: Der, depth: number): void {
  if ((value.tag & 0x20) === 0) {
    if (value.tag === 0x10 || value.tag === 0x11)
      throw malformed("a SEQUENCE or SET is marked primitive", value.start);
    return;
  }
  // X.690 10.2: string types are never constructed.
  if ((value.tag & 0xc0) === 0 && value.tag !== tags.SEQUENCE && value.tag !== tags.SET)
    throw notCanonical("a simple type is marked constructed", value.start);
  if (depth >= MAX_DEPTH)
    throw new DerError("der/too-deep", `The DER is nested deeper than ${MAX_DEPTH} levels.`, {
      at: value.start,
    });
  for (let at = value.body; at < value.end;) {
    const child = headerAt(value.source, at, value.end);
    checkFraming(child, depth + 1);
    at = child.end;
  }
}

function malformed(what: string, at: number): DerError {
  return new DerError("der/malformed", `The DER is malformed: ${what}.`, { at });
}

function notCanonical(what: string, at: number): DerError {
  return new DerError("der/not-canonical", `The bytes are not DER: ${what}.`, { at });
}
