// Commands of the machine's users: reachable at every instant once they are there, open to all, and never in the place of something else.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { sha256Hex } from "../core/digest.ts";
import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { exists, makeDirectories, writeAtomic } from "../core/disk.ts";
import { crashMatrix } from "../testing/crash-matrix.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import { tarOf } from "./_tar-writer.ts";
import {
  collectCopies,
  lookAtNames,
  placesMade,
  publishCommands,
  withdrawCommands,
} from "./command-folder.ts";
import { makeComponent, stage } from "./install.ts";
import { layoutOf, slotName, type SlotId } from "./layout.ts";

const layout = layoutOf("/c");
const places = { folder: "/usr/local/bin", store: "/usr/local/lib/upkeep" };
const OWN = `${places.store}/tool`;
const LINK = `${places.folder}/tool`;
const PROGRAMS = [{ name: "tool", path: "bin/tool" }];

async function staged(disk: MemoryDisk, version: string): Promise<SlotId> {
  const members = [
    { name: "bin/tool", body: `tool ${version}`, mode: 0o755 },
    { name: "lib/words", body: version },
    { name: "bin/link", type: "2", link: "tool" },
  ];
  const bytes = new Uint8Array(gzipSync(tarOf(members)));
  await writeAtomic(disk, "/c/artifact", bytes);
  const id = { version, sha256: sha256Hex(bytes) };
  await stage(
    disk,
    layout,
    {
      product: "tool",
      id,
      artifact: "/c/artifact",
      artifactLength: bytes.length,
      format: { kind: "tar.gz" },
      limits: { bytes: 1000, entries: 10 },
      manifestSha256: "c".repeat(64),
      run: { version },
      entry: null,
    },
    {
      entries: () => {
        throw new Error("no zip in these tests");
      },
    },
  );
  return id;
}

async function fresh(): Promise<{ disk: MemoryDisk; first: SlotId; second: SlotId }> {
  const disk = new MemoryDisk();
  await disk.makeDirectory("/c");
  await disk.syncDirectory("/");
  await makeDirectories(disk, places.folder);
  await makeComponent(disk, layout);
  return { disk, first: await staged(disk, "1.0.0"), second: await staged(disk, "2.0.0") };
}

const publish = (disk: MemoryDisk, id: SlotId, programs = PROGRAMS, verify = true): Promise<void> =>
  publishCommands(disk, layout, places, "tool", { id, digest: null }, programs, verify);

/** What a user who calls the command gets: the links followed by hand. */
async function called(disk: MemoryDisk, link = LINK): Promise<string | null> {
  if (!(await exists(disk, link))) return null;
  const target = await disk.readLink(link);
  const current = await disk.readLink(`${OWN}/current`);
  return fromUtf8(await disk.read(target.replace("/current/", `/${current}/`), 1000));
}

