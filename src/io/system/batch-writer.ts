// Writes of one turn of the event loop joined into one: a TLS record, a frame and a system call a message cost more than a small signature.

import type { Writable } from "node:stream";
import { concat } from "../../core/bytes.ts";

export class BatchWriter {
  readonly #stream: Writable;
  readonly #flushed: () => void;
  #waiting = 0;
  #parts: Uint8Array[] = [];
  #due: NodeJS.Immediate | null = null;

  /** `flushed` is called when what waited was handed to the stream. */
  constructor(stream: Writable, flushed: () => void = () => {}) {
    this.#stream = stream;
    this.#flushed = flushed;
  }

  /** Bytes that the stream was not given yet: whoever counts what a stream holds back counts these too. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Written before the event loop turns again; dropped if the stream is gone by then. */
  write(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#waiting += bytes.length;
    this.#due ??= setImmediate(() => this.flush());
  }

  /** Writes at once what waits. */
  flush(): void {
    if (this.#due !== null) clearImmediate(this.#due);
    this.#due = null;
    const parts = this.#parts;
    if (parts.length === 0) return;
    this.#parts = [];
    this.#waiting = 0;
    if (this.#stream.writable) this.#stream.write(parts.length === 1 ? parts[0]! : concat(parts));
    this.#flushed();
  }
}
