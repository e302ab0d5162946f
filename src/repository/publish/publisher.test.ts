// Tests of publishing: what changes, what a crash leaves, what an attacker with files or keys can do, a year untouched.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fromUtf8, toUtf8 } from "../../core/bytes.ts";
import { DAY, HOUR } from "../../core/instant.ts";
import { choose } from "../../release/select.ts";
import { openChannel } from "../../release/channel.ts";
import { keysFor } from "../../release/trusted-keys.ts";
import { copyStore, FOLDER, OperatorWorld } from "../../testing/operator-world.ts";
import { PowerCut } from "../../testing/memory-disk.ts";
import { inspectRepository } from "./inspect.ts";
import { emptyTargets } from "./draft.ts";
import { findKeyid, replaceKey, rolesOfKey } from "./key-changes.ts";
import { NO_EXTRA, type DelegatedRole, type Root, type TargetFile } from "../metadata.ts";
import { makeRoot, targetFileOf } from "./new-repository.ts";
import { openPublisher, type PublishedVersions } from "./publisher.ts";
import { promote } from "./promote.ts";
import { recall } from "./recall.ts";
import { listReleases, readChannel, readRelease, trustedKeys } from "./release-reader.ts";
import { repositoryStatus, verdict } from "./status.ts";
import { memoryStore } from "../client/store.ts";

async function withShop(): Promise<OperatorWorld> {
  const world = new OperatorWorld();
  await world.create();
  await world.release("1.0.0");
  await promote(world.releases, "shop", "1.0.0", "stable");
  return world;
}
const CHANNEL = "products/shop/channels/stable.json";

