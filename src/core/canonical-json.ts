// OLPC canonical JSON, the form whose bytes TUF metadata signatures cover.

import { concat, fromUtf8, toUtf8 } from "./bytes.ts";
import { REFUSED, UpkeepError, type Traits } from "./errors.ts";
import type { Json, JsonObject } from "./json.ts";

export type CanonicalJsonErrorCode = "canonical-json/not-a-number" | "canonical-json/bad-text";
export const CANONICAL_JSON_ERRORS = {
  "canonical-json/not-a-number": REFUSED,
  "canonical-json/bad-text": REFUSED,
} satisfies Traits<CanonicalJsonErrorCode>;

export class CanonicalJsonError extends UpkeepError<CanonicalJsonErrorCode> {
  protected override get traits(): Traits<CanonicalJsonErrorCode> {
    return CANONICAL_JSON_ERRORS;
  }
}

/** The canonical bytes: sorted members, no white space, only `"` and `\` escaped, whole numbers only. */
export function canonicalJson(value: Json): Uint8Array {
  const out = new Chunks();
  write(value, out);
  return out.bytes();
}

export function canonicalJsonText(value: Json): string {
  return fromUtf8(canonicalJson(value));
}

/** Text that is turned into bytes in pieces, so that millions of small parts never stand in memory at once. */
class Chunks {
  #parts: string[] = [];
  readonly #chunks: Uint8Array[] = [];

  push(part: string): void {
    if (this.#parts.push(part) >= 4096) this.#flush();
  }

  bytes(): Uint8Array {
    this.#flush();
    return this.#chunks.length === 1 ? this.#chunks[0]! : concat(this.#chunks);
  }

  #flush(): void {
    this.#chunks.push(toUtf8(this.#parts.join("")));
    this.#parts = [];
  }
}

function write(value: Json, parts: Chunks): void {
  if (typeof value === "string") {
    parts.push(quote(value));
  } else if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) {
      throw new CanonicalJsonError(
        "canonical-json/not-a-number",
        "Canonical JSON holds whole numbers below 2^53 only.",
        {
          value: String(value),
        },
      );
    }
    parts.push(String(value));
  } else if (value === null || typeof value === "boolean") {
    parts.push(String(value));
  } else if (Array.isArray(value)) {
    parts.push("[");
    for (let i = 0; i < value.length; i++) {
      if (i > 0) parts.push(",");
      write(value[i] as Json, parts);
    }
    parts.push("]");
  } else {
    const object = value as JsonObject;
    const names = sortedNames(object);
    parts.push("{");
    for (let i = 0; i < names.length; i++) {
      const name = names[i]!;
      parts.push(i > 0 ? `,${quote(name)}:` : `${quote(name)}:`);
      write(object[name]!, parts);
    }
    parts.push("}");
  }
}

/** JavaScript's own order is the right one as long as nothing lies above U+D7FF, and it is much faster. */
function sortedNames(object: JsonObject): string[] {
  const names = Object.keys(object);
  let sorted = true;
  let plain = true;
  for (let i = 0; i < names.length && plain; i++) {
    plain = !/[\ud800-\uffff]/.test(names[i]!);
    if (i > 0 && names[i - 1]! > names[i]!) sorted = false;
  }
  if (!plain) return names.sort(byCodePoint);
  return sorted ? names : names.sort();
}

function quote(text: string): string {
  if (!text.isWellFormed()) {
    throw new CanonicalJsonError("canonical-json/bad-text", "A text has half a surrogate pair.", {
      text: text.slice(0, 40),
    });
  }
  return /["\\]/.test(text) ? `"${text.replace(/["\\]/g, "\\$&")}"` : `"${text}"`;
}

/** By Unicode code point, which is the order of the UTF-8 bytes; JavaScript's own order differs above U+FFFF. */
function byCodePoint(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x === y) continue;
    const [sx, sy] = [x >= 0xd800 && x <= 0xdfff, y >= 0xd800 && y <= 0xdfff];
    if (sx !== sy) return sx ? 1 : -1;
    return x - y;
  }
  return a.length - b.length;
}
