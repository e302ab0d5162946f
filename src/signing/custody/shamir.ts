// Secret sharing over GF(256) (Shamir 1979): any m of n shares give the secret, fewer give nothing.

import { equalBytes, fromHex, toHex } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import type { Random } from "../../core/random.ts";
import { SigningError } from "../errors.ts";

export type Share = {
  /** Names the splitting, so that shares of two secrets are never mixed. */
  readonly set: string;
  readonly needed: number;
  /** x coordinate, 1 to 255. */
  readonly index: number;
  readonly value: Uint8Array;
};

/** FIPS 197 section 4.2: multiplication modulo x^8 + x^4 + x^3 + x + 1, without tables, so without secret-dependent lookups. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 0; bit < 8; bit++) {
    product ^= -((b >> bit) & 1) & a;
    a = ((a << 1) ^ (-(a >> 7) & 0x11b)) & 0xff;
  }
  return product;
}

/** a^254, which is the inverse: the multiplicative group has 255 elements. */
function inverse(a: number): number {
  let result = 1;
  for (let i = 0; i < 254; i++) result = multiply(result, a);
  return result;
}

export function splitSecret(
  secret: Uint8Array,
  needed: number,
  total: number,
  random: Random,
): readonly Share[] {
  if (needed < 2 || total < needed || total > 255) {
    throw new SigningError("signing/bad-share", "Shares need 2 <= needed <= total <= 255.", {
      needed,
      total,
    });
  }
  const set = toHex(random.bytes(4));
  const coefficients = Array.from({ length: needed - 1 }, () => random.bytes(secret.length));
  return Array.from({ length: total }, (_, i) => {
    const x = i + 1;
    // Horner's rule from the highest coefficient down to the secret.
    const value = secret.map((byte, at) => {
      let y = 0;
      for (let c = needed - 2; c >= 0; c--) y = multiply(y ^ coefficients[c]![at]!, x);
      return y ^ byte;
    });
    return { set, needed, index: x, value };
  });
}

/** Errors: `signing/bad-share` when they do not belong together or are too few. */
export function joinShares(shares: readonly Share[]): Uint8Array {
  const first = shares[0];
  const refuse = (what: string): SigningError =>
    new SigningError("signing/bad-share", `The shares cannot be joined: ${what}.`, { given: shares.length });
  if (first === undefined) throw refuse("there are none");
  if (
    shares.some(
      (s) => s.set !== first.set || s.needed !== first.needed || s.value.length !== first.value.length,
    )
  ) {
    throw refuse("they are of different secrets");
  }
  const distinct = [...new Map(shares.map((share) => [share.index, share])).values()];
  if (distinct.length < first.needed)
    throw refuse(`${distinct.length} different shares were given, ${first.needed} are needed`);
  const used = distinct.slice(0, first.needed);
  const secret = new Uint8Array(first.value.length);
  for (const share of used) {
    // Lagrange at zero; subtraction is exclusive or.
    let weight = 1;
    for (const other of used) {
      if (other !== share)
        weight = multiply(weight, multiply(other.index, inverse(other.index ^ share.index)));
    }
    share.value.forEach((byte, at) => (secret[at]! ^= multiply(byte, weight)));
  }
  return secret;
}

/** `upkeep-share-<set>-<needed>-<index>-<value>-<check>`: fit for paper; the check catches a slip of the pen. */
export function formatShare({ set, needed, index, value }: Share): string {
  const body = `upkeep-share-${set}-${needed}-${index}-${toHex(value)}`;
  return `${body}-${sha256Hex(Buffer.from(body)).slice(0, 8)}`;
}

/** Errors: `signing/bad-share`. */
export function parseShare(text: string): Share {
  const match = /^(upkeep-share-([0-9a-f]{8})-(\d{1,3})-(\d{1,3})-([0-9a-f]{2,128}))-([0-9a-f]{8})$/.exec(
    text.trim(),
  );
  if (
    match === null ||
    !equalBytes(Buffer.from(sha256Hex(Buffer.from(match[1]!)).slice(0, 8)), Buffer.from(match[6]!))
  ) {
    throw new SigningError("signing/bad-share", "The share was mistyped: its check digits do not fit.");
  }
  return { set: match[2]!, needed: Number(match[3]), index: Number(match[4]), value: fromHex(match[5]!) };
}
