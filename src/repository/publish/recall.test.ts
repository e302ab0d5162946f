// Tests of recalls: where channels go, what is used up for ever, what is written down; and of adding and promoting in one act.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { HISTORY_KEPT, movedHistory } from "../../release/channel.ts";
import { FOLDER, OperatorWorld } from "../../testing/operator-world.ts";
import { memoryStore } from "../client/store.ts";
import type { Draft, Trace } from "./draft.ts";
import { inspectRepository } from "./inspect.ts";
import { promote } from "./promote.ts";
import { openPublisher } from "./publisher.ts";
import { hasRepository } from "./published.ts";
import { recall } from "./recall.ts";
import { recalledOf } from "./recalled-record.ts";
import { addRelease } from "./release-publisher.ts";
import { readChannel, trustedKeys } from "./release-reader.ts";

async function withShop(...promoted: readonly string[]): Promise<OperatorWorld> {
  const world = new OperatorWorld();
  await world.create();
  for (const version of promoted) {
    await world.release(version);
    await promote(world.releases, "shop", version, "stable");
  }
  return world;
}
const take = (world: OperatorWorld, version: string, more: object = {}) =>
  recall(world.releases, { product: "shop", version, reason: "loses orders", ...more });
async function pointerOf(world: OperatorWorld, channel = "stable") {
  const draft = await world.look();
  const trusted = await trustedKeys(world.releases, draft);
  return (await readChannel(world.releases, draft, trusted, "shop", channel))!;
}
const versionsOf = (world: OperatorWorld) =>
  pointerOf(world).then((pointer) => pointer.history?.map(({ version }) => version));

