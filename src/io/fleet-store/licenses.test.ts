// Seats under load: many devices at once on few seats, in a file and in PostgreSQL, and licenses on the way from one to the other.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { LicenseWorld } from "../../testing/license-world.ts";
import { needsPostgres, startPostgres, type PostgresCluster } from "../../testing/postgres-cluster.ts";
import { exportFleet, importFleet } from "./dump.ts";
import { openFleetStore } from "./store.ts";

const folder = mkdtempSync(join(tmpdir(), "upkeep-license-store-"));
after(() => rmSync(folder, { recursive: true }));
let cluster: PostgresCluster;
const env = (): Record<string, string> => ({ PGPASSFILE: cluster.passwordFile });

/** Fifty activations at the same moment; returns how each ended. */
async function rush(world: LicenseWorld): Promise<readonly string[]> {
  const { license, claim } = await world.sell({ seats: { max: 5 } });
  const devices = [];
  for (let at = 0; at < 50; at++) devices.push(await world.device());
  const ends = await Promise.all(
    devices.map((device) =>
      device.activate(claim).then(
        () => "seat",
        (error: { code?: string }) => error.code ?? String(error),
      ),
    ),
  );
  assert.equal(await world.store.read((r) => r.seatsTaken(license.id)), 5);
  const slots = (await world.store.read((r) => r.activations(license.id))).map(({ slot }) => slot);
  assert.deepEqual(slots.toSorted(), [1, 2, 3, 4, 5]);
  return ends;
}

function counted(ends: readonly string[]) {
  return Object.fromEntries(
    Map.groupBy(ends, (end) => end)
      .entries()
      .map(([end, all]) => [end, all.length]),
  );
}

describe("fifty devices at once on five seats", () => {
  it("get exactly five, in a file, time after time", async () => {
    const world = await LicenseWorld.open(join(folder, "rush.sqlite"));
    for (let times = 0; times < 5; times++)
      assert.deepEqual(counted(await rush(world)), { seat: 5, "license/no-seat": 45 });
    await world.store.close();
  });
});

describe("licenses in PostgreSQL", needsPostgres(), () => {
  before(async () => void (cluster = await startPostgres()));
  after(() => cluster?.remove());

  it("give fifty devices at once exactly five seats, every time", async () => {
    const world = await LicenseWorld.open(await cluster.createDatabase(), env());
    for (let times = 0; times < 2; times++)
      assert.deepEqual(counted(await rush(world)), { seat: 5, "license/no-seat": 45 });
    await world.store.close();
  });

  it("come from a file whole, and go on there", async () => {
    const from = join(folder, "from.sqlite");
    const world = await LicenseWorld.open(from);
    const { license, claim } = await world.sell({ seats: { max: 2 } });
    const device = await world.device();
    await device.activate(claim);
    await world.store.close();
    const dump = join(folder, "fleet.dump");
    await exportFleet(from, {}, dump);
    const place = await cluster.createDatabase();
    await importFleet(place, env(), dump, { actor: "operator:test", now: world.now });
    const store = await openFleetStore(place, env());
    const found = await store.read(async (r) => ({
      row: await r.license(license.id),
      taken: await r.seatsTaken(license.id),
      activations: await r.activations(license.id),
    }));
    assert.deepEqual(
      [found.row?.customer, found.taken, found.activations[0]?.device],
      ["acme", 1, device.id],
    );
    await store.close();
  });
});
