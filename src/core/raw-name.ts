// Names of files as text that loses no byte: what is UTF-8 reads as such, any other byte stands as one lone surrogate.

import { fromUtf8, toUtf8 } from "./bytes.ts";

/**
 * A byte that belongs to no character stands as U+DC00 plus its value, which no UTF-8 text can hold (the way of Python's PEP 383).
 * A name is therefore UTF-8 exactly if `isWellFormed()` says so, and `rawName` and `rawBytes` undo each other for every name of a disk.
 */
const ESCAPE = 0xdc00;

/** The name that these bytes spell. */
export function rawName(bytes: Uint8Array): string {
  try {
    return fromUtf8(bytes);
  } catch {
    return escaped(bytes);
  }
}

function escaped(bytes: Uint8Array): string {
  let out = "";
  for (let at = 0; at < bytes.length;) {
    const length = characterAt(bytes, at);
    out +=
      length === 0 ? String.fromCharCode(ESCAPE + bytes[at]!) : fromUtf8(bytes.subarray(at, at + length));
    at += Math.max(length, 1);
  }
  return out;
}

/** RFC 3629 section 4: how many bytes the character at `at` has, 0 if there is none. */
function characterAt(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  const length =
    first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > bytes.length) return 0;
  for (let i = 1; i < length; i++) if ((bytes[at + i]! & 0xc0) !== 0x80) return 0;
  const second = length > 1 ? bytes[at + 1]! : 0;
  // Longer than it need be, a surrogate, or above U+10FFFF.
  const wrong =
    (first === 0xe0 && second < 0xa0) ||
    (first === 0xed && second > 0x9f) ||
    (first === 0xf0 && second < 0x90) ||
    (first === 0xf4 && second > 0x8f);
  return wrong ? 0 : length;
}

/** The bytes that a name of a disk has there. */
export function rawBytes(name: string): Uint8Array {
  if (name.isWellFormed()) return toUtf8(name);
  const out: number[] = [];
  for (const character of name) {
    const code = character.codePointAt(0)!;
    if (code > ESCAPE + 0x7f && code <= ESCAPE + 0xff) out.push(code - ESCAPE);
    else out.push(...toUtf8(character));
  }
  return Uint8Array.from(out);
}

/** A name or path as a person may see it: what steers a terminal, turns the direction of text or is no UTF-8 is spelled out. */
export function showName(name: string): string {
  let out = "";
  for (const character of name) {
    const code = character.codePointAt(0)!;
    if (code > ESCAPE + 0x7f && code <= ESCAPE + 0xff) out += hex("x", code - ESCAPE, 2);
    else if (/[\p{Cc}]/u.test(character) && code < 0x100) out += hex("x", code, 2);
    else if (/[\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}]/u.test(character)) out += hex("u", code, 4);
    else out += character;
  }
  return out;
}

function hex(letter: string, value: number, digits: number): string {
  return `\\${letter}${value.toString(16).toUpperCase().padStart(digits, "0")}`;
}

/** The same in quotation marks, cut where it would fill the screen. */
export function quoteName(name: string, most = 120): string {
  const shown = showName(name);
  return `"${shown.length > most ? `${shown.slice(0, most).toWellFormed()}…` : shown}"`;
}
