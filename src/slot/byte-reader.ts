// Reads a byte stream in exact pieces, for parsers that go forward only.

/** Pulls from `source`; never holds more than one of its parts beyond what was asked for. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #part: Uint8Array = new Uint8Array(0);
  position = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Exactly `length` bytes, or fewer at the end of the stream. */
  async take(length: number): Promise<Uint8Array> {
    const out = new Uint8Array(length);
    let got = 0;
    while (got < length) {
      const part = await this.some(length - got);
      if (part === null) return out.subarray(0, got);
      out.set(part, got);
      got += part.length;
    }
    return out;
  }

  /** Between 1 and `limit` bytes, or null at the end. */
  async some(limit: number): Promise<Uint8Array | null> {
    while (this.#part.length === 0) {
      const next = await this.#source.next();
      if (next.done === true) return null;
      this.#part = next.value;
    }
    const piece = this.#part.subarray(0, limit);
    this.#part = this.#part.subarray(piece.length);
    this.position += piece.length;
    return piece;
  }

  /** Lets the source free what it holds. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }
}
