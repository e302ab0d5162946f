// Strict JSON (RFC 8259 narrowed): one value, no duplicate members, safe integers only, bounded depth, no BOM, no trailing bytes.

import { fromUtf8 } from "./bytes.ts";
import { REFUSED, UpkeepError, type Traits } from "./errors.ts";

export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
/** Without inherited members, so that `constructor` and `__proto__` are names like any other. */
export type JsonObject = { readonly [name: string]: Json };

export type JsonErrorCode =
  | "json/syntax"
  | "json/duplicate-member"
  | "json/unsafe-number"
  | "json/too-deep"
  | "json/bad-text"
  | "json/trailing-bytes";
export const JSON_ERRORS = {
  "json/syntax": REFUSED,
  "json/duplicate-member": REFUSED,
  "json/unsafe-number": REFUSED,
  "json/too-deep": REFUSED,
  "json/bad-text": REFUSED,
  "json/trailing-bytes": REFUSED,
} satisfies Traits<JsonErrorCode>;

export class JsonError extends UpkeepError<JsonErrorCode> {
  protected override get traits(): Traits<JsonErrorCode> {
    return JSON_ERRORS;
  }
}

const MAX_DEPTH = 64;

/**
 * Objects without any inherited member, made by a constructor: V8 gives those a shape,
 * where `Object.create(null)` gives a hash table of several times the size and cost.
 */
const Bare = function () {} as unknown as new () => { [name: string]: Json };
(Bare as { prototype: unknown }).prototype = Object.freeze(Object.create(null));

/** An empty object without a prototype of names. */
export function bareObject(): { [name: string]: Json } {
  return new Bare();
}

/** Parses UTF-8 bytes. Throws `JsonError`, or `bytes/bad-utf8` when they are not UTF-8. */
export function parseJson(bytes: Uint8Array): Json {
  return parseJsonText(fromUtf8(bytes));
}

/** Parses text. Throws `JsonError`. */
export function parseJsonText(text: string): Json {
  const parser = new Parser(text);
  const value = parser.value(0);
  parser.end();
  return value;
}

export function isJsonObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): Json {
    this.#space();
    const c = this.#text.charCodeAt(this.#at);
    if (c === 0x22) return this.#string();
    if (c === 0x7b) return this.#object(depth);
    if (c === 0x5b) return this.#array(depth);
    if (c === 0x2d || (c >= 0x30 && c <= 0x39)) return this.#number();
    if (c === 0x74) return this.#word("true", true);
    if (c === 0x66) return this.#word("false", false);
    if (c === 0x6e) return this.#word("null", null);
    throw this.#fail("json/syntax", "a value was expected");
  }

  end(): void {
    this.#space();
    if (this.#at !== this.#text.length)
      throw this.#fail("json/trailing-bytes", "there is something after the value");
  }

  #object(depth: number): JsonObject {
    this.#deeper(depth);
    const out = bareObject();
    this.#at++;
    this.#space();
    if (this.#text.charCodeAt(this.#at) === 0x7d) {
      this.#at++;
      return out;
    }
    for (;;) {
      this.#space();
      if (this.#text.charCodeAt(this.#at) !== 0x22)
        throw this.#fail("json/syntax", "a member name was expected");
      const name = this.#string();
      if (name in out)
        throw this.#fail("json/duplicate-member", `the member "${name.slice(0, 60)}" appears twice`);
      this.#space();
      if (this.#text.charCodeAt(this.#at) !== 0x3a) throw this.#fail("json/syntax", "a colon was expected");
      this.#at++;
      out[name] = this.value(depth + 1);
      this.#space();
      const c = this.#text.charCodeAt(this.#at++);
      if (c === 0x2c) continue;
      if (c === 0x7d) return out;
      this.#at--;
      throw this.#fail("json/syntax", "a comma or a closing brace was expected");
    }
  }

  #array(depth: number): Json[] {
    this.#deeper(depth);
    const out: Json[] = [];
    this.#at++;
    this.#space();
    if (this.#text.charCodeAt(this.#at) === 0x5d) {
      this.#at++;
      return out;
    }
    for (;;) {
      out.push(this.value(depth + 1));
      this.#space();
      const c = this.#text.charCodeAt(this.#at++);
      if (c === 0x2c) continue;
      if (c === 0x5d) return out;
      this.#at--;
      throw this.#fail("json/syntax", "a comma or a closing bracket was expected");
    }
  }

  #string(): string {
    const text = this.#text;
    const start = ++this.#at;
    // The fast path: no escape, no control character, no surrogate.
    for (let i = start; ; i++) {
      const c = text.charCodeAt(i);
      if (c === 0x22) {
        this.#at = i + 1;
        return text.slice(start, i);
      }
      if (c === 0x5c || c < 0x20 || (c >= 0xd800 && c <= 0xdfff) || Number.isNaN(c)) break;
    }
    return this.#slowString(start);
  }

  #slowString(start: number): string {
    const text = this.#text;
    let i = start;
    for (; ; i++) {
      const c = text.charCodeAt(i);
      if (Number.isNaN(c)) throw this.#fail("json/syntax", "a string does not end");
      if (c === 0x22) break;
      if (c < 0x20) throw this.#fail("json/syntax", "a control character stands in a string");
      if (c === 0x5c) i++;
    }
    let value: string;
    try {
      value = JSON.parse(text.slice(start - 1, i + 1)) as string;
    } catch (cause) {
      throw this.#fail("json/syntax", "a string has a bad escape", cause);
    }
    if (!value.isWellFormed()) throw this.#fail("json/bad-text", "a string has half a surrogate pair");
    this.#at = i + 1;
    return value;
  }

  #number(): number {
    const text = this.#text;
    const start = this.#at;
    let i = start;
    if (text.charCodeAt(i) === 0x2d) i++;
    const first = i;
    while (text.charCodeAt(i) >= 0x30 && text.charCodeAt(i) <= 0x39) i++;
    const after = text.charCodeAt(i);
    const digits = i - first;
    const bad = digits === 0 || (digits > 1 && text.charCodeAt(first) === 0x30);
    const value = Number(text.slice(start, i));
    if (bad) throw this.#fail("json/syntax", "a number is malformed");
    // Fractions and exponents have several spellings and no use in signed documents.
    if (
      after === 0x2e ||
      after === 0x65 ||
      after === 0x45 ||
      !Number.isSafeInteger(value) ||
      Object.is(value, -0)
    ) {
      throw this.#fail("json/unsafe-number", "a number is not a whole number between -(2^53-1) and 2^53-1");
    }
    this.#at = i;
    return value;
  }

  #word<T extends Json>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw this.#fail("json/syntax", "a value was expected");
    this.#at += word.length;
    return value;
  }

  #space(): void {
    for (;;) {
      const c = this.#text.charCodeAt(this.#at);
      if (c !== 0x20 && c !== 0x0a && c !== 0x0d && c !== 0x09) return;
      this.#at++;
    }
  }

  #deeper(depth: number): void {
    if (depth >= MAX_DEPTH)
      throw this.#fail("json/too-deep", `values are nested more than ${MAX_DEPTH} deep`);
  }

  #fail(code: JsonErrorCode, what: string, cause?: unknown): JsonError {
    return new JsonError(
      code,
      `The JSON text is refused at character ${this.#at}: ${what}.`,
      { at: this.#at },
      { cause },
    );
  }
}
