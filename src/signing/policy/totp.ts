// One-time codes by time (RFC 6238 over RFC 4226): SHA-1, 30 seconds, six digits, as authenticator apps expect.

import { createHmac } from "node:crypto";
import { SECOND, type Instant } from "../../core/instant.ts";

const STEP = 30 * SECOND;
const DIGITS = 6;
/** RFC 6238 5.2: at most one step of delay is allowed, here to either side. */
const WINDOW = 1;

export function totpAt(secret: Uint8Array, step: number): string {
  const counter = new Uint8Array(8);
  new DataView(counter.buffer).setBigUint64(0, BigInt(step));
  const mac = createHmac("sha1", secret).update(counter).digest();
  // RFC 4226 5.3: dynamic truncation.
  const offset = mac[mac.length - 1]! & 0x0f;
  const value = mac.readUInt32BE(offset) & 0x7fffffff;
  return String(value % 10 ** DIGITS).padStart(DIGITS, "0");
}

export function stepOf(now: Instant): number {
  return Math.floor(now / STEP);
}

/** The step the code belongs to, or null. RFC 6238 5.2: the caller must refuse a step that was used before. */
export function totpStep(secret: Uint8Array, code: string, now: Instant): number | null {
  let found: number | null = null;
  for (let step = stepOf(now) - WINDOW; step <= stepOf(now) + WINDOW; step++) {
    if (totpAt(secret, step) === code) found = step;
  }
  return found;
}

const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/** RFC 4648 section 6 without padding. */
export function toBase32(bytes: Uint8Array): string {
  let [bits, value, out] = [0, 0, ""];
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xffff;
    bits += 8;
    for (; bits >= 5; bits -= 5) out += BASE32[(value >> (bits - 5)) & 31]!;
  }
  return bits > 0 ? out + BASE32[(value << (5 - bits)) & 31]! : out;
}

/** What an authenticator app scans or is given. */
export function totpUri(issuer: string, user: string, secret: Uint8Array): string {
  const name = `${encodeURIComponent(issuer)}:${encodeURIComponent(user)}`;
  return `otpauth://totp/${name}?secret=${toBase32(secret)}&issuer=${encodeURIComponent(issuer)}&algorithm=SHA1&digits=${DIGITS}&period=30`;
}