describe("the commands of a product", () => {
  it("are reachable through one pointer, and follow it forward and back", async () => {
    const { disk, first, second } = await fresh();
    for (const id of [first, second, first]) {
      await publish(disk, id);
      assert.equal(await called(disk), `tool ${id.version}`);
    }
    assert.deepEqual(await disk.list(places.folder), ["tool"]);
    assert.deepEqual(await placesMade(disk, layout), places);
  });

  it("are open to all, whatever the agent's umask, and writable by nobody else", async () => {
    const { disk, first } = await fresh();
    await publish(disk, first);
    const modes = async (path: string): Promise<number> => (await disk.stat(path)).mode;
    const copy = `${OWN}/${slotName(first)}`;
    for (const folder of [places.store, OWN, copy, `${copy}/bin`, `${copy}/lib`])
      assert.equal(await modes(folder), 0o755, folder);
    assert.deepEqual([await modes(`${copy}/bin/tool`), await modes(`${copy}/lib/words`)], [0o555, 0o444]);
    assert.equal(await disk.readLink(`${copy}/bin/link`), "tool");
  });

  it("never take the place of a file that the agent did not make", async () => {
    const { disk, first } = await fresh();
    await writeAtomic(disk, LINK, toUtf8("the admin's own"));
    await assert.rejects(lookAtNames(disk, places, "tool", PROGRAMS), { code: "slot/command-taken" });
    await assert.rejects(publish(disk, first), { code: "slot/command-taken" });
    assert.equal(fromUtf8(await disk.read(LINK, 100)), "the admin's own");
    await withdrawCommands(disk, layout, places, "tool");
    assert.equal(fromUtf8(await disk.read(LINK, 100)), "the admin's own");
  });

  it("never take the place of another product's command, nor of a link that somebody else made", async () => {
    const { disk, first } = await fresh();
    for (const target of ["/opt/tool", `${places.store}/other/current/bin/tool`]) {
      await disk.link(LINK, target);
      await assert.rejects(publish(disk, first), { code: "slot/command-taken" });
      assert.equal(await disk.readLink(LINK), target);
      await disk.removeFile(LINK);
    }
  });

  it("do not take a name that appeared at the last moment (time of check, time of use)", async () => {
    const { disk, first } = await fresh();
    let done = false;
    disk.watch = ({ kind, path }) => {
      if (done || kind !== "link" || path !== LINK) return;
      done = true;
      disk.fault = ({ kind: again, path: at }) =>
        again === "link" && at === LINK ? "disk/exists" : undefined;
    };
    await assert.rejects(publish(disk, first), { code: "slot/command-taken" });
  });

  it("are taken away when a version has them no longer, and new names come", async () => {
    const { disk, first, second } = await fresh();
    await publish(disk, first, [...PROGRAMS, { name: "old", path: "lib/words" }]);
    await publish(disk, second, [...PROGRAMS, { name: "new", path: "lib/words" }]);
    assert.deepEqual(await disk.list(places.folder), ["new", "tool"]);
  });

  it("lead to where the program is now, if a version moved it", async () => {
    const { disk, first, second } = await fresh();
    await publish(disk, first);
    await publish(disk, second, [{ name: "tool", path: "lib/words" }]);
    assert.equal(await called(disk), "2.0.0");
  });

  it("are made again when the copy was changed, and a damaged slot makes none (tampering)", async () => {
    const { disk, first } = await fresh();
    await publish(disk, first);
    const program = `${OWN}/${slotName(first)}/bin/tool`;
    await disk.removeFile(program);
    await writeAtomic(disk, program, toUtf8("evil"));
    await publish(disk, first, PROGRAMS, false);
    assert.equal(await called(disk), "evil", "not read back when nobody asks");
    await publish(disk, first);
    assert.equal(await called(disk), "tool 1.0.0");
    const slot = `/c/slots/${slotName(first)}/bin/tool`;
    await disk.removeFile(slot);
    await writeAtomic(disk, slot, toUtf8("evil"));
    await disk.removeFile(program);
    await writeAtomic(disk, program, toUtf8("evil"));
    await assert.rejects(publish(disk, first), { code: "slot/damaged" });
  });

  it("are not made where others could exchange them", async () => {
    for (const [path, mode] of [
      [places.folder, 0o777],
      [places.store, 0o775],
      [OWN, 0o777],
    ] as const) {
      const { disk, first } = await fresh();
      await publish(disk, first);
      await disk.chmod(path, mode);
      await assert.rejects(publish(disk, first), { code: "slot/commands-exposed" });
    }
    const { disk, first } = await fresh();
    await makeDirectories(disk, "/usr/local/lib");
    await disk.makeDirectory("/tmp");
    await disk.link(places.store, "/tmp");
    await assert.rejects(publish(disk, first), { code: "slot/commands-exposed" });
  });

  it("leave nothing behind when they are withdrawn", async () => {
    const { disk, first, second } = await fresh();
    const before = disk.fingerprint();
    await publish(disk, first);
    await publish(disk, second);
    await collectCopies(disk, places, "tool", new Set([slotName(second)]));
    assert.deepEqual(await disk.list(OWN), [slotName(second), "current"].toSorted());
    await withdrawCommands(disk, layout, places, "tool");
    await disk.removeDirectory(places.store);
    await disk.removeDirectory("/usr/local/lib");
    assert.equal(disk.fingerprint(), before);
  });

  it("are the old or the new ones after a power cut at any point, and whole after the next try", async () => {
    const { disk: start, first, second } = await fresh();
    await publish(start, first);
    const cases = await crashMatrix(
      start,
      (disk) => publish(disk, second),
      async ({ disk }) => {
        assert.match((await called(disk)) ?? "nothing", /^tool [12]\.0\.0$/);
        await publish(disk, second);
        assert.equal(await called(disk), "tool 2.0.0");
        assert.deepEqual(await disk.list(places.folder), ["tool"]);
      },
    );
    assert.ok(cases > 50, `${cases} cases`);
  });

  it("come or go as a whole at the second try after a power cut at the first", async () => {
    const { disk: start, first } = await fresh();
    await crashMatrix(
      start,
      (disk) => publish(disk, first),
      async ({ disk }) => {
        const copy = disk.clone();
        await publish(copy, first);
        assert.equal(await called(copy), "tool 1.0.0");
        await withdrawCommands(disk, layout, places, "tool");
        assert.deepEqual(await disk.list(places.folder), []);
        assert.equal(await exists(disk, OWN), false);
      },
    );
  });
});
