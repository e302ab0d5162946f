// Tests of making a repository whole again: lost and torn files, expired roles, fast-forward, a stolen targets key.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { DAY } from "../../core/instant.ts";
import { FOLDER, OperatorWorld } from "../../testing/operator-world.ts";
import { findKeyid, replaceKey, rolesOfKey } from "./key-changes.ts";
import { productDelegation } from "./new-repository.ts";
import { assemble } from "./publication.ts";
import { recoverPublished, redoRecovered, type Recovered } from "./recovery.ts";
import { promote } from "./promote.ts";
import {
  parseRequest,
  partsOf,
  requestFor,
  signRequest,
  withSignatures,
  writeRequest,
} from "./signing-request.ts";
import { touchDue } from "./status.ts";
import { memoryStore } from "../client/store.ts";

async function withShop(): Promise<OperatorWorld> {
  const world = new OperatorWorld();
  await world.create();
  await world.release("1.0.0");
  await promote(world.releases, "shop", "1.0.0", "stable");
  return world;
}

/** What `repo recover` does, with the online key replaced when numbers were lost. */
async function recover(
  world: OperatorWorld,
  replace: readonly string[] = [],
  atMost = new Map<string, number>(),
) {
  const found = await recoverPublished(world.disk, FOLDER, atMost);
  const keys = new Set([...replace, ...(found.numbersLost ? ["online"] : [])]);
  const outcome = await world.publisher().change(async (draft) => {
    for (const name of keys) {
      const old = await findKeyid(draft, name);
      await replaceKey(draft, await rolesOfKey(draft, old), old, world.key(`${name}-r2`));
    }
    await touchDue(draft, world.clock.now());
    await redoRecovered(draft, found);
  }, found.published);
  assert.equal(outcome.kind, "published");
  return found;
}

const versionOf = (found: Recovered, role: string) => found.chosen.find((one) => one.role === role)?.version;

