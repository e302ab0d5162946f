// TAP 4: vendor and customer both have to list a target before it is believed.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { UpkeepError } from "../../core/errors.ts";
import { systemDisk } from "../../io/system/disk.ts";
import { NO_RETRY } from "../../mirror/fetch.ts";
import { RepositorySimulator } from "../../testing/repository-simulator.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { openRepository } from "./client.ts";
import { openMap, parseMap, type MappedRepositories } from "./map.ts";
import { memoryStore } from "./store.ts";

const entry = (more: object = {}): object => ({
  paths: ["*"],
  repositories: ["vendor", "customer"],
  threshold: 2,
  terminating: true,
  ...more,
});
const mapOf = (...mapping: object[]): Uint8Array =>
  toUtf8(
    JSON.stringify({ repositories: { vendor: ["https://a.test"], customer: ["https://b.test"] }, mapping }),
  );

type World = { vendor: RepositorySimulator; customer: RepositorySimulator; mapped: MappedRepositories };

async function world(map = mapOf(entry())): Promise<World> {
  const open = (repo: RepositorySimulator) =>
    openRepository({
      mirrors: [repo.mirror],
      store: memoryStore(),
      clock: new ScriptedClock("2026-11-21T04:00:00Z"),
      random: { bytes: (length) => new Uint8Array(length) },
      retry: NO_RETRY,
      trustedRoot: repo.rootBytes(1),
    });
  const [vendor, customer] = [await RepositorySimulator.create(), await RepositorySimulator.create()];
  const repositories = new Map([
    ["vendor", open(vendor)],
    ["customer", open(customer)],
  ]);
  return { vendor, customer, mapped: openMap(parseMap(map), repositories) };
}

async function publish(...repos: RepositorySimulator[]): Promise<void> {
  for (const repo of repos) await repo.publish();
}

describe("a 2-of-2 map", () => {
  it("believes a target that vendor and customer list alike, and fetches it", async () => {
    const { vendor, customer, mapped } = await world();
    for (const repo of [vendor, customer]) repo.addTarget("p/1/app", toUtf8("the app"));
    await publish(vendor, customer);
    await mapped.refresh();
    const target = (await mapped.target("p/1/app"))!;
    assert.deepEqual([...target.by.keys()], ["vendor", "customer"]);
    const folder = mkdtempSync(join(tmpdir(), "upkeep-map-"));
    try {
      // The customer countersigns metadata only; the bytes come from the vendor, or from whoever has them.
      for (const path of vendor.source.files.keys())
        if (path.startsWith("targets/")) vendor.source.files.delete(path);
      await mapped.fetchTarget(target, join(folder, "app"), { disk: systemDisk });
      assert.equal(readFileSync(join(folder, "app"), "utf8"), "the app");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("refuses what only the vendor lists: the customer has not approved it", async () => {
    const { vendor, mapped } = await world();
    vendor.addTarget("p/1/app", toUtf8("the app"));
    await publish(vendor);
    await mapped.refresh();
    await assert.rejects(mapped.target("p/1/app"), (error: UpkeepError) => {
      assert.equal(error.code, "repository/no-quorum");
      assert.deepEqual([error.facts["listed"], error.facts["absent"]], [["vendor"], ["customer"]]);
      return true;
    });
  });

  it("refuses a target that the two list with different digests", async () => {
    const { vendor, customer, mapped } = await world();
    vendor.addTarget("p/1/app", toUtf8("the app"));
    customer.addTarget("p/1/app", toUtf8("bad app"));
    await publish(vendor, customer);
    await mapped.refresh();
    await assert.rejects(mapped.target("p/1/app"), { code: "repository/no-quorum" });
  });

  it("refuses a target whose SHA-256 agree and whose SHA-512 do not", async () => {
    const { vendor, customer, mapped } = await world();
    for (const repo of [vendor, customer]) repo.addTarget("p/1/app", toUtf8("the app"));
    customer.targets.targets.get("p/1/app")!.hashes = {
      ...customer.targets.targets.get("p/1/app")!.hashes,
      sha512: "0".repeat(128),
    };
    await publish(vendor, customer);
    await mapped.refresh();
    await assert.rejects(mapped.target("p/1/app"), { code: "repository/no-quorum" });
  });

  it("with one repository down believes nothing, and says which one failed", async () => {
    const { vendor, customer, mapped } = await world();
    for (const repo of [vendor, customer]) repo.addTarget("p/1/app", toUtf8("the app"));
    await publish(vendor, customer);
    customer.source.down = true;
    const results = await mapped.refresh();
    assert.ok(results.get("customer") instanceof UpkeepError);
    await assert.rejects(mapped.target("p/1/app"), { code: "repository/no-quorum" });
    customer.source.down = false;
    await mapped.refresh();
    assert.equal((await mapped.target("p/1/app"))?.length, 7);
  });

  it("does not know a target that nobody lists", async () => {
    const { mapped } = await world();
    await mapped.refresh();
    assert.equal(await mapped.target("p/1/none"), null);
  });
});

describe("the entries of a map", () => {
  it("are asked in order, until one covers the path and is terminating", async () => {
    const { vendor, mapped } = await world(
      mapOf(entry({ paths: ["p/*/*"] }), entry({ repositories: ["vendor"], threshold: 1 })),
    );
    vendor.addTarget("p/1/app", toUtf8("the app"));
    vendor.addTarget("tool", toUtf8("tool"));
    await publish(vendor);
    await mapped.refresh();
    await assert.rejects(mapped.target("p/1/app"), { code: "repository/no-quorum" });
    assert.equal((await mapped.target("tool"))?.length, 4);
  });

  it("that do not terminate give way to the next one", async () => {
    const { vendor, mapped } = await world(
      mapOf(entry({ terminating: false }), entry({ repositories: ["vendor"], threshold: 1 })),
    );
    vendor.addTarget("p/1/app", toUtf8("the app"));
    await publish(vendor);
    await mapped.refresh();
    assert.deepEqual([...(await mapped.target("p/1/app"))!.by.keys()], ["vendor"]);
  });
});

describe("a map file", () => {
  const bad: readonly (readonly [string, Uint8Array])[] = [
    ["that is not JSON", toUtf8("{")],
    ["without entries", mapOf()],
    ["with a threshold of 0", mapOf(entry({ threshold: 0 }))],
    ["with a threshold nobody can meet", mapOf(entry({ threshold: 3 }))],
    ["in which a repository agrees with itself", mapOf(entry({ repositories: ["vendor", "vendor"] }))],
    ["that names an unknown repository", mapOf(entry({ repositories: ["vendor", "other"] }))],
    ["without paths", mapOf(entry({ paths: [] }))],
    ["whose entry does not say whether it terminates", mapOf(entry({ terminating: undefined }))],
    [
      "whose repository name leaves its folder",
      toUtf8(JSON.stringify({ repositories: { "../x": [] }, mapping: [entry()] })),
    ],
  ];
  for (const [name, bytes] of bad) {
    it(`${name} is refused`, () => {
      assert.throws(() => parseMap(bytes), { code: "repository/bad-map" });
    });
  }
});
