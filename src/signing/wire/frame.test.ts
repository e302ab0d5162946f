// Frames and messages out of a byte stream, however it is cut.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { encodeFrame, FrameReader, gather, HEADER, MAX_PAYLOAD, type Frame } from "./frame.ts";
import { encodeMessage, MessageReader, parseCall } from "./protocol.ts";

const data = (length: number): Uint8Array =>
  encodeFrame({ type: "data", session: 7n, payload: new Uint8Array(length).fill(5) });
const read = (reader: FrameReader, bytes: Uint8Array, step: number): Frame[] => {
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; at += step) frames.push(...reader.push(bytes.slice(at, at + step)));
  return frames;
};

describe("frames", () => {
  for (const step of [1, 2, HEADER, 511, 512, 513, 4096, 65_536, 1_000_000]) {
    it(`are the same in parts of ${step} bytes`, () => {
      const whole = new Uint8Array(Buffer.concat([data(MAX_PAYLOAD), data(0), data(1), data(5000)]));
      const frames = read(new FrameReader(), whole, step);
      assert.deepEqual(
        frames.map(({ payload }) => payload.length),
        [MAX_PAYLOAD, 0, 1, 5000],
      );
      assert.ok(
        frames.every(({ payload, session }) => session === 7n && payload.every((byte) => byte === 5)),
      );
    });
  }

  it("are at most 64 KiB, and one byte more is refused by the header alone", () => {
    assert.throws(() => data(MAX_PAYLOAD + 1), { code: "signing/bad-frame" });
    const header = data(0);
    new DataView(header.buffer).setUint32(9, MAX_PAYLOAD + 1);
    assert.throws(() => read(new FrameReader(), header, 1), { code: "signing/bad-frame" });
  });

  it("that come byte by byte and never end are kept in few pieces, not in one for each byte", () => {
    const parts: Uint8Array[] = [];
    for (let i = 0; i < 60_000; i++) gather(parts, Uint8Array.of(i & 255));
    assert.ok(parts.length <= 16, `${parts.length} pieces`);
    assert.ok(Buffer.concat(parts).every((byte, i) => byte === (i & 255)));
    const large: Uint8Array[] = [];
    for (const length of [60_000, 1, 600, 1]) gather(large, new Uint8Array(length));
    assert.deepEqual(
      large.map(({ length }) => length),
      [60_000, 1, 601],
    );
  });
});

describe("messages", () => {
  it("are the same byte by byte", () => {
    const reader = new MessageReader();
    const message = { seq: 3, type: "sign", envelope: "A".repeat(100_000) } as const;
    const got: Uint8Array[] = [];
    for (const byte of encodeMessage(message)) got.push(...reader.push(Uint8Array.of(byte)));
    assert.deepEqual(got.map(parseCall), [message]);
  });
});
