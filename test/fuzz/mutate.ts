// Damaged copies of good input, the same for the same seed: bits, bytes, blocks, and bits of its own language.

/** A small generator of numbers in [0, 1) (mulberry32); fuzzing must be repeatable, not unpredictable. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const TOKENS = [
  "{",
  "}",
  "[",
  "]",
  '"',
  ",",
  ":",
  "\\u0000",
  "null",
  "-1",
  "0",
  "1e9",
  "9007199254740993",
  "../",
  "__proto__",
  "\0",
  "\ufeff",
  "é",
  "ff",
  "==",
];

/** One to four changes. */
export function mutate(input: Uint8Array, random: () => number): Uint8Array {
  let bytes = Buffer.from(input);
  const at = (): number => Math.floor(random() * (bytes.length + 1));
  for (let changes = 1 + Math.floor(random() * 4); changes > 0; changes--) {
    const [a, b] = [at(), at()].sort((x, y) => x - y) as [number, number];
    switch (Math.floor(random() * 8)) {
      case 0:
        if (a < bytes.length) bytes[a]! ^= 1 << Math.floor(random() * 8);
        break;
      case 1:
        if (a < bytes.length) bytes[a] = Math.floor(random() * 256);
        break;
      case 2:
        bytes = Buffer.concat([
          bytes.subarray(0, a),
          bytes.subarray(Math.min(b, a + 1 + Math.floor(random() * 16))),
        ]);
        break;
      case 3:
        bytes = bytes.subarray(0, a);
        break;
      case 4: {
        const block = bytes.subarray(a, Math.min(b, a + 64));
        const to = at();
        bytes = Buffer.concat([bytes.subarray(0, to), block, bytes.subarray(to)]);
        break;
      }
      case 5:
      case 6: {
        const token = Buffer.from(TOKENS[Math.floor(random() * TOKENS.length)]!);
        bytes = Buffer.concat([
          bytes.subarray(0, a),
          token,
          bytes.subarray(random() < 0.5 ? a : Math.min(a + token.length, bytes.length)),
        ]);
        break;
      }
      default: {
        const other = at();
        if (a < bytes.length && other < bytes.length) [bytes[a], bytes[other]] = [bytes[other]!, bytes[a]!];
      }
    }
  }
  return new Uint8Array(bytes);
}