describe("a recall", () => {
  it("returns a channel to where it pointed last, never to what nobody promoted to it", async () => {
    const world = await withShop("1.0.0");
    await world.release("1.1.0");
    await world.release("1.2.0-rc.1");
    await promote(world.releases, "shop", "1.2.0-rc.1", "beta");
    await world.release("1.2.0");
    await promote(world.releases, "shop", "1.2.0", "stable");
    const done = await take(world, "1.2.0");
    assert.deepEqual(done.moves, [{ channel: "stable", to: "1.0.0", floor: null }]);
    assert.equal((await pointerOf(world)).version, "1.0.0");
    assert.equal((await pointerOf(world, "beta")).version, "1.2.0-rc.1");
    assert.deepEqual(await versionsOf(world), ["1.0.0", "1.2.0", "1.0.0"]);
  });

  it("passes over what was recalled itself", async () => {
    const world = await withShop("1.0.0", "1.1.0", "1.2.0");
    await take(world, "1.1.0");
    assert.deepEqual((await take(world, "1.2.0")).moves, [{ channel: "stable", to: "1.0.0", floor: null }]);
  });

  it("asks where to go when the channel never pointed elsewhere, and changes nothing before it is answered", async () => {
    const world = await withShop("2.0.0");
    await world.release("1.0.0");
    const before = world.disk.fingerprint();
    await assert.rejects(take(world, "2.0.0"), {
      code: "publisher/bad-input",
      message: /shop\/stable never pointed to another release.*where shall its devices go\?/,
      hint: /--to, one of 1\.0\.0; none of them was ever promoted/,
    });
    assert.equal(world.disk.fingerprint(), before);
    assert.equal((await take(world, "2.0.0", { to: "1.0.0" })).moves[0]!.to, "1.0.0");
  });

  it("goes nowhere that is recalled or not there, also when somebody says so", async () => {
    const world = await withShop("1.0.0", "1.1.0", "1.2.0");
    await take(world, "1.1.0");
    for (const to of ["1.1.0", "1.2.0", "9.9.9"])
      await assert.rejects(take(world, "1.2.0", { to }), { code: "publisher/bad-input" }, to);
  });

  it("uses the number up for ever: not added with other bytes, not promoted, also not on a channel made later", async () => {
    const world = await withShop("1.0.0", "1.1.0");
    await take(world, "1.1.0");
    const dead = { code: "publisher/bad-input", message: /1\.1\.0 was recalled and stays so: loses orders/ };
    await assert.rejects(world.release("1.1.0"), dead);
    await assert.rejects(world.release("1.1.0+again"), dead);
    await assert.rejects(promote(world.releases, "shop", "1.1.0", "later"), dead);
    await promote(world.releases, "shop", "1.0.0", "later");
    assert.deepEqual(
      (await pointerOf(world, "later")).recalled.map(({ version }) => version),
      ["1.1.0"],
    );
  });

  it("uses up the number of a product that has no channel, too", async () => {
    const world = await withShop();
    await world.release("1.0.0");
    assert.deepEqual((await take(world, "1.0.0")).moves, []);
    await assert.rejects(world.release("1.0.0"), { message: /recalled and stays so/ });
  });

  it("takes back what the repository does not list, such as a thief's, and says so", async () => {
    const world = await withShop("1.0.0");
    const done = await take(world, "666.0.0", { liftFloor: true });
    assert.deepEqual([done.listed, done.already, done.moves], [false, false, []]);
    const { recalled } = await pointerOf(world);
    assert.deepEqual(
      recalled.map(({ version, liftsFloor }) => [version, liftsFloor]),
      [["666.0.0", true]],
    );
    await assert.rejects(world.release("666.0.0"), { message: /recalled and stays so/ });
    await assert.rejects(recall(world.releases, { product: "none", version: "1.0.0", reason: "x" }), {
      code: "publisher/bad-input",
    });
  });

  it("repeated changes nothing, and may still lift a floor afterwards", async () => {
    const world = await withShop("1.0.0", "1.1.0");
    await take(world, "1.1.0");
    const again = await take(world, "1.1.0");
    assert.deepEqual([again.already, again.outcome.kind], [true, "unchanged"]);
    const lifted = await take(world, "1.1.0", { liftFloor: true });
    assert.deepEqual([lifted.already, lifted.outcome.kind], [false, "published"]);
    assert.equal((await pointerOf(world)).recalled[0]!.liftsFloor, true);
  });

  it("finds a way that the floor of the recalled release allows, or says which floor is in the way", async () => {
    const floors = await withShop();
    for (const [version, floor] of [
      ["1.0.0", undefined],
      ["1.6.0", undefined],
      ["2.0.0", "1.6.0"],
    ] as const) {
      await floors.release(version, floor === undefined ? {} : { floor });
      await promote(floors.releases, "shop", version, "stable");
    }
    await take(floors, "1.6.0");
    assert.deepEqual((await take(floors, "2.0.0")).moves, [
      { channel: "stable", to: "1.0.0", floor: "1.6.0" },
    ]);
  });

  it("returns to a release that the floor allows although a lower one came last", async () => {
    const world = await withShop();
    await world.release("1.0.0");
    await promote(world.releases, "shop", "1.0.0", "stable");
    await world.release("1.6.0");
    await promote(world.releases, "shop", "1.6.0", "stable");
    await world.release("1.7.0");
    await promote(world.releases, "shop", "1.7.0", "stable");
    await take(world, "1.7.0", { to: "1.0.0" });
    await world.release("2.0.0", { floor: "1.6.0" });
    await promote(world.releases, "shop", "2.0.0", "stable");
    assert.deepEqual((await take(world, "2.0.0")).moves, [{ channel: "stable", to: "1.6.0", floor: null }]);
  });

  it("remembers the floor of what was recalled before, and forgets one that was lifted", async () => {
    for (const liftFloor of [false, true]) {
      const world = await withShop("1.0.0");
      await world.release("1.5.0", { floor: "1.5.0" });
      await promote(world.releases, "shop", "1.5.0", "stable");
      const first = await take(world, "1.5.0", { liftFloor });
      assert.equal(first.moves[0]!.floor, liftFloor ? null : "1.5.0");
      await world.release("1.6.0");
      await promote(world.releases, "shop", "1.6.0", "stable");
      const second = await take(world, "1.6.0");
      assert.deepEqual(second.moves, [{ channel: "stable", to: "1.0.0", floor: liftFloor ? null : "1.5.0" }]);
    }
  });

  it("leaves a repository that a doctor finds whole", async () => {
    const world = await withShop("1.0.0", "1.1.0");
    await take(world, "1.1.0");
    const { findings } = await inspectRepository(world.disk, FOLDER, world.clock.now());
    assert.deepEqual(
      findings.filter(({ what }) => !what.includes("/1.1.0/")),
      [],
    );
    await world.device(memoryStore()).refresh();
  });

  it("is in the product's record with its reason, document and floor", async () => {
    const world = await withShop("1.0.0");
    await world.release("1.1.0", { floor: "1.0.5" });
    await promote(world.releases, "shop", "1.1.0", "stable");
    await take(world, "1.1.0");
    const draft = await world.look();
    const [entry] = await recalledOf(world.releases, draft, await trustedKeys(world.releases, draft), "shop");
    assert.match(entry!.document!, /^[0-9a-f]{64}$/);
    assert.deepEqual([entry!.version, entry!.reason, entry!.floor], ["1.1.0", "loses orders", "1.0.5"]);
  });
});

