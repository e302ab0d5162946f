// RC2 in CBC mode, decryption only (RFC 2268): old PKCS#12 files hide their certificates with it, and no library here has it any more.

import { fromHex } from "../core/bytes.ts";

/** RFC 2268 section 2: the digits of pi, permuted. */
const PI = fromHex(
  "d978f9c419ddb5ed28e9fd794aa0d89dc67e37832b76538e624c6488448bfba2179a59f587b34f1361456d8d09817d32" +
    "bd8f40eb86b77b0bf09521225c6b4e8254d66593ce60b21c7356c014a78cf1dc1275ca1f3bbee4d1423dd430a33cb626" +
    "6fbf0eda4669075727f21d9bbc944303f811c7f690ef3ee706c3d52fc8661ed708e8eade8052eef784aa72ac354d6a2a" +
    "961ad2715a1549744b9fd05e0418a4ecc2e0416e0f51cbcc2491af50a1f47039997c3a8523b8b47afc02365b25559731" +
    "2d5dfa98e38a92ae05df2910676cbac9d300e6cfe19ea82c6316013f58e289a90d38341bab33ffb0bb480c5fb9b1cd2e" +
    "c5f3db47e5a59c770aa62068fe7fc1ad",
);

/** `key` of 5 or 16 octets, all of its bits effective. The padding of PKCS#7 is taken off; null if it is not there. */
export function rc2CbcDecrypt(key: Uint8Array, iv: Uint8Array, data: Uint8Array): Uint8Array | null {
  if (data.length === 0 || data.length % 8 !== 0 || iv.length !== 8) return null;
  const words = expand(key);
  const out = new Uint8Array(data.length);
  let previous = iv;
  for (let at = 0; at < data.length; at += 8) {
    const block = data.subarray(at, at + 8);
    const plain = decryptBlock(words, block);
    for (let i = 0; i < 8; i++) out[at + i] = plain[i]! ^ previous[i]!;
    previous = block;
  }
  const padding = out[out.length - 1]!;
  if (padding < 1 || padding > 8 || out.subarray(out.length - padding).some((byte) => byte !== padding))
    return null;
  return out.subarray(0, out.length - padding);
}

/** RFC 2268 section 2. */
function expand(key: Uint8Array): Uint16Array {
  const l = new Uint8Array(128);
  l.set(key);
  const t = key.length;
  for (let i = t; i < 128; i++) l[i] = PI[(l[i - 1]! + l[i - t]!) & 0xff]!;
  l[128 - t] = PI[l[128 - t]!]!;
  for (let i = 127 - t; i >= 0; i--) l[i] = PI[l[i + 1]! ^ l[i + t]!]!;
  return Uint16Array.from({ length: 64 }, (_, i) => l[2 * i]! | (l[2 * i + 1]! << 8));
}

/** RFC 2268 section 4. */
function decryptBlock(k: Uint16Array, block: Uint8Array): Uint8Array {
  const r = [0, 1, 2, 3].map((i) => block[2 * i]! | (block[2 * i + 1]! << 8));
  const turn = [1, 2, 3, 5];
  let j = 63;
  const unmix = (): void => {
    for (let i = 3; i >= 0; i--) {
      const s = turn[i]!;
      const rotated = ((r[i]! >>> s) | (r[i]! << (16 - s))) & 0xffff;
      r[i] =
        (rotated - k[j--]! - (r[(i + 3) & 3]! & r[(i + 2) & 3]!) - (~r[(i + 3) & 3]! & r[(i + 1) & 3]!)) &
        0xffff;
    }
  };
  const unmash = (): void => {
    for (let i = 3; i >= 0; i--) r[i] = (r[i]! - k[r[(i + 3) & 3]! & 63]!) & 0xffff;
  };
  for (let round = 0; round < 5; round++) unmix();
  unmash();
  for (let round = 0; round < 6; round++) unmix();
  unmash();
  for (let round = 0; round < 5; round++) unmix();
  return Uint8Array.from(r.flatMap((word) => [word & 0xff, word >> 8]));
}
