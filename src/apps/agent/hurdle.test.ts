// A device's own folder in trouble: with software installed it goes on with what it knew, without any the trouble is told at once.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../../core/bytes.ts";
import { makeDirectories, writeAtomic } from "../../core/disk.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { readFolder } from "./hurdle.ts";
import { settingsOrLast } from "./local-settings.ts";

const FOLDER = "/device";
async function folder(installed: boolean): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  await makeDirectories(disk, `${FOLDER}/${installed ? "components/shop" : "components"}`);
  return disk;
}
const settings = (disk: MemoryDisk, text: string) => writeAtomic(disk, `${FOLDER}/agent.toml`, toUtf8(text));

describe("settings that cannot be read any more", () => {
  it("leave what they said when they could, also over a restart", async () => {
    const disk = await folder(true);
    await settings(disk, 'interval = 60\n[components.shop]\nenv = { PORT = "8080" }\n');
    assert.equal((await settingsOrLast(disk, FOLDER)).trouble, null);
    for (const slip of [
      "interval = 60\n[components.shop\n",
      "intervall = 60\n",
      "\u0000",
      "interval = 1\n",
    ]) {
      await settings(disk, slip);
      const { settings: found, trouble } = await settingsOrLast(disk, FOLDER);
      assert.equal(trouble?.code, "agent/bad-settings", JSON.stringify(slip));
      assert.equal(found.components?.["shop"]?.env?.["PORT"], "8080");
    }
    await settings(disk, "interval = 90\n");
    assert.deepEqual(await settingsOrLast(disk, FOLDER), { settings: { interval: 90 }, trouble: null });
  });

  it("are as if there were none where they never could be read", async () => {
    const disk = await folder(true);
    await settings(disk, "nonsense");
    assert.deepEqual((await settingsOrLast(disk, FOLDER)).settings, {});
  });
});

describe("an agent's folder", () => {
  it("that has lost its identity grounds the device, and says when that is over", async () => {
    const { hurdle, identity } = await readFolder(await folder(true), FOLDER);
    assert.equal(identity, null);
    assert.equal(hurdle?.error.code, "agent/not-enrolled");
    assert.equal(await hurdle.isOver(), false);
  });

  it("with nothing installed is told of its trouble at once", async () => {
    await assert.rejects(readFolder(await folder(false), FOLDER), { code: "agent/not-enrolled" });
    const disk = await folder(false);
    await makeDirectories(disk, `${FOLDER}/identity`);
    await writeAtomic(disk, `${FOLDER}/identity/identity.json`, toUtf8("{}"));
    await assert.rejects(readFolder(disk, FOLDER), { code: "agent/damaged-identity" });
  });

  it("names the device as far as its damaged identity does", async () => {
    const disk = await folder(true);
    await makeDirectories(disk, `${FOLDER}/identity`);
    const device = "0a0b0c0d-0000-4000-8000-000000000001";
    await writeAtomic(
      disk,
      `${FOLDER}/identity/identity.json`,
      toUtf8(JSON.stringify({ format: 1, device })),
    );
    const { hurdle } = await readFolder(disk, FOLDER);
    assert.deepEqual([hurdle?.error.code, hurdle?.device], ["agent/damaged-identity", device]);
  });
});
