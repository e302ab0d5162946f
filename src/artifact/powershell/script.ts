// PowerShell scripts: their encodings, their signature block, and the text that is hashed.

import { concat, fromBase64, toBase64, toUtf8 } from "../../core/bytes.ts";
import type { HashName } from "../../der/algorithms.ts";
import { ArtifactError } from "../errors.ts";
import { hasher } from "../source.ts";

/** The encodings whose letters are certain; the digest is over the text, not over the bytes. */
export type ScriptEncoding = "utf-8" | "utf-8-bom" | "utf-16le";

/** A script in its parts: `bytes[0, bodyEnd)` is hashed, `bytes[bodyEnd, length)` is the block, if there is one. */
export type Script = {
  readonly bytes: Uint8Array;
  readonly encoding: ScriptEncoding;
  readonly bodyEnd: number;
  /** The signature, decoded from the block; null without one. */
  readonly cms: Uint8Array | null;
};

/** No script of that size was ever seen; the text is held in memory. */
export const MAX_SCRIPT: number = 64 * 1024 * 1024;

const BEGIN = "# SIG # Begin signature block";
const END = "# SIG # End signature block";
const LINE = 64;
/** A block longer than this is a store for something else. */
const MAX_CMS = 256 * 1024;

/**
 * Finds the block. It stands once, at the end, with CR LF lines as Windows writes it; anything else that looks like one is refused,
 * because what a lenient reader takes for the end of the script decides what was hashed.
 * Errors: `artifact/malformed`, `artifact/trailing-bytes`, `artifact/doubled-signature`, `artifact/unsupported`.
 */
export function parseScript(bytes: Uint8Array): Script {
  if (bytes.length > MAX_SCRIPT) {
    throw malformed(`it has ${bytes.length} bytes, more than the ${MAX_SCRIPT} a script may have`);
  }
  const encoding = encodingOf(bytes);
  const wide = encoding === "utf-16le";
  if (wide && bytes.length % 2 !== 0) throw malformed("it is UTF-16 with half a character at its end");
  const unit = wide ? 2 : 1;
  const haystack = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const find = (text: string, from = 0): number => {
    const needle = Buffer.from(text, wide ? "utf16le" : "latin1");
    let at = haystack.indexOf(needle, from);
    // Odd places in UTF-16 text are the middle of a character.
    while (at >= 0 && at % unit !== 0) at = haystack.indexOf(needle, at + 1);
    return at;
  };
  const begin = lineStart(find, BEGIN);
  if (begin < 0) {
    if (lineStart(find, END) >= 0)
      throw malformed("it has the end of a signature block without its beginning");
    return { bytes, encoding, bodyEnd: bytes.length, cms: null };
  }
  if (find(`\n${BEGIN}`, begin + 2 * unit) >= 0) {
    throw new ArtifactError("artifact/doubled-signature", "The script has two signature blocks.", {});
  }
  if (find("\r\n", begin) !== begin)
    throw malformed("its signature block does not begin with a line break of CR and LF");
  const block = Buffer.from(bytes.subarray(begin)).toString(wide ? "utf16le" : "latin1");
  return { bytes, encoding, bodyEnd: begin, cms: parseBlock(block) };
}

/** Windows PowerShell reads a script without a mark in the code page of the machine, PowerShell 7 as UTF-8: other letters, another digest. */
export function isUncertain(script: Script): boolean {
  return script.encoding === "utf-8" && script.bytes.subarray(0, script.bodyEnd).some((byte) => byte > 0x7f);
}

export const UNCERTAIN =
  "The script is UTF-8 without a byte order mark and has letters beyond ASCII: Windows PowerShell reads others there, and takes the signature for one of another script.";

/** Errors: `artifact/unsupported`. */
export function refuseUncertain(script: Script): void {
  if (isUncertain(script))
    throw new ArtifactError(
      "artifact/unsupported",
      UNCERTAIN,
      {},
      { hint: "Save it as UTF-8 with a byte order mark, or keep to ASCII, and sign that." },
    );
}