describe("publishing", () => {
  it("makes a repository that a device follows from its first root", async () => {
    const world = await withShop();
    const device = world.device();
    assert.equal((await device.refresh()).root, 1);
    assert.equal((await device.target(CHANNEL))?.role, "product.shop");
    assert.equal(await device.target("products/other/channels/stable.json"), null);
    const found = await inspectRepository(world.disk, FOLDER, world.clock.now());
    assert.deepEqual(found.findings, []);
  });

  it("gives a file a new version only when it changes", async () => {
    const world = await withShop();
    const before = await world.publisher().read();
    await world.release("1.1.0");
    const after = await world.publisher().read();
    assert.equal(after.snapshot.signed.version, before.snapshot.signed.version + 1);
    assert.equal(
      after.snapshot.signed.meta.get("targets")?.version,
      before.snapshot.signed.meta.get("targets")?.version,
    );
    const version = (published: typeof after) => published.snapshot.signed.meta.get("product.shop")!.version;
    assert.equal(version(after), version(before) + 1);
  });

  it("never uses a version number twice, even one that a crash left unlisted", async () => {
    const world = await withShop();
    const next = (await world.publisher().read()).snapshot.signed.version + 1;
    const leftover = await world.disk.open(`${FOLDER}/metadata/${next}.snapshot.json`, "create");
    await leftover.close();
    await world.release("1.1.0");
    assert.equal((await world.publisher().read()).snapshot.signed.version, next + 1);
  });

  it("writes files under the names that a web server looks for, whatever stands in a version", async () => {
    const world = await withShop();
    await world.release("1.1.0-rc.1+build.7");
    assert.notEqual(await world.device().target("products/shop/1.1.0-rc.1+build.7/release.json"), null);
    await world.device().readTarget("products/shop/1.1.0-rc.1+build.7/release.json", 1 << 20);
    assert.ok((await world.disk.list(`${FOLDER}/targets/products/shop`)).includes("1.1.0-rc.1+build.7"));
  });

  it("refuses to change what a version means", async () => {
    const world = await withShop();
    await assert.rejects(world.release("1.0.0", { security: true }), {
      code: "publisher/bad-input",
      message: /never changes its meaning.*security/,
    });
  });

  it("says who is missing when a key is elsewhere, and publishes nothing", async () => {
    const world = await withShop();
    const before = world.disk.fingerprint();
    for (const [name, code] of [
      ["releases", "publisher/no-quorum"],
      ["online", "publisher/no-quorum"],
    ] as const) {
      const away = world.at(world.disk.clone());
      away.keys.delete(name);
      await assert.rejects(away.release("1.1.0"), { code });
      const { timestamp } = await away.publisher().read();
      assert.equal(timestamp.signed.version, (await world.publisher().read()).timestamp.signed.version);
    }
    assert.equal(world.disk.fingerprint(), before);
  });

  it("leaves a repository that every device accepts, wherever a crash happens", async () => {
    const world = await withShop();
    const store = memoryStore();
    await world.device(store).refresh();
    const start = world.disk.clone();
    const rehearsal = world.at(start.clone());
    const first = rehearsal.disk.operations;
    await rehearsal.release("1.1.0");
    const operations = rehearsal.disk.operations - first;
    assert.ok(operations > 30, `only ${operations} operations`);
    let states = 0;
    for (let at = 0; at < operations; at++) {
      const disk = start.clone();
      disk.crashAt = disk.operations + at;
      await assert.rejects(world.at(disk).release("1.1.0"), PowerCut);
      for (const left of disk.crashStates(6)) {
        states++;
        const after = world.at(left);
        await after.device().refresh();
        await after.device(copyStore(store)).refresh();
        // The operator runs the command again, or finds it done.
        await after.release("1.1.0").catch((error: unknown) => {
          assert.equal((error as { code?: string }).code, "publisher/bad-input");
        });
        const device = after.device(copyStore(store));
        assert.notEqual(
          await device.target("products/shop/1.1.0/release.json"),
          null,
          `after operation ${at}`,
        );
      }
    }
    assert.ok(states > operations, `${states} states`);
  });

  it("renews what a server renews, so that 365 days untouched expire nothing", async () => {
    const world = await withShop();
    const store = memoryStore();
    let renewals = 0;
    for (let hour = 0; hour < 365 * 24; hour += 12) {
      world.clock.setWall(world.clock.now() + 12 * HOUR);
      const outcome = await world.publisher().renewOnline(world.clock.now());
      if (outcome.kind === "published") renewals++;
      if (hour % 720 === 0) await world.device(store).refresh();
    }
    await world.device(store).refresh();
    assert.ok(renewals > 700 && renewals <= 730, `${renewals} renewals`);
    const status = await repositoryStatus(await world.publisher().read(), world.clock.now());
    assert.equal(verdict(status), "due");
    assert.deepEqual(
      status.roles.filter((role) => role.due && !role.online).map((role) => [role.role, role.alarm]),
      [
        ["root", 60],
        ["targets", 60],
        ["product.shop", 60],
      ],
    );
  });

  it("raises the alarm louder as expiry comes nearer, and says so when it has come", async () => {
    const world = await withShop();
    const alarms: (number | string)[] = [];
    for (const day of [300, 340, 370, 383, 390, 395, 396]) {
      const now = world.clock.now() + day * DAY;
      const status = await repositoryStatus(await world.publisher().read(), now);
      alarms.push(status.roles.find((role) => role.role === "root")!.alarm);
    }
    assert.deepEqual(alarms, ["none", 60, 30, 14, 7, 1, "expired"]);
  });
});

