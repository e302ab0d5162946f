// A program of 2 GiB is signed and verified in the memory that a small one needs; one beyond 4 GiB is refused before anything is read.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ArtifactError } from "../../src/artifact/errors.ts";
import { peFormat } from "../../src/artifact/pe/format.ts";
import type { ByteSink, ByteSource } from "../../src/artifact/source.ts";
import { signAuthenticode } from "../../src/artifact/authenticode-sign.ts";
import { publisherPki } from "../../src/testing/publisher-pki.ts";
import { tinyPe } from "../../src/testing/tiny-pe.ts";

const GIB = 1024 ** 3;

/** A file that is zero but for a few pieces: it takes no room on any disk. */
class SparseFile implements ByteSource, ByteSink {
  size: number;
  readonly #pieces = new Map<number, Uint8Array>();
  reads = 0;

  constructor(size: number, head: Uint8Array) {
    this.size = size;
    if (head.length > 0) this.#pieces.set(0, head);
  }

  async read(position: number, into: Uint8Array): Promise<void> {
    this.reads++;
    into.fill(0);
    for (const [at, piece] of this.#pieces) {
      const [from, to] = [Math.max(at, position), Math.min(at + piece.length, position + into.length)];
      if (from < to) into.set(piece.subarray(from - at, to - at), from - position);
    }
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    this.size = Math.max(this.size, position + bytes.length);
    const [first] = [...this.#pieces].filter(
      ([at, piece]) => position >= at && position + bytes.length <= at + piece.length,
    );
    if (first !== undefined) first[1].set(bytes, position - first[0]);
    else if (bytes.subarray(0, 65_536).some((byte) => byte !== 0)) this.#pieces.set(position, bytes.slice());
  }

  async truncate(size: number): Promise<void> {
    this.size = size;
  }
}

describe("large programs", () => {
  it("of 2 GiB are signed and verified in constant memory", async () => {
    const pki = await publisherPki({ now: Date.now(), key: "p256" });
    const source = new SparseFile(2 * GIB + 5, tinyPe());
    const sink = new SparseFile(0, new Uint8Array(0));
    const before = process.memoryUsage.rss();
    let peak = before;
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage.rss());
    }, 20);
    await peFormat.sign({
      source,
      sink,
      mode: "new",
      hash: "sha256",
      makeSignature: async (what) => {
        assert.equal(what.kind, "authenticode");
        if (what.kind !== "authenticode") throw new Error("another kind of signature was asked for");
        return signAuthenticode({
          indirectData: what.indirectData,
          hash: what.hash,
          certificate: pki.leaf.certificate,
          chain: [pki.authority.certificate],
          signer: pki.leaf.signer,
        });
      },
    });
    const report = await peFormat.verify(sink, { roots: [pki.root.certificate], now: Date.now() });
    clearInterval(watch);
    assert.deepEqual(report.findings, []);
    assert.ok(report.valid);
    assert.ok(sink.size > 2 * GIB + 8);
    assert.ok(peak - before < 64 * 1024 * 1024, `grew by ${Math.round((peak - before) / 1024 / 1024)} MiB`);
  });

  it("beyond 4 GiB are refused, in words, before anything is read", async () => {
    const source = new SparseFile(4 * GIB, tinyPe());
    await assert.rejects(
      peFormat.verify(source, { roots: [], now: Date.now() }),
      (error) =>
        error instanceof ArtifactError && error.code === "artifact/too-large" && /4 GiB/.test(error.message),
    );
    assert.equal(source.reads, 0);
  });
});