/** Where the CR LF before the marker stands; a marker in the middle of a line is text like any other. */
function lineStart(find: (text: string, from?: number) => number, marker: string): number {
  const crlf = find(`\r\n${marker}`);
  return crlf >= 0 ? crlf : find(`\n${marker}`);
}

function parseBlock(block: string): Uint8Array {
  const lines = block.split("\r\n");
  // Begins with the empty text before the first CR LF, ends with the empty text after the last.
  const last = lines.indexOf(END);
  if (lines[0] !== "" || lines[1] !== BEGIN)
    throw malformed("its signature block has something else in its first line");
  if (last < 0) throw malformed("its signature block does not end");
  const after = lines.slice(last + 1);
  if (after.length > 1 || (after[0] ?? "") !== "") {
    throw new ArtifactError(
      "artifact/trailing-bytes",
      "Something follows the signature block: it would run and was not signed.",
      {},
    );
  }
  const body = lines.slice(2, last).map((line, i, all) => {
    const text = line.startsWith("# ") ? line.slice(2) : null;
    const full = i < all.length - 1;
    if (text === null || text.length === 0 || text.length > LINE || (full && text.length !== LINE)) {
      throw malformed("a line of its signature block is not a comment of 64 characters");
    }
    return text;
  });
  if (body.length > ((MAX_CMS / 3) * 4) / LINE) throw malformed("its signature block is too large");
  try {
    return fromBase64(body.join(""));
  } catch (cause) {
    throw malformed("its signature block is not canonical base64", cause);
  }
}

/**
 * The digest of the text before the block, always as UTF-16LE. The mark of a UTF-16 file is hashed, the mark of a UTF-8 file
 * becomes U+FEFF and is hashed as well. Source: measured against osslsigncode, both ways.
 */
export function scriptDigest(script: Script, algorithm: HashName): Uint8Array {
  const body = script.bytes.subarray(0, script.bodyEnd);
  const hash = hasher(algorithm);
  if (script.encoding === "utf-16le") hash.update(body);
  else hash.update(Buffer.from(decodeUtf8(body), "utf16le"));
  return new Uint8Array(hash.digest());
}

/** The script with this signature and no other. */
export function attachToScript(script: Script, cms: Uint8Array): Uint8Array {
  const text = toBase64(cms);
  const lines = ["", BEGIN];
  for (let at = 0; at < text.length; at += LINE) lines.push(`# ${text.slice(at, at + LINE)}`);
  const block = [...lines, END, ""].join("\r\n");
  const body = script.bytes.subarray(0, script.bodyEnd);
  return concat([
    body,
    script.encoding === "utf-16le" ? new Uint8Array(Buffer.from(block, "utf16le")) : toUtf8(block),
  ]);
}

/** The script as it was before it was signed, byte for byte. */
export function removeFromScript(script: Script): Uint8Array {
  return script.bytes.slice(0, script.bodyEnd);
}

function encodingOf(bytes: Uint8Array): ScriptEncoding {
  const [a, b, c, d] = bytes;
  if (a === 0xff && b === 0xfe) {
    if (c === 0 && d === 0) throw unsupported("UTF-32");
    return "utf-16le";
  }
  if (a === 0xfe && b === 0xff) throw unsupported("big-endian UTF-16");
  const encoding = a === 0xef && b === 0xbb && c === 0xbf ? "utf-8-bom" : "utf-8";
  decodeUtf8(bytes);
  return encoding;
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new ArtifactError(
      "artifact/unsupported",
      "The script is neither UTF-8 nor UTF-16: which letters its other bytes mean depends on the machine that reads them, so no digest of them is certain.",
      {},
      { cause, hint: "Save it as UTF-8 with a byte order mark and sign that." },
    );
  }
}

function unsupported(encoding: string): ArtifactError {
  return new ArtifactError(
    "artifact/unsupported",
    `The script is ${encoding}, which cannot be signed.`,
    { encoding },
    { hint: "Save it as UTF-8 with a byte order mark." },
  );
}

function malformed(what: string, cause?: unknown): ArtifactError {
  return new ArtifactError(
    "artifact/malformed",
    `The script is malformed: ${what}.`,
    { format: "powershell" },
    { cause },
  );
}
