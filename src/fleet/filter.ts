// Filters: expressions about devices in a small closed grammar, parsed once and with no way to run long.

import { FleetError } from "./errors.ts";
import type { Labels } from "./label-record.ts";

/*
 *   any   = all *( "or" all )
 *   all   = one *( "and" one )
 *   one   = "not" one / "(" any ")" / test
 *   test  = field ( "=" / "!=" ) value / field "in" "(" value *( "," value ) ")"
 *   field = "group" / "name" / "os" / "arch" / "libc" / "tag" / "attr." name
 *   value = word / quoted; a "*" at its end stands for any rest
 */

export type Filterable = {
  readonly name: string;
  readonly group: string;
  /** `linux-x64-glibc`. */
  readonly platform: string;
  readonly labels: Labels;
};
export type Filter = (device: Filterable) => boolean;

const LONGEST = 1000;
const MOST_TOKENS = 200;
const DEEPEST = 20;
const TOKEN = /\s*(?:(!=|=|\(|\)|,)|"([^"]{0,256})"|([A-Za-z0-9][A-Za-z0-9._*-]{0,255}))/y;
const FIELD = /^(?:group|name|os|arch|libc|tag|attr\.[a-z0-9][a-z0-9._-]{0,63})$/;

type Token = { readonly text: string; readonly kind: "sign" | "quoted" | "word" };

const known = new Map<string, Filter>();
const KNOWN = 200;

/** Error: `fleet/bad-filter` with the place. */
export function parseFilter(text: string): Filter {
  const before = known.get(text);
  if (before !== undefined) return before;
  const parser = new Parser(text);
  const filter = parser.whole();
  if (known.size >= KNOWN) known.clear();
  known.set(text, filter);
  return filter;
}

class Parser {
  readonly #text: string;
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(text: string) {
    this.#text = text;
    if (text.length > LONGEST) throw bad(text, `it is longer than ${LONGEST} characters`);
    this.#tokens = tokensOf(text);
    if (this.#tokens.length > MOST_TOKENS) throw bad(text, `it has more than ${MOST_TOKENS} words`);
  }

  whole(): Filter {
    const filter = this.#any(0);
    if (this.#at < this.#tokens.length) throw this.#unexpected("and, or, or the end");
    return filter;
  }

  #any(depth: number): Filter {
    const parts = [this.#all(depth)];
    while (this.#take("word", "or")) parts.push(this.#all(depth));
    return parts.length === 1 ? parts[0]! : (device) => parts.some((part) => part(device));
  }

  #all(depth: number): Filter {
    const parts = [this.#one(depth)];
    while (this.#take("word", "and")) parts.push(this.#one(depth));
    return parts.length === 1 ? parts[0]! : (device) => parts.every((part) => part(device));
  }

  #one(depth: number): Filter {
    if (depth > DEEPEST) throw bad(this.#text, `it is nested deeper than ${DEEPEST}`);
    if (this.#take("word", "not")) {
      const inner = this.#one(depth + 1);
      return (device) => !inner(device);
    }
    if (this.#take("sign", "(")) {
      const inner = this.#any(depth + 1);
      this.#need(")");
      return inner;
    }
    return this.#test();
  }

  #test(): Filter {
    const field = this.#tokens[this.#at];
    if (field === undefined || field.kind !== "word" || !FIELD.test(field.text))
      throw this.#unexpected("group, name, os, arch, libc, tag, attr.NAME, not or (");
    this.#at++;
    const values = valuesOf(field.text);
    if (this.#take("word", "in")) {
      this.#need("(");
      const tests = [this.#value()];
      while (this.#take("sign", ",")) tests.push(this.#value());
      this.#need(")");
      return (device) => values(device).some((value) => tests.some((test) => test(value)));
    }
    const unequal = this.#take("sign", "!=");
    if (!unequal) this.#need("=");
    const test = this.#value();
    return (device) => values(device).some(test) !== unequal;
  }

  #value(): (value: string) => boolean {
    const token = this.#tokens[this.#at];
    if (token === undefined || token.kind === "sign") throw this.#unexpected("a value");
    this.#at++;
    const { text } = token;
    if (token.kind === "word" && text.endsWith("*")) {
      const start = text.slice(0, -1);
      if (start.includes("*")) throw bad(this.#text, `"${text}" has a * that is not its last character`);
      return (value) => value.startsWith(start);
    }
    if (token.kind === "word" && text.includes("*"))
      throw bad(this.#text, `"${text}" has a * that is not its last character`);
    return (value) => value === text;
  }

  #take(kind: Token["kind"], text: string): boolean {
    const token = this.#tokens[this.#at];
    if (token?.kind !== kind || token.text !== text) return false;
    this.#at++;
    return true;
  }

  #need(sign: string): void {
    if (!this.#take("sign", sign)) throw this.#unexpected(sign);
  }

  #unexpected(wanted: string): FleetError {
    const found = this.#tokens[this.#at];
    const where = found === undefined ? "at its end" : `at "${found.text.slice(0, 40)}"`;
    return bad(this.#text, `${where}, ${wanted} is expected`);
  }
}

function tokensOf(text: string): readonly Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  const end = text.trimEnd().length;
  while (TOKEN.lastIndex < end) {
    const from = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) throw bad(text, `"${text.slice(from, from + 20).trim()}" is no word of it`);
    const [, sign, quoted, word] = match;
    if (sign !== undefined) tokens.push({ text: sign, kind: "sign" });
    else if (quoted !== undefined) tokens.push({ text: quoted, kind: "quoted" });
    else tokens.push({ text: word!, kind: "word" });
  }
  return tokens;
}

/** What a device has there: nothing, one value, or several. */
function valuesOf(field: string): (device: Filterable) => readonly string[] {
  const platform = (at: number) => (device: Filterable) => device.platform.split("-").slice(at, at + 1);
  switch (field) {
    case "group":
      return ({ group }) => [group];
    case "name":
      return ({ name }) => [name];
    case "os":
      return platform(0);
    case "arch":
      return platform(1);
    case "libc":
      return platform(2);
    case "tag":
      return ({ labels }) => labels.tags;
    default: {
      const name = field.slice("attr.".length);
      return ({ labels }) => (Object.hasOwn(labels.attributes, name) ? [labels.attributes[name]!] : []);
    }
  }
}

function bad(text: string, what: string): FleetError {
  return new FleetError(
    "fleet/bad-filter",
    `The expression ${JSON.stringify(text.slice(0, 120))} cannot be read: ${what}.`,
    { expression: text.slice(0, 120) },
    { hint: 'Write for example: tag = till and not arch = arm64, or attr.site in (berlin, "new york").' },
  );
}