describe("channels", () => {
  const platform = { os: "linux", arch: "x64", libc: "glibc", osVersion: null, hardware: null } as const;

  it("go forward by promoting only", async () => {
    const world = await withShop();
    await world.release("1.1.0");
    await promote(world.releases, "shop", "1.1.0", "stable");
    await assert.rejects(promote(world.releases, "shop", "1.0.0", "stable"), { code: "publisher/bad-input" });
    await assert.rejects(promote(world.releases, "shop", "7.0.0", "stable"), { code: "publisher/bad-input" });
  });

  it("lead very old devices over the releases that bridge the gap", async () => {
    const world = await withShop();
    await world.release("2.0.0", { minimumFrom: "1.0.0" });
    await promote(world.releases, "shop", "2.0.0", "stable");
    await world.release("3.0.0", { minimumFrom: "2.0.0" });
    const { pointer } = await promote(world.releases, "shop", "3.0.0", "stable");
    assert.deepEqual(
      pointer.steps.map((step) => step.version),
      ["1.0.0", "2.0.0"],
    );
  });

  it("take a release back with a signed permission that devices act on (known good state)", async () => {
    const world = await withShop();
    await world.release("1.1.0");
    await promote(world.releases, "shop", "1.0.0", "beta");
    await promote(world.releases, "shop", "1.1.0", "stable");
    await promote(world.releases, "shop", "1.1.0", "beta");
    await world.release("1.0.0", { product: "app", dependencies: [{ product: "shop", range: ">=1.1.0" }] });
    await promote(world.releases, "app", "1.0.0", "stable");
    const done = await recall(world.releases, { product: "shop", version: "1.1.0", reason: "loses orders" });
    assert.deepEqual(done.moves, [
      { channel: "beta", to: "1.0.0", floor: null },
      { channel: "stable", to: "1.0.0", floor: null },
    ]);
    assert.deepEqual(done.dependents, ["app 1.0.0"]);
    // What a device sees: the release is gone, and the permission is there.
    const device = world.device();
    assert.equal(await device.target("products/shop/1.1.0/release.json"), null);
    const draft = await world.look();
    const trusted = await trustedKeys(world.releases, draft);
    const bytes = await device.readTarget(CHANNEL, 1 << 20);
    const channel = openChannel(bytes, keysFor(trusted, "channel", "shop"), {
      product: "shop",
      channel: "stable",
    });
    const { manifest, reference } = await readRelease(world.releases, draft, trusted, "shop", "1.0.0");
    const at = (version: string) =>
      choose(
        { manifest, sha256: reference.sha256 },
        {
          installed: { version, sha256: null, floor: null },
          platform,
          channel,
          skipped: null,
          others: new Map(),
        },
      );
    assert.equal(at("1.1.0").kind, "install");
    assert.equal(at("1.2.0").kind, "refused");
    await assert.rejects(promote(world.releases, "shop", "1.1.0", "stable"), { code: "publisher/bad-input" });
    await world.release("1.2.0");
    await promote(world.releases, "shop", "1.2.0", "stable");
    const now = await readChannel(world.releases, await world.look(), trusted, "shop", "stable");
    assert.deepEqual(
      now?.recalled.map((entry) => entry.version),
      ["1.1.0"],
    );
  });

  it("list every release with the channels that point to it", async () => {
    const world = await withShop();
    await world.release("1.10.0");
    await world.release("1.9.0");
    const listed = await listReleases(world.releases, await world.look(), "shop");
    assert.deepEqual(
      listed.map(({ version, channels }) => [version, channels]),
      [
        ["1.0.0", ["stable"]],
        ["1.9.0", []],
        ["1.10.0", []],
      ],
    );
  });
});

/** Findings about metadata; the files of these tests exist in lists only. */
const inspectMetadata = async (world: OperatorWorld) =>
  (await inspectRepository(world.disk, FOLDER, world.clock.now())).findings.filter(
    (finding) => finding.message !== "it is listed and not there",
  );

