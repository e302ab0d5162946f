// What an authenticator app does with a one-time code secret, for tests.

import { setTimeout as sleep } from "node:timers/promises";
import { stepOf } from "../signing/policy/totp.ts";

/** Milliseconds in which a code that was given out is to be used. */
const IN_USE = 10_000;

/**
 * The step of the next code after `used` (-1: none) that is good now and for ten seconds more; waits for it if there is none. A signer takes the
 * codes of the step before and the one after as well, so several can be had at once; the oldest of them is about to end.
 */
export async function nextStep(used: number): Promise<number> {
  while (used > stepOf(Date.now())) await sleep(500);
  return Math.max(used + 1, stepOf(Date.now() + IN_USE) - 1);
}

/** RFC 4648 section 6, without padding. */
export function fromBase32(text: string): Uint8Array {
  let [bits, value] = [0, 0];
  const out: number[] = [];
  for (const c of text) {
    value = ((value << 5) | "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c)) & 0xffff;
    bits += 5;
    if (bits >= 8) {
      out.push((value >> (bits - 8)) & 255);
      bits -= 8;
    }
  }
  return Uint8Array.from(out);
}
