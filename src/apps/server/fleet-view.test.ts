// Two servers of one fleet that do not see the same: neither calls the devices back and forth.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { assign } from "../../fleet/assign.ts";
import type { Catalogue } from "../../fleet/decide.ts";
import { systemClock } from "../../io/system/clock.ts";
import { openFleetStore } from "../../io/fleet-store/store.ts";
import { FleetView } from "./fleet-view.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-view-"));
after(() => rmSync(folder, { recursive: true }));
let count = 0;

/** A repository in which the channel points to `version`. */
const offering = (version: string): Catalogue => ({
  timestamp: () => version.padEnd(64, "0"),
  current: () => ({ version, manifestSha256: "a".repeat(64) }),
  byVersion: () => null,
});

async function pair() {
  const path = join(folder, `${++count}.sqlite`);
  const stores = [await openFleetStore(path), await openFleetStore(path)] as const;
  await stores[0].transaction((r) =>
    assign(r, 1, { group: "tills", product: "shop", channel: "stable", create: true }),
  );
  const [one, two] = [new FleetView(stores[0], systemClock), new FleetView(stores[1], systemClock)];
  const see = async (view: FleetView, version: string, timestamp: number) => {
    view.catalogue = offering(version);
    view.state = { root: 1, timestamp };
    await view.load();
    return view.steer(2);
  };
  const close = async (): Promise<void> => {
    for (const store of stores) await store.close();
  };
  return { one, two, see, close };
}

describe("two servers of one fleet", () => {
  it("wake a group once for a release that both come to see", async () => {
    const { one, two, see, close } = await pair();
    assert.deepEqual((await see(one, "1.0.0", 1)).woken, ["tills"]);
    assert.deepEqual((await see(two, "1.0.0", 1)).woken, []);
    assert.deepEqual((await see(two, "1.1.0", 2)).woken, ["tills"]);
    assert.deepEqual((await see(one, "1.1.0", 2)).woken, []);
    await close();
  });

  it("keep silent about a repository that another has seen a newer state of (stale copy)", async () => {
    const { one, two, see, close } = await pair();
    await see(one, "1.1.0", 2);
    assert.deepEqual(await see(two, "1.0.0", 1), { woken: [], behind: true });
    // Its devices were woken by the other, asked here, and got the old answer.
    assert.deepEqual(await see(two, "1.1.0", 2), { woken: ["tills"], behind: false });
    assert.deepEqual(await see(one, "1.1.0", 2), { woken: [], behind: false });
    assert.deepEqual(await see(two, "1.1.0", 2), { woken: [], behind: false });
    await close();
  });

  it("do not insist against each other when their copies or clocks differ", async () => {
    const { one, two, see, close } = await pair();
    await see(one, "1.0.0", 1);
    assert.deepEqual((await see(two, "2.0.0", 1)).woken, ["tills"]);
    for (let looks = 0; looks < 3; looks++) {
      assert.deepEqual((await see(one, "1.0.0", 1)).woken, []);
      assert.deepEqual((await see(two, "2.0.0", 1)).woken, []);
    }
    await close();
  });
});

describe("what a server keeps in memory", () => {
  it("is due to be loaded again until a load has succeeded", async () => {
    const path = join(folder, `${++count}.sqlite`);
    const [store, other] = [await openFleetStore(path), await openFleetStore(path)];
    let broken = false;
    const view = new FleetView(
      {
        ...store,
        read: (work) => (broken ? Promise.reject(new Error("the database is away")) : store.read(work)),
      },
      systemClock,
    );
    await view.load();
    assert.equal(view.isStale(), false);
    await other.transaction((r) => r.putGroup({ name: "tills", interval: 77, created: 1 }));
    broken = true;
    await assert.rejects(view.load(), /away/);
    assert.equal(view.isStale(), true);
    broken = false;
    await view.load();
    assert.deepEqual([view.isStale(), view.interval("tills")], [false, 77]);
    await store.close();
    await other.close();
  });
});