describe("hash bins", () => {
  const file = (n: number): TargetFile => ({
    length: n,
    hashes: { sha256: n.toString(16).padStart(64, "0") },
    extra: NO_EXTRA,
  });
  const some = (from: number, to: number): ReadonlyMap<string, TargetFile> =>
    new Map(
      Array.from({ length: to - from }, (_, i) => [`products/shop/1.0.${from + i}/part`, file(from + i)]),
    );
  const put = (world: OperatorWorld, targets: ReadonlyMap<string, TargetFile>) =>
    world.publisher().change((draft) => draft.changeTargets("product.shop", { put: targets }));

  it("split by themselves when a product has too many targets, and once more when bins fill up", async () => {
    const world = await withShop();
    const store = memoryStore();
    await put(world, some(1, 400));
    assert.equal((await world.look()).published!.snapshot.signed.meta.size, 2);
    await put(world, some(400, 520));
    const first = await world.publisher().read();
    assert.equal(first.snapshot.signed.meta.size, 2 + 16);
    const device = world.device(store);
    for (const n of [1, 399, 519])
      assert.equal((await device.target(`products/shop/1.0.${n}/part`))?.length, n);
    assert.notEqual(await device.target(CHANNEL), null);
    // One release touches few bins; the others keep their version.
    await world.release("9.0.0");
    const touched = [...(await world.publisher().read()).snapshot.signed.meta].filter(
      ([role, meta]) => role.includes(".bin-") && meta.version > 1,
    );
    assert.ok(touched.length <= 2, `${touched.length} bins`);
    await put(world, some(520, 1400));
    const second = await world.publisher().read();
    // The 16 bins of the first split stay listed: TUF 5.5.5 forbids that a role vanishes.
    assert.equal(second.snapshot.signed.meta.size, 2 + 16 + 256);
    for (const n of [1, 519, 1399])
      assert.equal((await device.target(`products/shop/1.0.${n}/part`))?.length, n);
    await recall(world.releases, { product: "shop", version: "9.0.0", reason: "no good" });
    assert.equal(await device.target("products/shop/9.0.0/release.json"), null);
  });

  it("are signed anew when the product's key changes, and the old key counts for nothing", async () => {
    const world = await withShop();
    await put(world, some(1, 600));
    await world.publisher().change(async (draft) => {
      const old = await findKeyid(draft, "products");
      await replaceKey(draft, await rolesOfKey(draft, old), old, world.key("products-r2"));
    });
    world.keys.delete("products");
    const device = world.device();
    for (const n of [1, 300, 599])
      assert.equal((await device.target(`products/shop/1.0.${n}/part`))?.length, n);
    await world.release("9.0.0");
    assert.notEqual(await device.target("products/shop/9.0.0/release.json"), null);
    assert.deepEqual(
      (await inspectMetadata(world)).filter((finding) => finding.level === "bad"),
      [],
    );
  });
});

describe("an attacker", () => {
  it("who owns all files of the server cannot make the operator sign on top of changed ones", async () => {
    const world = await withShop();
    const { snapshot } = await world.publisher().read();
    const path = `${FOLDER}/metadata/${snapshot.signed.meta.get("product.shop")!.version}.product.shop.json`;
    world.disk.tamper(path, (bytes) => toUtf8(fromUtf8(bytes).replace('"length":', '"length":1')));
    await assert.rejects(world.release("1.1.0"), { code: "publisher/inconsistent" });
    const found = await inspectRepository(world.disk, FOLDER, world.clock.now());
    assert.equal(
      found.findings.some((finding) => finding.level === "bad" && finding.what === "product.shop"),
      true,
    );
  });

  it("who winds the repository back to an older, validly signed copy is noticed before anything is published on top", async () => {
    const world = await withShop();
    let memory: PublishedVersions | null = null;
    const tools = (disk: typeof world.disk) =>
      openPublisher({
        disk,
        folder: FOLDER,
        clock: world.clock,
        ring: world.ring,
        lock: async () => async () => {},
        lookFromOutside: async () => {},
        memory: {
          load: async () => memory,
          save: async (versions) => {
            memory = versions;
          },
        },
      });
    const old = world.disk.clone();
    await tools(world.disk).change((draft) => draft.touch("product.shop"));
    await assert.rejects(tools(old).read(), { code: "publisher/inconsistent", message: /wound it back/ });
    await assert.rejects(
      tools(old).change((draft) => draft.touch("targets")),
      { code: "publisher/inconsistent" },
    );
    await tools(world.disk).change((draft) => draft.touch("targets"));
  });

  it("who owns all files and the online key cannot add a release, exchange one, or go back (T1, R11)", async () => {
    const world = await withShop();
    const store = memoryStore();
    await world.device(store).refresh();
    const evil = world.at(world.disk.clone());
    for (const name of evil.keys.keys()) if (name !== "online" && name !== "director") evil.keys.delete(name);
    const forged = toUtf8("malware");
    // Exchange the bytes of an artifact: the digest says no.
    const artifact = (await world.device().target("products/shop/1.0.0/artifact"))!;
    evil.disk.tamper(`${FOLDER}/targets/${artifact.path}`, () => forged);
    await assert.rejects(evil.device().readTarget("products/shop/1.0.0/artifact", 1 << 20), {
      code: /repository\/content-mismatch|mirror\//,
    });
    // Sign a product role with keys of his own, and list it with the stolen online key.
    evil.key("products");
    evil.key("targets");
    await assert.rejects(evil.release("6.6.6"));
    // Put an older snapshot under a new timestamp: devices remember.
    await world.release("1.1.0");
    await world.device(store).refresh();
    await assert.rejects(world.device(store, evil.disk).refresh(), { code: "repository/rollback" });
  });

  it("who stole one root key of three cannot make a root that devices follow (key compromise below the threshold)", async () => {
    const world = await withShop();
    const evil = world.at(world.disk.clone());
    for (const name of evil.keys.keys()) if (name !== "root-1" && name !== "online") evil.keys.delete(name);
    const outcome = await evil.publisher().change(async (draft) => {
      draft.setRoot((root) => ({
        ...root,
        roles: { ...root.roles, root: { ...root.roles.root, threshold: 1 } },
      }));
    });
    assert.equal(outcome.kind, "waiting");
  });
});

