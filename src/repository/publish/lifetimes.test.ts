// Lives of roles changed after the beginning, and copies that are carried away with a life of their own.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DAY, HOUR } from "../../core/instant.ts";
import { memorySource } from "../../testing/memory-source.ts";
import { FOLDER, OperatorWorld } from "../../testing/operator-world.ts";
import { mirrorAt, openRepository } from "../client/client.ts";
import { memoryStore, type MetadataStore } from "../client/store.ts";
import { carriedTargets } from "./carried.ts";
import { describeChange } from "./describe-change.ts";
import { lifetimes, setLifetimes } from "./lifetimes.ts";
import { promote } from "./promote.ts";

async function world() {
  const operator = new OperatorWorld();
  await operator.create();
  await operator.release("1.0.0");
  const set = (wanted: { [role: string]: number }) =>
    operator
      .publisher()
      .change(async (draft) => void (await setLifetimes(draft, new Map(Object.entries(wanted)))));
  return { operator, set, start: operator.clock.now() };
}

describe("the lives of roles", () => {
  it("are those of the beginning until they are changed, and hold from the publication that changes them", async () => {
    const { operator, set, start } = await world();
    assert.deepEqual(Object.fromEntries(await lifetimes(await operator.look())), {
      root: 396,
      targets: 396,
      snapshot: 7,
      timestamp: 1,
      "product.shop": 396,
    });
    await set({ timestamp: 7, snapshot: 14, targets: 730, "product.shop": 30, root: 1000 });
    const { expiries } = await operator.device().refresh();
    assert.deepEqual(expiries, {
      root: start + 1000 * DAY,
      targets: start + 730 * DAY,
      snapshot: start + 14 * DAY,
      timestamp: start + 7 * DAY,
    });
    const published = await operator.publisher().read();
    const delegator = await (await operator.look()).publishedDelegator("product.shop");
    assert.equal((await published.role("product.shop", delegator!))!.signed.expires, start + 30 * DAY);
    operator.clock.setWall(start + DAY);
    await operator.publisher().renewOnline(operator.clock.now());
    assert.equal((await operator.device().refresh()).expiries.timestamp, start + 7 * DAY, "not due yet");
    await operator.release("1.1.0");
    assert.equal((await operator.device().refresh()).expiries.timestamp, start + 8 * DAY);
  });

  it("that are made shorter hold at once for what the server signs", async () => {
    const { operator, set, start } = await world();
    await set({ timestamp: 30, snapshot: 30 });
    await set({ timestamp: 1, snapshot: 2 });
    const { expiries } = await operator.device().refresh();
    assert.deepEqual([expiries.timestamp, expiries.snapshot], [start + DAY, start + 2 * DAY]);
  });

  it("are refused for a role that there is not, and beyond their bounds; nothing is published then", async () => {
    const { operator, set } = await world();
    const before = (await operator.publisher().read()).root.signed.version;
    for (const wanted of [
      { nobody: 5 },
      { timestamp: 0 },
      { timestamp: 91 },
      { snapshot: 181 },
      { root: 3651 },
      { targets: 1.5 },
    ] as { [role: string]: number }[])
      await assert.rejects(set(wanted), { code: "publisher/bad-input" }, JSON.stringify(wanted));
    assert.equal((await operator.publisher().read()).root.signed.version, before);
    await set({ timestamp: 90, snapshot: 180, root: 3650 });
    assert.equal((await set({ timestamp: 90 })).kind, "unchanged");
  });

  it("are said to those who are asked to sign the change", async () => {
    const { operator, set } = await world();
    const before = (await operator.look()).root;
    await set({ timestamp: 7 });
    assert.ok(
      describeChange("root", before, (await operator.look()).root).includes("timestamp: lives 1 -> 7 days"),
    );
  });
});

/** A device with a stick: the files of the repository with other files in front of them. */
function withStick(operator: OperatorWorld, files: ReadonlyMap<string, Uint8Array>, store: MetadataStore) {
  const { clock, random } = operator;
  return async () =>
    openRepository({
      mirrors: [mirrorAt(memorySource(new Map(files)))],
      store,
      clock,
      random,
      trustedRoot: await operator.disk.read(`${FOLDER}/metadata/1.root.json`, 1 << 20),
    }).refresh();
}

describe("a copy for devices without a network", () => {
  it("is good for weeks when that is asked for, while the repository goes on with its own lives above its numbers", async () => {
    const { operator, start } = await world();
    const online = memoryStore();
    await operator.device(online).refresh();
    const copy = await operator.publisher().signForCopy(start + 30 * DAY);
    const files = new Map<string, Uint8Array>();
    for (const name of await operator.disk.list(`${FOLDER}/metadata`))
      files.set(`metadata/${name}`, await operator.disk.read(`${FOLDER}/metadata/${name}`, 1 << 20));
    for (const { name, bytes } of copy.files) files.set(`metadata/${name}`, bytes);
    const after = await operator.device().refresh();
    assert.deepEqual([after.timestamp, after.snapshot], [copy.timestamp + 1, copy.snapshot + 1]);
    assert.equal(after.expiries.timestamp, start + DAY);

    operator.clock.setWall(start + 29 * DAY);
    // One that has been online before, and one that has not.
    assert.equal((await withStick(operator, files, online)()).timestamp, copy.timestamp);
    assert.equal((await withStick(operator, files, memoryStore())()).timestamp, copy.timestamp);
    // Back online, the repository is newer than the stick.
    await operator.publisher().renewOnline(operator.clock.now());
    assert.ok((await operator.device(online).refresh()).timestamp > copy.timestamp);
    await assert.rejects(withStick(operator, files, online)(), { code: "repository/rollback" });
    operator.clock.setWall(start + 30 * DAY + HOUR);
    await assert.rejects(withStick(operator, files, memoryStore())(), { code: "repository/expired" });
  });

  it("takes along what its channels point to, what that depends on, and nothing else", async () => {
    const { operator } = await world();
    await operator.release("1.1.0");
    await operator.release("2.0.0", { dependencies: [{ product: "data", range: ">=1.0.0" }] } as never);
    await operator.release("1.0.0", { product: "data" });
    await operator.release("1.0.0", { product: "other" });
    const { releases } = operator;
    await promote(releases, "shop", "1.1.0", "stable");
    await promote(releases, "shop", "2.0.0", "beta");
    await promote(releases, "data", "1.0.0", "stable");
    await promote(releases, "other", "1.0.0", "stable");
    const carried = async (products: string[] | null, channels: string[] | null) =>
      [...(await carriedTargets(releases, await operator.look(), { products, channels })).keys()]
        .filter((name) => name.endsWith(".json"))
        .toSorted();
    const stable = [
      "products/shop/1.1.0/release.json",
      "products/shop/channels/stable.json",
      "trust/keys.json",
    ];
    assert.deepEqual(await carried(["shop"], ["stable"]), stable);
    assert.deepEqual(
      await carried(["shop"], null),
      [
        ...stable,
        "products/data/1.0.0/release.json",
        "products/data/channels/stable.json",
        "products/shop/2.0.0/release.json",
        "products/shop/channels/beta.json",
      ].toSorted(),
    );
    assert.ok((await carried(null, null)).includes("products/other/1.0.0/release.json"));
    assert.ok(!(await carried(null, null)).some((name) => name.includes("shop/1.0.0")));
    await assert.rejects(carried(["nothing"], null), { code: "publisher/bad-input" });
    await assert.rejects(carried(null, ["nothing"]), { code: "publisher/bad-input" });
  });
});