describe("recovery", () => {
  it("from an expired repository is one signature of each role, and old devices follow", async () => {
    const world = await withShop();
    const store = memoryStore();
    await world.device(store).refresh();
    world.clock.setWall(world.clock.now() + 800 * DAY);
    await assert.rejects(world.device(store).refresh(), { code: "repository/expired" });
    await recover(world);
    assert.equal((await world.device(store).refresh()).root, 2);
    assert.notEqual(await world.device().target("products/shop/1.0.0/release.json"), null);
  });

  it("from a torn timestamp and a lost snapshot keeps every release", async () => {
    const world = await withShop();
    const store = memoryStore();
    await world.device(store).refresh();
    const { snapshot } = await world.publisher().read();
    world.disk.tamper(`${FOLDER}/metadata/timestamp.json`, (bytes) => bytes.subarray(0, 40));
    await world.disk.removeFile(`${FOLDER}/metadata/${snapshot.signed.version}.snapshot.json`);
    await assert.rejects(world.publisher().read(), { code: "publisher/inconsistent" });
    const found = await recover(world);
    assert.equal(found.numbersLost, true);
    await world.device(store).refresh();
    assert.notEqual(await world.device(store).target("products/shop/1.0.0/release.json"), null);
    await world.release("1.1.0");
  });

  it("passes over a file that does not verify and takes the version before", async () => {
    const world = await withShop();
    const store = memoryStore();
    await world.device(store).refresh();
    const { snapshot } = await world.publisher().read();
    const version = snapshot.signed.meta.get("product.shop")!.version;
    world.disk.tamper(`${FOLDER}/metadata/${version}.product.shop.json`, (bytes) => {
      bytes[bytes.length - 40]! ^= 1;
      return bytes;
    });
    const found = await recover(world);
    assert.deepEqual(found.chosen.find((one) => one.role === "product.shop")?.unusable, [version]);
    assert.equal(versionOf(found, "product.shop"), version - 1);
    // Devices that saw the lost version take the repaired one, which has a higher number.
    await world.device(store).refresh();
  });

  it("from a fast-forward attack begins low again under a new online key (T1d)", async () => {
    const world = await withShop();
    const store = memoryStore();
    const published = await world.publisher().read();
    const forged = await assemble(
      { ...published, highest: () => 2 ** 53 - 2 },
      [],
      world.ring,
      world.clock.now(),
    );
    for (const { name, bytes } of forged.files) {
      const file = await world.disk.open(`${FOLDER}/metadata/${name}`, "write");
      await file.truncate(0);
      await file.write(0, bytes);
      await file.close();
    }
    assert.equal((await world.device(store).refresh()).snapshot, 2 ** 53 - 1);
    const found = await recover(world);
    assert.equal(found.numbersLost, true);
    const after = await world.device(store).refresh();
    assert.ok(after.snapshot < 1000, `snapshot ${after.snapshot}`);
    assert.notEqual(await world.device(store).target("products/shop/1.0.0/release.json"), null);
  });

  it("from a stolen targets key goes back to the last good version under a new key (T2)", async () => {
    const world = await withShop();
    const store = memoryStore();
    const good = (await world.publisher().read()).snapshot.signed.meta.get("targets")!.version;
    // The thief names himself as the one who signs a product.
    const { role, keys } = productDelegation("shop", { keys: [world.key("thief")], threshold: 1 });
    await world.publisher().change((draft) => draft.delegate("targets", role, keys));
    await world.device(store).refresh();
    const found = await recover(world, ["targets"], new Map([["targets", good]]));
    assert.equal(versionOf(found, "targets"), good);
    await world.device(store).refresh();
    const draft = await world.look();
    const [shop] = await draft.delegatedRoles();
    assert.deepEqual(shop!.keyids, [world.key("products").key.keyid]);
    assert.notEqual(await world.device(store).target("products/shop/1.0.0/release.json"), null);
    world.keys.delete("targets");
    world.keys.delete("thief");
    await world.release("1.1.0");
  });

  it("of a lost root key is a change that the others sign (quorum left)", async () => {
    const world = await withShop();
    const store = memoryStore();
    await world.device(store).refresh();
    world.keys.delete("root-1");
    const outcome = await world.publisher().change(async (draft) => {
      const old = await findKeyid(draft, "root-1");
      await replaceKey(draft, ["root"], old, world.key("root-4"));
    });
    assert.equal(outcome.kind, "published");
    assert.equal((await world.device(store).refresh()).root, 2);
  });

  it("from an old copy goes above the numbers that were published, so that devices follow", async () => {
    const world = await withShop();
    const store = memoryStore();
    const old = world.at(world.disk.clone());
    await world.release("1.1.0");
    await world.publisher().change((draft) => draft.touch("targets"));
    await world.device(store).refresh();
    const { timestamp, snapshot } = await world.publisher().read();
    const known = new Map([
      ["timestamp", timestamp.signed.version],
      ["snapshot", snapshot.signed.version],
      ...[...snapshot.signed.meta].map(([role, { version }]) => [role, version] as const),
    ]);
    await assert.rejects(world.device(store, old.disk).refresh(), { code: "repository/rollback" });
    const found = await recoverPublished(old.disk, FOLDER, new Map(), known);
    assert.equal(found.numbersLost, false);
    await old.publisher().change((draft) => redoRecovered(draft, found).then(() => {}), found.published);
    await world.device(store, old.disk).refresh();
    assert.notEqual(await world.device(store, old.disk).target("products/shop/1.0.0/release.json"), null);
  });

  it("can wait for root keys that are elsewhere", async () => {
    const world = await withShop();
    const store = memoryStore();
    await world.device(store).refresh();
    const away = world.at(world.disk);
    for (const name of ["root-1", "root-2", "root-3"]) world.keys.delete(name);
    world.disk.tamper(`${FOLDER}/metadata/timestamp.json`, () => toUtf8("torn"));
    const found = await recoverPublished(world.disk, FOLDER);
    const outcome = await world.publisher().change(async (draft) => {
      const old = await findKeyid(draft, "online");
      await replaceKey(draft, await rolesOfKey(draft, old), old, world.key("online-r2"));
      await redoRecovered(draft, found);
    }, found.published);
    assert.ok(outcome.kind === "waiting");
    const made = await requestFor(outcome.published, outcome.parts, "recover", world.clock.now(), new Map());
    const request = parseRequest(writeRequest(made));
    const signed = withSignatures(request, await signRequest(request, away.ring));
    const base = (await recoverPublished(world.disk, FOLDER, signed.recovery!)).published;
    const done = await world.publisher().complete((published) => partsOf(signed, published), base);
    assert.equal(done.kind, "published");
    assert.equal((await world.device(store).refresh()).root, 2);
  });

  it("says so when nothing of a role can be used", async () => {
    const world = await withShop();
    for (const name of await world.disk.list(`${FOLDER}/metadata`))
      if (name.endsWith(".targets.json")) world.disk.tamper(`${FOLDER}/metadata/${name}`, () => toUtf8("{}"));
    await assert.rejects(recoverPublished(world.disk, FOLDER), { code: "publisher/inconsistent" });
  });
});