describe("a change of keys", () => {
  const rotateOnline = (world: OperatorWorld) =>
    world.publisher().change(async (draft) => {
      const { key } = world.key("online-2");
      draft.setRoot((root) => ({
        ...root,
        keys: new Map([...root.keys, [key.keyid, key.tuf]]),
        roles: {
          ...root.roles,
          snapshot: { ...root.roles.snapshot, keyids: [key.keyid] },
          timestamp: { ...root.roles.timestamp, keyids: [key.keyid] },
        },
      }));
    });

  it("of the online role leaves no instant at which a device is stuck, wherever a crash happens", async () => {
    const world = await withShop();
    world.key("online-2");
    const store = memoryStore();
    await world.device(store).refresh();
    const start = world.disk.clone();
    const rehearsal = world.at(start.clone());
    const first = rehearsal.disk.operations;
    await rotateOnline(rehearsal);
    for (let at = 0; at < rehearsal.disk.operations - first; at++) {
      const disk = start.clone();
      disk.crashAt = disk.operations + at;
      await assert.rejects(rotateOnline(world.at(disk)), PowerCut);
      for (const left of disk.crashStates(6)) {
        await world.at(left).device().refresh();
        await world.at(left).device(copyStore(store)).refresh();
      }
    }
  });

  it("recovers from a fast-forward attack with a stolen online key", async () => {
    const world = await withShop();
    const store = memoryStore();
    const evil = world.at(world.disk.clone());
    const published = await evil.publisher().read();
    const { assemble } = await import("./publication.ts");
    const far = { ...published, highest: () => 2 ** 31 - 2 };
    const forged = await assemble(far, [], evil.ring, world.clock.now());
    for (const { name, bytes } of forged.files) {
      const file = await evil.disk.open(`${FOLDER}/metadata/${name}`, "write");
      await file.truncate(0);
      await file.write(0, bytes);
      await file.close();
    }
    assert.equal((await world.device(store, evil.disk).refresh()).snapshot, 2 ** 31 - 1);
    await assert.rejects(world.device(store).refresh(), { code: "repository/rollback" });
    await rotateOnline(world);
    assert.equal((await world.device(store).refresh()).root, 2);
  });

  it("of the products role signs the product again, and the old key counts for nothing", async () => {
    const world = await withShop();
    const next = world.key("products-2");
    await world.publisher().change(async (draft) => {
      const role = (await draft.delegatedRoles())[0]!;
      await draft.delegate(
        "targets",
        { ...role, keyids: [next.key.keyid] },
        new Map([[next.key.keyid, next.key.tuf]]),
      );
    });
    await world.device().refresh();
    assert.notEqual(await world.device().target(CHANNEL), null);
    world.keys.delete("products");
    await world.release("1.1.0");
    const { body } = await (await world.look()).role("targets");
    assert.equal(body.delegations?.keys.size, 1, "the old key is dropped from the list");
  });
});

