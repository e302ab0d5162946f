// Signed notes (C2SP signed-note): a text with signature lines that name their key.

import { createPublicKey, verify, type KeyObject } from "node:crypto";
import {
  concat,
  equalBytes,
  fromBase64,
  fromHex,
  fromUtf8,
  toBase64,
  toHex,
  toUtf8,
} from "../../core/bytes.ts";
import { sha256 } from "../../core/digest.ts";
import { SigningError } from "../errors.ts";

/** A note key: its name, its four-byte id and the raw Ed25519 key. */
export type NoteKey = {
  readonly name: string;
  readonly id: Uint8Array;
  readonly key: Uint8Array;
};

/** signed-note "Signature types": Ed25519. */
const ED25519 = 0x01;
const MAX_NOTE = 64 * 1024;
const MAX_SIGNATURES = 16;
/** RFC 8410: SubjectPublicKeyInfo of Ed25519 up to the key bytes. */
const ED25519_SPKI = fromHex("302a300506032b6570032100");

/** Errors: `signing/bad-note` for a name that the format can't carry. */
export function noteKey(name: string, key: Uint8Array): NoteKey {
  // signed-note "Format": key names are not empty and hold neither Unicode spaces nor plus.
  if (name === "" || /[\s+\p{Z}\p{Cc}]/u.test(name)) throw bad(`"${name.slice(0, 60)}" cannot be a key name`);
  if (key.length !== 32) throw bad("an Ed25519 key has 32 bytes");
  const id = sha256(concat([toUtf8(`${name}\n`), Uint8Array.of(ED25519), key])).subarray(0, 4);
  return { name, id, key };
}

/** From SubjectPublicKeyInfo of an Ed25519 key. */
export function noteKeyFromSpki(name: string, spki: Uint8Array): NoteKey {
  if (spki.length !== 44 || !equalBytes(spki.subarray(0, 12), ED25519_SPKI))
    throw bad("the log key is not Ed25519");
  return noteKey(name, spki.slice(12));
}

/** The spelling that configuration carries: `name+hex(id)+base64(0x01 || key)`. */
export function formatNoteKey(key: NoteKey): string {
  return `${key.name}+${toHex(key.id)}+${toBase64(concat([Uint8Array.of(ED25519), key.key]))}`;
}

/** Errors: `signing/bad-note`. */
export function parseNoteKey(text: string): NoteKey {
  const match = /^([^+\s]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text);
  if (match === null) throw bad("the log key is not of the form name+id+key");
  let raw: Uint8Array;
  try {
    raw = fromBase64(match[3]!);
  } catch (cause) {
    throw bad("the log key is not canonical base64", cause);
  }
  if (raw.length !== 33 || raw[0] !== ED25519) throw bad("the log key is not an Ed25519 key");
  const key = noteKey(match[1]!, raw.subarray(1));
  if (toHex(key.id) !== match[2]) throw bad("the id of the log key does not belong to its name and bytes");
  return key;
}

/** The complete note for a text that was signed. `text` ends with a newline. */
export function formatNote(
  text: string,
  signatures: readonly { key: NoteKey; signature: Uint8Array }[],
): string {
  const lines = signatures.map(
    ({ key, signature }) => `\u2014 ${key.name} ${toBase64(concat([key.id, signature]))}\n`,
  );
  return `${text}\n${lines.join("")}`;
}

/**
 * The text, once a signature of `key` over it holds. Signatures of unknown keys are ignored, a false one of a known key
 * refuses the note. Errors: `signing/bad-note`.
 */
export function openNote(bytes: Uint8Array, key: NoteKey): string {
  if (bytes.length > MAX_NOTE) throw bad(`it is longer than ${MAX_NOTE} bytes`);
  const note = fromUtf8(bytes);
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u0009\u000b-\u001f]/.test(note)) throw bad("it holds a control character");
  // signed-note "Format": the text is separated from the signatures by the last empty line.
  const cut = note.lastIndexOf("\n\n");
  if (cut < 0 || !note.endsWith("\n")) throw bad("text and signatures are not separated by an empty line");
  const text = note.slice(0, cut + 1);
  const lines = note.slice(cut + 2, -1).split("\n");
  if (lines.length > MAX_SIGNATURES) throw bad(`it has more than ${MAX_SIGNATURES} signatures`);
  const object = ed25519Key(key.key);
  let signed = false;
  for (const line of lines) {
    const match = /^\u2014 ([^ +]+) ([A-Za-z0-9+/=]+)$/.exec(line);
    if (match === null) throw bad("a signature line is malformed");
    const raw = fromBase64(match[2]!);
    if (raw.length < 5) throw bad("a signature line is too short");
    if (match[1] !== key.name || !equalBytes(raw.subarray(0, 4), key.id)) continue;
    if (!verify(null, toUtf8(text), object, raw.subarray(4))) {
      throw bad("its signature does not fit: it was changed, or somebody else made it");
    }
    signed = true;
  }
  if (!signed) throw bad(`it is not signed by ${key.name}`);
  return text;
}

/** Making a key object costs more than a verification with it. */
const objects = new WeakMap<Uint8Array, KeyObject>();

function ed25519Key(raw: Uint8Array): KeyObject {
  const known = objects.get(raw);
  if (known !== undefined) return known;
  const object = createPublicKey({
    key: Buffer.from(concat([ED25519_SPKI, raw])),
    format: "der",
    type: "spki",
  });
  objects.set(raw, object);
  return object;
}

function bad(what: string, cause?: unknown): SigningError {
  return new SigningError("signing/bad-note", `The signed note is refused: ${what}.`, {}, { cause });
}
