// The doors that npm consumers use, by their published names: the guide's example, run.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { storeLock, systemClock, systemDisk, systemRandom } from "upkeep/io";
import { diskStore, openRepository } from "upkeep/repository";
import { RepositorySimulator } from "upkeep/testing";

it("a program that embeds the client refreshes, finds and fetches, by what the package exports", async () => {
  const folder = mkdtempSync(join(tmpdir(), "upkeep-door-"));
  try {
    const repo = await RepositorySimulator.create({ now: Date.now() });
    repo.addTarget("hello.txt", new TextEncoder().encode("hello"));
    await repo.publish();
    const repository = openRepository({
      mirrors: [repo.mirror],
      store: diskStore(systemDisk, join(folder, "tuf"), storeLock(join(folder, "lock"), systemClock)),
      clock: systemClock,
      random: systemRandom,
      trustedRoot: repo.rootBytes(1),
      minimums: { timestamp: 1, snapshot: 1 },
    });
    await repository.refresh();
    const info = await repository.target("hello.txt");
    assert.ok(info !== null);
    await repository.fetchTarget(info, join(folder, "hello.txt"), { disk: systemDisk });
    assert.equal(readFileSync(join(folder, "hello.txt"), "utf8"), "hello");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