describe("a repository that another tool made", () => {
  it("is published further under its own key ids, role names and nested delegations", async () => {
    const world = new OperatorWorld();
    const renamed = new Map<string, string>();
    const foreign = (keyid: string): string => {
      renamed.set(keyid, renamed.get(keyid) ?? `KEY_${renamed.size}`);
      return renamed.get(keyid)!;
    };
    const root = makeRoot(world.setup());
    const roles = Object.fromEntries(
      Object.entries(root.roles).map(([role, keys]) => [
        role,
        { keyids: keys.keyids.map(foreign), threshold: keys.threshold, extra: NO_EXTRA },
      ]),
    ) as unknown as Root["roles"];
    const keys = new Map([...root.keys].map(([keyid, form]) => [foreign(keyid), form]));
    const { key } = world.key("a-project");
    const role = (name: string, paths: readonly string[]): DelegatedRole => ({
      name,
      paths,
      pathHashPrefixes: null,
      terminating: false,
      keyids: ["project-key"],
      threshold: 1,
      extra: NO_EXTRA,
    });
    await world.publisher().create({ ...root, roles, keys }, async (draft) => {
      draft.put("targets", emptyTargets());
      const delegated = new Map([["project-key", key.tuf]]);
      await draft.delegate("targets", role("ProjectA", ["a/*", "a/*/*"]), delegated);
      await draft.delegate("ProjectA", role("nightly builds", ["a/nightly/*"]), delegated);
      await draft.changeTargets("nightly builds", {
        put: new Map([["a/nightly/x", targetFileOf(toUtf8("x"))]]),
      });
    });
    const store = memoryStore();
    assert.equal((await world.device(store).target("a/nightly/x"))?.role, "nightly builds");
    await world
      .publisher()
      .change((draft) =>
        draft.changeTargets("nightly builds", { put: new Map([["a/nightly/y", targetFileOf(toUtf8("y"))]]) }),
      );
    await world.release("1.0.0").catch((error: unknown) => {
      // It has no list of trusted keys yet; releases of ours come after that was added.
      assert.equal((error as { code?: string }).code, "publisher/bad-input");
    });
    assert.equal((await world.device(store).target("a/nightly/y"))?.role, "nightly builds");
    const status = await repositoryStatus(await world.publisher().read(), world.clock.now());
    assert.deepEqual(
      status.roles.map(({ role: name, signedBy }) => [name, signedBy.length]),
      [
        ["root", 3],
        ["timestamp", 1],
        ["snapshot", 1],
        ["targets", 1],
        ["ProjectA", 1],
        ["nightly builds", 1],
      ],
    );
    assert.equal((await world.publisher().read()).root.signed.roles.root.keyids[0], "KEY_0");
  });
});

describe("a new disk", () => {
  it("that is full leaves the published repository as it was, and the next run works", async () => {
    const world = await withShop();
    const before = (await world.publisher().read()).timestamp.signed.version;
    world.disk.fault = ({ kind, path }) =>
      kind === "write" && path.includes("/metadata/") ? "disk/full" : undefined;
    await assert.rejects(world.release("1.1.0"), { code: "disk/full" });
    world.disk.fault = null;
    assert.equal((await world.publisher().read()).timestamp.signed.version, before);
    await world.device().refresh();
    await world.release("1.1.0");
    await world.device().refresh();
  });
});
