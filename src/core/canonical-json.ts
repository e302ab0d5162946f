// OLPC canonical JSON, the form whose bytes TUF metadata signatures cover.

import { toUtf8 } from "./bytes.ts";
import { UpkeepError } from "./errors.ts";
import type { Json, JsonObject } from "./json.ts";

export type CanonicalJsonErrorCode = "canonical-json/not-a-number" | "canonical-json/bad-text";
export class CanonicalJsonError extends UpkeepError<CanonicalJsonErrorCode> {}

/** The canonical bytes: sorted members, no white space, only `"` and `\` escaped, whole numbers only. */
export function canonicalJson(value: Json): Uint8Array {
  return toUtf8(canonicalJsonText(value));
}

export function canonicalJsonText(value: Json): string {
  const parts: string[] = [];
  write(value, parts);
  return parts.join("");
}

function write(value: Json, parts: string[]): void {
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
    const names = Object.keys(object).sort(byCodePoint);
    parts.push("{");
    for (let i = 0; i < names.length; i++) {
      const name = names[i]!;
      parts.push(i > 0 ? "," : "", quote(name), ":");
      write(object[name]!, parts);
    }
    parts.push("}");
  }
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