describe("the history of a channel", () => {
  it("begins with what an older publisher signed, does not repeat a place, and is bounded", () => {
    const pointer = { version: "1.0.0", updated: "2026-11-21T04:00:00Z" };
    const now = "2026-11-22T04:00:00Z";
    assert.deepEqual(movedHistory(null, "1.0.0", now), [{ version: "1.0.0", since: now }]);
    const two = movedHistory(pointer, "1.1.0", now);
    assert.deepEqual(
      two.map(({ version }) => version),
      ["1.0.0", "1.1.0"],
    );
    assert.deepEqual(movedHistory({ ...pointer, version: "1.1.0", history: [...two] }, "1.1.0", now), two);
    let history = two;
    for (let n = 2; n < HISTORY_KEPT + 5; n++)
      history = movedHistory(
        { version: history.at(-1)!.version, updated: now, history: [...history] },
        `1.${n}.0`,
        now,
      );
    assert.equal(history.length, HISTORY_KEPT);
    assert.equal(history.at(-1)!.version, `1.${HISTORY_KEPT + 4}.0`);
  });
});

describe("adding and promoting in one act", () => {
  const add = async (
    world: OperatorWorld,
    version: string,
    changes: object = {},
    channel: string | null = "stable",
  ) =>
    addRelease(
      world.releases,
      {
        product: "shop",
        version,
        channel: "stable",
        security: false,
        artifacts: [await world.artifact(`shop ${version}`)],
        dependencies: [],
        ...changes,
      },
      { keys: [world.key("products")], threshold: 1 },
      channel,
    );

  it("is one publication", async () => {
    const world = await withShop("1.0.0");
    const before = (await world.publisher().read()).timestamp.signed.version;
    const done = await add(world, "1.1.0");
    assert.deepEqual([done.already, done.move?.before, done.movedOn], [false, "1.0.0", null]);
    assert.equal((await world.publisher().read()).timestamp.signed.version, before + 1);
    assert.equal((await pointerOf(world)).version, "1.1.0");
  });

  it("is refused whole: what cannot be promoted is not added either", async () => {
    const world = await withShop("2.0.0");
    await assert.rejects(add(world, "1.0.0"), { code: "publisher/bad-input", message: /refuse to go back/ });
    assert.equal(await (await world.look()).find("products/shop/1.0.0/release.json"), null);
  });

  it("says already when a job is run again, and does not move a channel back that has gone on", async () => {
    const world = await withShop("1.0.0");
    await add(world, "1.1.0");
    const again = await add(world, "1.1.0");
    assert.deepEqual([again.already, again.outcome.kind, again.move?.before], [true, "unchanged", "1.1.0"]);
    await add(world, "1.2.0");
    const late = await add(world, "1.1.0");
    assert.deepEqual(
      [late.already, late.outcome.kind, late.move, late.movedOn],
      [true, "unchanged", null, "1.2.0"],
    );
    assert.equal((await pointerOf(world)).version, "1.2.0");
  });

  it("goes on with what was added and not promoted", async () => {
    const world = await withShop("1.0.0");
    await add(world, "1.1.0", {}, null);
    const done = await add(world, "1.1.0");
    assert.deepEqual([done.already, done.outcome.kind, done.move?.before], [true, "published", "1.0.0"]);
  });

  it("refuses other content under the same number, and says what differs (substitution attack)", async () => {
    const world = await withShop("1.0.0");
    await add(world, "1.1.0");
    const artifacts = [await world.artifact("other bytes")];
    await assert.rejects(add(world, "1.1.0", { artifacts }), { message: /It differs in artifacts\./ });
    const attestations = new Map([["sbom", toUtf8("{}")]]);
    await assert.rejects(add(world, "1.1.0", { attestations }), { message: /It differs in sbom\./ });
  });

  it("refuses a second release that differs in build metadata alone", async () => {
    const world = await withShop();
    await add(world, "2.0.0+a");
    for (const version of ["2.0.0+b", "2.0.0"])
      await assert.rejects(add(world, version), {
        message: /2\.0\.0\+a exists, and .* counts as the same version/,
      });
  });
});

