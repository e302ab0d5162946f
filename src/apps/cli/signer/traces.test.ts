// What keeps a signer from being made: any file of one that was there before.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../../../core/bytes.ts";
import { makeDirectories, writeAtomic } from "../../../core/disk.ts";
import { MemoryDisk } from "../../../testing/memory-disk.ts";
import { refuseTraces } from "./traces.ts";

const root = "/data/signer";

describe("a signer is made", () => {
  it("where nothing is, and in folders that an earlier try left empty", async () => {
    const disk = new MemoryDisk();
    await refuseTraces(disk, root);
    for (const sub of ["keys", "audit", "certificates"]) await makeDirectories(disk, `${root}/${sub}`);
    await refuseTraces(disk, root);
  });

  for (const file of ["signer.toml", "unlock.json", "keys/identity.json", "audit/entries/0", "home"])
    it(`never over what is left of one: ${file}`, async () => {
      const disk = new MemoryDisk();
      const path = `${root}/${file}`;
      await makeDirectories(disk, path.slice(0, path.lastIndexOf("/")));
      await writeAtomic(disk, path, toUtf8("x"));
      await assert.rejects(refuseTraces(disk, root), { code: "signing/exists" });
    });
});
