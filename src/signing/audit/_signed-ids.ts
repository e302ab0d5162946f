// Request ids in little room: the 16 bytes of an id as a short string, and a whole map of them as bytes.

import { SigningError } from "../errors.ts";

/** id (16) || entry number (6, big-endian) */
const RECORD = 22;

/** The 16 bytes of a request's id as a string of its own, half as long as its digits. */
export function packed(id: string): string {
  return Buffer.from(id, "hex").toString("latin1");
}

export function unpacked(name: string): string {
  return Buffer.from(name, "latin1").toString("hex");
}

export function packSigned(signed: ReadonlyMap<string, number>): Uint8Array {
  const bytes = Buffer.alloc(signed.size * RECORD);
  let at = 0;
  for (const [name, n] of signed) {
    bytes.write(name, at, "latin1");
    bytes.writeUIntBE(n, at + 16, 6);
    at += RECORD;
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Errors: `signing/log-damaged`. */
export function* unpackSigned(bytes: Uint8Array): Generator<readonly [string, number]> {
  if (bytes.length % RECORD !== 0)
    throw new SigningError("signing/log-damaged", "The list of signed requests is cut off.");
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < all.length; at += RECORD)
    yield [all.toString("latin1", at, at + 16), all.readUIntBE(at + 16, 6)];
}
