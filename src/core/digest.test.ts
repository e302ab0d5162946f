// Digests against published values, and the Merkle tree against the definition of RFC 6962.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { fromHex, toHex, toUtf8 } from "./bytes.ts";
import {
  digestsOf,
  merkleLeaf,
  merkleNode,
  merkleRoot,
  RunningDigests,
  RunningMerkle,
  sha256,
  sha256Hex,
} from "./digest.ts";

/** RFC 6962 section 2.1, as written: split at the largest power of two below n. */
function definition(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return sha256(new Uint8Array(0));
  if (leaves.length === 1) return leaves[0]!;
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  return merkleNode(definition(leaves.slice(0, k)), definition(leaves.slice(k)));
}

describe("digests", () => {
  it("are those of FIPS 180-4 for abc", () => {
    const { sha256, sha512 } = digestsOf(toUtf8("abc"));
    assert.equal(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert.match(sha512, /^ddaf35a193617abacc417349ae204131/);
  });

  it("run over parts as over the whole", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }), (parts) => {
        const running = new RunningDigests();
        for (const part of parts) running.update(part);
        const whole = Uint8Array.from(parts.flatMap((part) => [...part]));
        assert.equal(running.length, whole.length);
        assert.deepEqual(running.digests(), digestsOf(whole));
      }),
    );
  });
});

describe("the Merkle root", () => {
  it("is that of RFC 6962 for any number of leaves", () => {
    for (let n = 0; n <= 40; n++) {
      const leaves = Array.from({ length: n }, (_, i) => merkleLeaf(Uint8Array.of(i)));
      assert.equal(toHex(merkleRoot(leaves)), toHex(definition(leaves)), `${n} leaves`);
    }
  });

  it("of one empty leaf is the published vector", () => {
    assert.equal(
      toHex(merkleRoot([merkleLeaf(fromHex(""))])),
      "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    );
  });

  it("does not depend on how the stream was cut", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 100 }),
        fc.integer({ min: 1, max: 17 }),
        fc.integer({ min: 1, max: 13 }),
        (bytes, piece, cut) => {
          const running = new RunningMerkle(piece);
          for (let at = 0; at < bytes.length; at += cut) running.update(bytes.subarray(at, at + cut));
          const leaves = [];
          for (let at = 0; at < bytes.length; at += piece)
            leaves.push(merkleLeaf(bytes.subarray(at, at + piece)));
          assert.equal(running.rootHex(), toHex(merkleRoot(leaves)));
        },
      ),
    );
  });

  it("tells a leaf from a node", () => {
    const [a, b] = [merkleLeaf(Uint8Array.of(1)), merkleLeaf(Uint8Array.of(2))];
    const joined = new Uint8Array([...a, ...b]);
    assert.notEqual(toHex(merkleRoot([a, b])), toHex(merkleLeaf(joined)));
    assert.notEqual(toHex(merkleRoot([a, b])), sha256Hex(joined));
  });
});
