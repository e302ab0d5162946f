// The doctor looks at every file of a repository, those that newer versions replaced included.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { writeAtomic } from "../../core/disk.ts";
import { FOLDER, OperatorWorld } from "../../testing/operator-world.ts";
import { filesBelow, inspectRepository } from "./inspect.ts";
import { findKeyid, replaceKey, rolesOfKey } from "./key-changes.ts";
import { emptyTargets } from "./draft.ts";
import { signMetadata } from "./write-metadata.ts";

/** Two releases, and every key but root's exchanged between them. */
async function rotated(): Promise<OperatorWorld> {
  const world = new OperatorWorld();
  await world.create();
  await world.release("1.0.0");
  await world.publisher().change(async (draft) => {
    for (const name of ["online", "targets", "products"]) {
      const old = await findKeyid(draft, name);
      await replaceKey(draft, await rolesOfKey(draft, old), old, world.key(`${name}-r2`));
    }
  });
  await world.release("1.1.0");
  return world;
}
const findings = async (world: OperatorWorld) =>
  (await inspectRepository(world.disk, FOLDER, world.clock.now())).findings;

describe("the doctor", () => {
  it("is content with earlier versions under keys that were rotated since", async () => {
    assert.deepEqual(await findings(await rotated()), []);
  });

  it("finds one changed bit, three lost bytes, and the loss of what is listed, in any file", async () => {
    const world = await rotated();
    const paths = await filesBelow(world.disk, FOLDER, "");
    assert.ok(paths.filter((path) => /metadata\/\d+\.(snapshot|targets|product)/.test(path)).length > 6);
    for (const path of paths) {
      const file = `${FOLDER}/${path}`;
      const good = await world.disk.read(file, 1 << 24);
      const flipped = good.slice();
      flipped[flipped.length >> 1]! ^= 1;
      for (const bad of [flipped, good.subarray(0, -3)]) {
        await writeAtomic(world.disk, file, bad);
        const found = await findings(world);
        // What newer versions replaced is told; what devices read is an error.
        assert.ok(
          found.some(({ level, what }) => level === "bad" || what === path),
          path,
        );
      }
      await writeAtomic(world.disk, file, good);
    }
    assert.deepEqual(await findings(world), []);
  });

  it("finds an earlier version that a stranger signed, and one under another number", async () => {
    const world = await rotated();
    world.key("stranger");
    const forged = await signMetadata({ ...emptyTargets(), version: 1 }, [world.keys.get("stranger")!]);
    await writeAtomic(world.disk, `${FOLDER}/metadata/1.targets.json`, forged.bytes);
    const [first] = await findings(world);
    assert.equal(first?.what, "metadata/1.targets.json");
    assert.match(first.message, /^no keys that this repository ever trusted for it signed it/);
    const two = await world.disk.read(`${FOLDER}/metadata/2.targets.json`, 1 << 20);
    await writeAtomic(world.disk, `${FOLDER}/metadata/1.targets.json`, two);
    assert.match((await findings(world))[0]!.message, /^it says that it is version 2/);
  });

  it("says what was lost when a repository has no timestamp any more", async () => {
    const world = await rotated();
    await world.disk.removeFile(`${FOLDER}/metadata/timestamp.json`);
    assert.match((await findings(world))[0]!.message, /has lost its timestamp\.json/);
  });
});
