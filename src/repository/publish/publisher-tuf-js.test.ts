// Beside another implementation: the client of tuf-js follows what our publisher publishes, rotations and hash bins included.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { Updater } from "tuf-js";
import { startFaultServer } from "../../testing/fault-server.ts";
import { FOLDER, OperatorWorld } from "../../testing/operator-world.ts";
import { ScriptedClock } from "../../testing/scripted-clock.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { filesBelow } from "./inspect.ts";
import { findKeyid, replaceKey, rolesOfKey } from "./key-changes.ts";
import { NO_EXTRA, type TargetFile } from "../metadata.ts";
import { promote } from "./promote.ts";

describe("the client of tuf-js", () => {
  it("follows our publisher from the first root over a rotation into hash bins", async () => {
    // tuf-js reads the real clock.
    const world = new OperatorWorld(new MemoryDisk(), new ScriptedClock(Date.now()));
    await world.create();
    await world.release("1.0.0");
    await promote(world.releases, "shop", "1.0.0", "stable");
    await world.publisher().change(async (draft) => {
      const old = await findKeyid(draft, "online");
      await replaceKey(draft, await rolesOfKey(draft, old), old, world.key("online-r2"));
    });
    const many = new Map<string, TargetFile>(
      Array.from({ length: 520 }, (_, n) => [
        `products/shop/2.0.${n}/part`,
        { length: n, hashes: { sha256: n.toString(16).padStart(64, "0") }, extra: NO_EXTRA },
      ]),
    );
    await world.publisher().change((draft) => draft.changeTargets("product.shop", { put: many }));

    const files = new Map<string, Uint8Array>();
    for (const path of await filesBelow(world.disk, FOLDER, ""))
      files.set(path, await world.disk.read(`${FOLDER}/${path}`, 1 << 24));
    const server = await startFaultServer(files);
    const folder = mkdtempSync(join(tmpdir(), "upkeep-tuf-js-"));
    try {
      for (const part of ["metadata", "targets"]) mkdirSync(join(folder, part));
      writeFileSync(join(folder, "metadata/root.json"), files.get("metadata/1.root.json")!);
      const updater = new Updater({
        metadataDir: join(folder, "metadata"),
        metadataBaseUrl: `${server.url}/metadata`,
        targetDir: join(folder, "targets"),
        targetBaseUrl: `${server.url}/targets`,
      });
      await updater.refresh();
      assert.equal((await updater.getTargetInfo("products/shop/2.0.519/part"))?.length, 519);
      const release = await updater.getTargetInfo("products/shop/1.0.0/release.json");
      const path = await updater.downloadTarget(release!, join(folder, "targets/release.json"));
      const ours = await world.device().readTarget("products/shop/1.0.0/release.json", 1 << 20);
      assert.deepEqual(new Uint8Array(readFileSync(path)), ours);
      assert.equal(await updater.getTargetInfo("products/shop/9.9.9/part"), undefined);
    } finally {
      await server.close();
      rmSync(folder, { recursive: true });
    }
  });
});
