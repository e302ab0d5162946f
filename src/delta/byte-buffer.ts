// Bytes that grow at the end, and the two spellings of whole numbers in patches.

/** A growing run of bytes. */
export class ByteBuffer {
  #bytes = new Uint8Array(64 * 1024);
  length = 0;

  byte(value: number): void {
    if (this.length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.length++] = value;
  }

  put(part: Uint8Array): void {
    if (this.length + part.length > this.#bytes.length) this.#grow(part.length);
    this.#bytes.set(part, this.length);
    this.length += part.length;
  }

  /** LEB128: seven bits a byte, lowest first. */
  varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.byte((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    this.byte(rest);
  }

  /** 0, -1, 1, -2, … become 0, 1, 2, 3, … */
  signed(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  /** A view, good until the next change. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  clear(): void {
    this.length = 0;
  }

  #grow(more: number): void {
    const next = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + more));
    next.set(this.#bytes.subarray(0, this.length));
    this.#bytes = next;
  }
}
