// The text form of one-time code secrets, read back: what an authenticator app does with the URI it is shown.

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
