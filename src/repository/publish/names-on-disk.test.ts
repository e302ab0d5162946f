// Names that mean something else on some disk: Windows devices, and disks that ignore case.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { countingRandom } from "../../testing/operator-world.ts";
import { RepositorySimulator } from "../../testing/repository-simulator.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { openRepository } from "../client/client.ts";
import { diskStore, memoryStore, type MetadataStore } from "../client/store.ts";

const RESERVED = ["CON", "con", "Prn", "AUX", "nul", "com1", "LPT9", "con.more"];

async function reader(repo: RepositorySimulator, clock: ScriptedClock, store: MetadataStore) {
  const repository = openRepository({
    mirrors: [repo.mirror],
    store,
    clock,
    random: countingRandom(),
    trustedRoot: repo.rootBytes(1),
  });
  await repository.refresh();
  return repository;
}

describe("a role that is called like a device of Windows", () => {
  it("is followed, and stored in a file that is no device", async () => {
    const clock = new ScriptedClock();
    const repo = await RepositorySimulator.create({ now: clock.now() });
    for (const [i, role] of RESERVED.entries()) {
      repo.delegate("targets", role, { paths: [`${i}/*`] });
      repo.addTarget(`${i}/file`, toUtf8(role), role);
    }
    await repo.publish();
    const disk = new MemoryDisk();
    for (const round of ["fetched", "from the disk"]) {
      const repository = await reader(repo, clock, diskStore(disk, "/tuf"));
      for (const [i, role] of RESERVED.entries()) {
        assert.equal((await repository.target(`${i}/file`))?.role, role, round);
      }
    }
    const names = await disk.list("/tuf");
    assert.ok(names.includes("%43ON.json") && names.includes("%63on.json"), names.join());
    for (const name of names) assert.doesNotMatch(name, /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i);
    const requested = repo.source.requests.map((request) => JSON.stringify(request)).join();
    assert.match(requested, /1\.CON\.json/, "mirrors are asked by the name itself");
  });
});

describe("on a disk that ignores case", () => {
  /** What NTFS and APFS do to names of metadata files. */
  function ignoringCase(): MetadataStore {
    const store = memoryStore();
    const { load, lengthOf, save, remove } = store;
    return {
      ...store,
      load: (role, limit) => load(role.toLowerCase(), limit),
      lengthOf: (role) => lengthOf(role.toLowerCase()),
      save: (role, bytes) => save(role.toLowerCase(), bytes),
      remove: (role) => remove(role.toLowerCase()),
    };
  }

  it("roles and targets whose names differ in case alone stay different", async () => {
    const clock = new ScriptedClock();
    const repo = await RepositorySimulator.create({ now: clock.now() });
    repo.delegate("targets", "Lib", { paths: ["Lib/*"] });
    repo.delegate("targets", "lib", { paths: ["lib/*"] });
    repo.addTarget("Lib/x", toUtf8("large"), "Lib");
    repo.addTarget("lib/x", toUtf8("small"), "lib");
    repo.addTarget("lib/X", toUtf8("other"), "lib");
    await repo.publish();
    const store = ignoringCase();
    for (let round = 0; round < 3; round++) {
      const repository = await reader(repo, clock, store);
      for (const [name, content] of [
        ["Lib/x", "large"],
        ["lib/x", "small"],
        ["lib/X", "other"],
      ] as const) {
        assert.deepEqual(await repository.readTarget(name, 10), toUtf8(content), name);
      }
      assert.equal(await repository.target("LIB/x"), null);
    }
  });
});
