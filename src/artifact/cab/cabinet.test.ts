// Cabinets with something hidden where no digest looks.

import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { concat, toUtf8 } from "../../core/bytes.ts";
import { tinyCab } from "../../testing/tiny-windows-files.ts";
import { ArtifactError } from "../errors.ts";
import { writeRewrite } from "../rewrite.ts";
import { bytesSource, MemorySink } from "../source.ts";
import { attachToCabinet, cabinetDigest, readCabinet } from "./cabinet.ts";

const plain = tinyCab("a.txt", toUtf8("hello"));
let signed: Uint8Array;

before(async () => {
  const sink = new MemorySink();
  await writeRewrite(
    bytesSource(plain),
    attachToCabinet(await readCabinet(bytesSource(plain)), new Uint8Array(100).fill(7)),
    sink,
  );
  signed = sink.bytes;
});

const edited = (edit: (view: DataView) => void): Uint8Array => {
  const bytes = signed.slice();
  edit(new DataView(bytes.buffer));
  return bytes;
};

/** `plain` with `reserve` behind its header, as cabarc -s makes it. */
const reserved = (reserve: Uint8Array, folder = 0): Uint8Array => {
  const by = 4 + reserve.length;
  const bytes = concat([
    plain.subarray(0, 36),
    Uint8Array.of(reserve.length & 255, reserve.length >> 8, folder, 0),
    reserve,
    plain.subarray(36),
  ]);
  const view = new DataView(bytes.buffer);
  for (const at of [8, 16, 36 + by]) view.setUint32(at, view.getUint32(at, true) + by, true);
  view.setUint16(30, 4, true);
  return bytes;
};

describe("a cabinet with reserved fields of its own", () => {
  for (const size of [0, 3, 20, 6144]) {
    it(`(${size} empty bytes) is signed as if it had none`, async () => {
      const source = bytesSource(reserved(new Uint8Array(size)));
      const sink = new MemorySink();
      const cabinet = await readCabinet(source);
      assert.equal(cabinet.signature, null);
      await writeRewrite(source, attachToCabinet(cabinet, new Uint8Array(100).fill(7)), sink);
      assert.deepEqual(sink.bytes, signed);
    });
  }

  it("is left alone when something stands in them, or in those of folders and data", async () => {
    const data = new Uint8Array(20).with(7, 1);
    for (const bytes of [reserved(data), reserved(new Uint8Array(8), 2)])
      await assert.rejects(readCabinet(bytesSource(bytes)), { code: "artifact/unsupported" });
  });
});

describe("reading cabinets", () => {
  it("hashes a cabinet the same before and after it is signed", async () => {
    const digests = [plain, signed].map(async (bytes) => {
      const source = bytesSource(bytes);
      return cabinetDigest(source, await readCabinet(source), "sha256");
    });
    const [a, b] = await Promise.all(digests);
    assert.deepEqual(a, b);
  });

  it("refuses fields that no digest covers and that are not what they have to be", async () => {
    const rows: readonly (readonly [string, number, number])[] = [
      ["artifact/malformed", 4, 1],
      ["artifact/unsupported", 34, 1],
      ["artifact/unsupported", 36, 24],
      ["artifact/unsupported", 38, 1],
      ["artifact/unsupported", 40, 0],
      ["artifact/malformed", 44, 70],
      ["artifact/malformed", 52, 1],
    ];
    for (const [code, at, value] of rows) {
      const bytes = edited((view) =>
        at < 40 ? view.setUint16(at, value, true) : view.setUint32(at, value, true),
      );
      await assert.rejects(readCabinet(bytesSource(bytes)), { code }, `field at ${at}`);
    }
  });

  it("refuses one that was cut off, or has something behind its end", async () => {
    for (const bytes of [plain, signed]) {
      await assert.rejects(readCabinet(bytesSource(bytes.subarray(0, bytes.length - 1))), {
        code: "artifact/truncated",
      });
      await assert.rejects(readCabinet(bytesSource(concat([bytes, Uint8Array.of(0)]))), {
        code: "artifact/trailing-bytes",
      });
    }
    for (const length of [0, 3, 20, 35, 50]) {
      await assert.rejects(readCabinet(bytesSource(signed.subarray(0, length))), ArtifactError);
    }
  });

  it("refuses a cabinet of a set", async () => {
    for (const flag of [1, 2]) {
      const bytes = edited((view) => view.setUint16(30, 4 | flag, true));
      await assert.rejects(readCabinet(bytesSource(bytes)), { code: "artifact/unsupported" });
    }
  });
});
