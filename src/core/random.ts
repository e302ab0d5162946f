// Randomness as a port: nouns never draw by themselves.

export interface Random {
  /** `length` unpredictable bytes. */
  bytes(length: number): Uint8Array;
}

/** Uniform in [0, 1) with 48 bits, for jitter. */
export function fraction(random: Random): number {
  let value = 0;
  for (const byte of random.bytes(6)) value = value * 256 + byte;
  return value / 2 ** 48;
}
