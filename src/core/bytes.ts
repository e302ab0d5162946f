// Bytes and their textual spellings; every decoder accepts exactly one spelling per value.

import { REFUSED, UpkeepError, type Traits } from "./errors.ts";
import { timingSafeEqual } from "node:crypto";

export type BytesErrorCode = "bytes/bad-hex" | "bytes/bad-base64" | "bytes/bad-utf8" | "bytes/too-long";
export const BYTES_ERRORS = {
  "bytes/bad-hex": REFUSED,
  "bytes/bad-base64": REFUSED,
  "bytes/bad-utf8": REFUSED,
  "bytes/too-long": REFUSED,
} satisfies Traits<BytesErrorCode>;

export class BytesError extends UpkeepError<BytesErrorCode> {
  protected override get traits(): Traits<BytesErrorCode> {
    return BYTES_ERRORS;
  }
}

/** Lower-case hex. */
export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

/** Accepts only lower-case hex of even length. Throws `bytes/bad-hex`. */
export function fromHex(text: string): Uint8Array {
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) {
    throw new BytesError("bytes/bad-hex", "The text is not lower-case hexadecimal of even length.", {
      length: text.length,
    });
  }
  return new Uint8Array(Buffer.from(text, "hex"));
}

/** RFC 4648 section 4, with padding. */
export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

/** RFC 4648 section 4; refuses missing padding, white space and non-zero trailing bits. Throws `bytes/bad-base64`. */
export function fromBase64(text: string): Uint8Array {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text) {
    throw new BytesError("bytes/bad-base64", "The text is not canonical base64.", { length: text.length });
  }
  return new Uint8Array(bytes);
}

/** RFC 4648 section 5, without padding. */
export function toBase64Url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64url");
}

/** RFC 4648 section 5 without padding; one spelling per value. Throws `bytes/bad-base64`. */
export function fromBase64Url(text: string): Uint8Array {
  const bytes = Buffer.from(text, "base64url");
  if (bytes.toString("base64url") !== text) {
    throw new BytesError("bytes/bad-base64", "The text is not canonical base64url.", { length: text.length });
  }
  return new Uint8Array(bytes);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function toUtf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Strict UTF-8; a byte order mark is kept as a character. Throws `bytes/bad-utf8`. */
export function fromUtf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new BytesError(
      "bytes/bad-utf8",
      "The bytes are not valid UTF-8.",
      { length: bytes.length },
      { cause },
    );
  }
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const out = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Equality in time that depends on the lengths only. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Bytewise order, shorter first on a common prefix. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

/** Collects a byte stream, refusing the first byte past `limit`. Throws `bytes/too-long`. */
export async function collect(stream: AsyncIterable<Uint8Array>, limit: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of stream) {
    length += part.length;
    if (length > limit) {
      throw new BytesError("bytes/too-long", `More than the allowed ${limit} bytes arrived.`, { limit });
    }
    parts.push(part);
  }
  return concat(parts);
}