describe("what people change", () => {
  const audited = (
    world: OperatorWorld,
    audit: { ready(): Promise<void>; write(traces: readonly Trace[]): Promise<void> },
  ) => ({
    ...world.releases,
    publisher: openPublisher({
      disk: world.disk,
      folder: FOLDER,
      clock: world.clock,
      ring: world.ring,
      lock: async () => async () => {},
      lookFromOutside: async () => {},
      audit,
    }),
  });

  it("is written down with before and after, before it takes effect", async () => {
    const world = await withShop("1.0.0", "1.1.0");
    const rows: (readonly [string, string, unknown, unknown, number])[] = [];
    const tools = audited(world, {
      ready: async () => {},
      write: async (traces) => {
        // What is published at this moment is what was before.
        const { timestamp } = await world.publisher().read();
        for (const { action, subject, facts } of traces)
          rows.push([action, subject, facts["before"], facts["after"], timestamp.signed.version]);
      },
    });
    const at = (await world.publisher().read()).timestamp.signed.version;
    await promote(tools, "shop", "1.1.0", "beta");
    await recall(tools, { product: "shop", version: "1.1.0", reason: "bad", to: "1.0.0" });
    assert.deepEqual(rows, [
      ["channel/promoted", "shop/beta", null, "1.1.0", at],
      ["channel/moved-back", "shop/beta", "1.1.0", "1.0.0", at + 1],
      ["channel/moved-back", "shop/stable", "1.1.0", "1.0.0", at + 1],
      ["release/recalled", "shop 1.1.0", "listed", "recalled", at + 1],
    ]);
  });

  it("also when it says nothing of itself, and not when nothing changes", async () => {
    const world = await withShop("1.0.0");
    const rows: Trace[] = [];
    const tools = audited(world, {
      ready: async () => {},
      write: async (traces) => void rows.push(...traces),
    });
    await tools.publisher.change((draft) => draft.touch("targets"));
    await tools.publisher.change(async () => {});
    assert.deepEqual(
      rows.map(({ action }) => action),
      ["repository/published"],
    );
  });

  it("does not happen when it cannot be written down", async () => {
    const world = await withShop("1.0.0", "1.1.0");
    const full = async (): Promise<void> => {
      throw new Error("the log is full");
    };
    const nothing = async (): Promise<void> => {};
    for (const audit of [
      { ready: full, write: nothing },
      { ready: nothing, write: full },
    ]) {
      await assert.rejects(
        recall(audited(world, audit), { product: "shop", version: "1.1.0", reason: "bad" }),
        /full/,
      );
      assert.equal((await pointerOf(world)).version, "1.1.0");
    }
  });
});

describe("any trace of a repository", () => {
  it("is a repository: none is ever made over it", async () => {
    const whole = await withShop("1.0.0");
    const names = await whole.disk.list(`${FOLDER}/metadata`);
    assert.ok(names.length > 5);
    for (const name of names) {
      const world = await withShop("1.0.0");
      for (const other of names)
        if (other !== name) await world.disk.removeFile(`${FOLDER}/metadata/${other}`);
      assert.equal(await hasRepository(world.disk, FOLDER), true, name);
      await assert.rejects(world.create(), { code: "publisher/exists", hint: /repo recover/ }, name);
    }
  });

  it("is also what lies among its targets, or what is remembered of it", async () => {
    const world = await withShop("1.0.0");
    for (const name of await world.disk.list(`${FOLDER}/metadata`))
      await world.disk.removeFile(`${FOLDER}/metadata/${name}`);
    await assert.rejects(world.create(), { code: "publisher/exists" });
    const empty = new OperatorWorld();
    const publisher = openPublisher({
      disk: empty.disk,
      folder: FOLDER,
      clock: empty.clock,
      ring: empty.ring,
      lock: async () => async () => {},
      lookFromOutside: async () => {},
      memory: { load: async () => new Map([["root", 1]]), save: async () => {} },
    });
    const { root } = await whole();
    await assert.rejects(
      publisher.create(root, async () => {}),
      { code: "publisher/exists" },
    );
  });

  it("that lost a file is told so, and nobody is sent to make a new one", async () => {
    for (const [lost, hint] of [
      ["timestamp.json", /repo recover/],
      ["1.root.json", /backup/],
    ] as const) {
      const world = await withShop("1.0.0");
      await world.disk.removeFile(`${FOLDER}/metadata/${lost}`);
      await assert.rejects(
        world.publisher().read(),
        (error: { code: string; hint: string; message: string }) => {
          assert.equal(error.code, "publisher/missing");
          assert.match(error.message, new RegExp(`has lost its ${lost}`));
          assert.match(error.hint, hint);
          assert.doesNotMatch(error.hint, /init/);
          return true;
        },
      );
    }
    await assert.rejects(new OperatorWorld().publisher().read(), { hint: /repo init/ });
  });
});

async function whole(): Promise<Draft> {
  return (await withShop("1.0.0")).look();
}
