// JSON with sorted members: one spelling per value, and unlike the OLPC canonical form still JSON when a text holds a newline.

import { toUtf8 } from "./bytes.ts";
import type { Json, JsonObject } from "./json.ts";

/** Compact, members sorted by code unit. For payloads of signed documents. */
export function stableJson(value: Json): Uint8Array {
  return toUtf8(JSON.stringify(sorted(value)));
}

/** Indented and ending in a newline: for files that people read and compare. */
export function stableJsonFile(value: Json): Uint8Array {
  return toUtf8(`${JSON.stringify(sorted(value), null, 1)}\n`);
}

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map((item: Json) => sorted(item));
  if (typeof value !== "object" || value === null) return value;
  const object = value as JsonObject;
  const out = Object.create(null) as { [name: string]: Json };
  for (const name of Object.keys(object).sort()) out[name] = sorted(object[name]!);
  return out;
}
