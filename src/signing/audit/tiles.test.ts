// Tests of the tile tree and of the Merkle proofs.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toHex, toUtf8 } from "../../core/bytes.ts";
import { merkleLeaf, merkleRoot } from "../../core/digest.ts";
import { verifyConsistency, verifyInclusion } from "./proof.ts";
import { entryBundle, tilePath, TileTree } from "./tiles.ts";

const leaves = Array.from({ length: 700 }, (_, i) => merkleLeaf(toUtf8(`entry ${i}`)));
const rootOf = (size: number): Uint8Array => merkleRoot(leaves.slice(0, size));

function treeOf(size: number): TileTree {
  const stored = new Map<string, Uint8Array>();
  const tree = new TileTree(async (level, index) => stored.get(`${level}/${index}`)!);
  for (const leaf of leaves.slice(0, size)) {
    tree.push(leaf);
    for (const tile of tree.take()) stored.set(`${tile.level}/${tile.index}`, tile.hashes);
  }
  return tree;
}

describe("the tile tree", () => {
  it("names tiles as C2SP tlog-tiles does", () => {
    assert.equal(tilePath(0, 1234067), "tile/0/x001/x234/067");
    assert.equal(tilePath("entries", 5, 112), "tile/entries/005.p/112");
    assert.deepEqual(entryBundle([toUtf8("ab"), new Uint8Array(0)]), Uint8Array.of(0, 2, 0x61, 0x62, 0, 0));
  });

  it("has the RFC 6962 root at every size", () => {
    const tree = new TileTree(() => Promise.reject(new Error("nothing stored")));
    for (let size = 0; size <= leaves.length; size++) {
      assert.equal(toHex(tree.root()), toHex(rootOf(size)), `size ${size}`);
      if (size < leaves.length) tree.push(leaves[size]!);
    }
  });

  it("proves inclusion of each entry at tile borders, and of none at another place", async () => {
    const sizes = [1, 2, 3, 7, 255, 256, 257, 511, 512, 513, 700];
    const tree = treeOf(700);
    for (const size of sizes) {
      const root = rootOf(size);
      for (const index of [0, 1, 2, 5, 254, 255, 256, 257, 300, 511, 512, 699].filter((i) => i < size)) {
        const proof = await tree.inclusion(index, size);
        assert.ok(verifyInclusion(leaves[index]!, index, size, proof, root), `${index} of ${size}`);
        if (size > 1) {
          assert.ok(!verifyInclusion(leaves[index]!, (index + 1) % size, size, proof, root));
          assert.ok(!verifyInclusion(leaves[(index + 1) % size]!, index, size, proof, root));
        }
      }
    }
  });

  it("proves that a later tree continues an earlier one, and no other", async () => {
    const tree = treeOf(700);
    for (const [from, to] of [
      [1, 2],
      [3, 7],
      [4, 8],
      [255, 256],
      [256, 700],
      [257, 513],
      [512, 700],
      [699, 700],
      [700, 700],
    ] as const) {
      const proof = await tree.consistency(from, to);
      assert.ok(verifyConsistency(from, rootOf(from), to, rootOf(to), proof), `${from} to ${to}`);
      assert.ok(!verifyConsistency(from, rootOf(from === 1 ? 2 : from - 1), to, rootOf(to), proof));
    }
  });

  it("continues from stored tiles as if it had never stopped", async () => {
    const stored = new Map<string, Uint8Array>();
    const read = async (level: number, index: number): Promise<Uint8Array> =>
      stored.get(`${level}/${index}`)!;
    const first = new TileTree(read);
    for (const leaf of leaves.slice(0, 600)) first.push(leaf);
    for (const tile of first.take()) stored.set(`${tile.level}/${tile.index}`, tile.hashes);
    const second = new TileTree(read);
    await second.restore(600, leaves.slice(512, 600));
    assert.equal(toHex(second.root()), toHex(rootOf(600)));
    for (const leaf of leaves.slice(600)) second.push(leaf);
    assert.equal(toHex(second.root()), toHex(rootOf(700)));
    const proof = await second.inclusion(3, 700);
    assert.ok(verifyInclusion(leaves[3]!, 3, 700, proof, rootOf(700)));
  });
});
