// Frames between client, gateway and signer: a 13-byte header that can be judged before anything is read.

import { SigningError } from "../errors.ts";

/** type (1) || session (8, big-endian) || length (4, big-endian) */
export const HEADER = 13;
export const MAX_PAYLOAD = 64 * 1024;

export const FRAME_TYPES = {
  /** client -> gateway: which signer is wanted. signer -> gateway: who I am. */
  hello: 1,
  /** gateway -> both: paired; from here on only data. */
  open: 2,
  data: 3,
  close: 4,
  /** Keeps an idle connection known to be alive. */
  ping: 5,
} as const;
export type FrameType = keyof typeof FRAME_TYPES;

export type Frame = { readonly type: FrameType; readonly session: bigint; readonly payload: Uint8Array };

const NAMES = new Map<number, FrameType>(
  Object.entries(FRAME_TYPES).map(([name, n]) => [n, name as FrameType]),
);
/** Everything but data is small. */
const MAX_CONTROL = 1024;

export function encodeFrame({ type, session, payload }: Frame): Uint8Array {
  if (payload.length > MAX_PAYLOAD) throw bad(`a frame of ${payload.length} bytes`);
  const bytes = new Uint8Array(HEADER + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, FRAME_TYPES[type]);
  view.setBigUint64(1, session);
  view.setUint32(9, payload.length);
  bytes.set(payload, HEADER);
  return bytes;
}

/** Parts smaller than this are put together, up to a block of so many bytes. */
const SMALL = 512;
const BLOCK = 4096;

/**
 * Adds a part to what is still incomplete. A sender who cuts his bytes into single ones must not make a hundred bytes of memory of each,
 * so small parts are copied together.
 */
export function gather(parts: Uint8Array[], part: Uint8Array): void {
  const last = parts.at(-1);
  if (last === undefined || part.length >= SMALL || last.length >= BLOCK) parts.push(part);
  else parts[parts.length - 1] = new Uint8Array(Buffer.concat([last, part]));
}

/** Cuts a byte stream into frames. A bad header is refused before its payload is waited for. */
export class FrameReader {
  #parts: Uint8Array[] = [];
  #buffered = 0;

  /** Bytes of a frame that began but did not end. */
  get unfinished(): number {
    return this.#buffered;
  }

  /** Bytes that came after the last whole frame, for whoever reads on. */
  rest(): Uint8Array {
    const rest = new Uint8Array(Buffer.concat(this.#parts));
    this.#parts = [];
    this.#buffered = 0;
    return rest;
  }

  /** Errors: `signing/bad-frame`. */
  *push(part: Uint8Array): Generator<Frame> {
    gather(this.#parts, part);
    this.#buffered += part.length;
    for (;;) {
      if (this.#buffered < HEADER) return;
      const header = this.#peek();
      const view = new DataView(header.buffer, header.byteOffset, HEADER);
      const type = NAMES.get(view.getUint8(0));
      const length = view.getUint32(9);
      if (type === undefined) throw bad("a frame of unknown type");
      if (length > (type === "data" ? MAX_PAYLOAD : MAX_CONTROL))
        throw bad(`a ${type} frame that announces ${length} bytes`);
      if (this.#buffered < HEADER + length) return;
      const whole = this.#take(HEADER + length);
      yield { type, session: view.getBigUint64(1), payload: whole.subarray(HEADER) };
    }
  }

  #peek(): Uint8Array {
    if (this.#parts[0]!.length < HEADER) this.#join();
    return this.#parts[0]!;
  }

  #take(length: number): Uint8Array {
    if (this.#parts[0]!.length < length) this.#join();
    const first = this.#parts[0]!;
    const taken = first.subarray(0, length);
    if (first.length === length) this.#parts.shift();
    else this.#parts[0] = first.subarray(length);
    this.#buffered -= length;
    return taken;
  }

  #join(): void {
    this.#parts = [new Uint8Array(Buffer.concat(this.#parts))];
  }
}

function bad(what: string): SigningError {
  return new SigningError("signing/bad-frame", `The connection was closed: it carried ${what}.`);
}
