// From BER to DER: for PKCS#12 files and time-stamp replies of producers that write indefinite lengths. Nothing that was signed is decided on BER.

import { concat } from "../core/bytes.ts";
import { DerError } from "./errors.ts";
import { parseDer } from "./reader.ts";
import { BIT_STRING, OCTET_STRING } from "./tags.ts";
import { element } from "./writer.ts";

const MAX_DEPTH = 64;

/**
 * Rewrites one BER value that fills `bytes` with definite, minimal lengths, and joins constructed strings (X.690 8.7.3).
 * Sets keep their order. Errors: `der/malformed`, `der/too-deep`.
 */
export function berToDer(bytes: Uint8Array): Uint8Array {
  const { out, end } = convert(bytes, 0, bytes.length, 0);
  if (end !== bytes.length) throw bad(`${bytes.length - end} bytes follow the value`);
  return out;
}

type Converted = {
  readonly out: Uint8Array;
  readonly end: number;
  readonly tag: number;
  readonly body: Uint8Array;
};

function convert(bytes: Uint8Array, at: number, limit: number, depth: number): Converted {
  if (depth > MAX_DEPTH)
    throw new DerError("der/too-deep", `The BER is nested deeper than ${MAX_DEPTH} levels.`, { at });
  if (at + 2 > limit) throw bad("a value is cut off");
  const tag = bytes[at]!;
  if ((tag & 0x1f) === 0x1f) throw bad("it has a tag number above 30");
  const { length, body } = lengthAt(bytes, at + 1, limit);
  if ((tag & 0x20) === 0) {
    if (length === null) throw bad("a primitive value has an indefinite length");
    const content = bytes.subarray(body, body + length);
    return { out: element(tag, content), end: body + length, tag, body: content };
  }
  const end = length === null ? limit : body + length;
  const parts: Converted[] = [];
  let position = body;
  for (;;) {
    if (length !== null && position === end) break;
    if (length === null && position + 2 <= end && bytes[position] === 0 && bytes[position + 1] === 0) {
      position += 2;
      break;
    }
    const part = convert(bytes, position, end, depth + 1);
    parts.push(part);
    position = part.end;
  }
  const simple = tag & 0xdf;
  if (simple === OCTET_STRING) {
    const content = concat(parts.map((part) => part.body));
    return { out: element(OCTET_STRING, content), end: position, tag: OCTET_STRING, body: content };
  }
  if (simple === BIT_STRING) throw bad("a BIT STRING comes in parts");
  const content = concat(parts.map((part) => part.out));
  return { out: element(tag, content), end: position, tag, body: content };
}

function lengthAt(
  bytes: Uint8Array,
  at: number,
  limit: number,
): { readonly length: number | null; readonly body: number } {
  const first = bytes[at]!;
  if (first === 0x80) return { length: null, body: at + 1 };
  let length = first;
  let body = at + 1;
  if (first > 0x80) {
    const count = first & 0x7f;
    if (count > 6 || body + count > limit) throw bad("a length is longer than the data");
    length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + bytes[body + i]!;
    body += count;
  }
  if (length > limit - body) throw bad("a value reaches beyond what holds it");
  return { length, body };
}

function bad(what: string): DerError {
  return new DerError("der/malformed", `The BER is malformed: ${what}.`, {});
}

/** DER as it is, BER turned into DER: authorities and openssl write both. Errors: `der/*`. */
export function canonicalDer(bytes: Uint8Array): Uint8Array {
  try {
    parseDer(bytes);
    return bytes;
  } catch (error) {
    if (error instanceof DerError && error.code === "der/not-canonical") return berToDer(bytes);
    throw error;
  }
}
